"""Which registered results of a course are needed: those in use, and those of its latest semesters."""

from collections.abc import Mapping

from flows.parameters import Parameters
from flows.provenance import HASH
from flows.registry import CHALLENGER, CHAMPION, CHAMPION_BEFORE, ROLLED_BACK, TESTED_ON, Registry, Version
from flows.repository import LOCK


def present_lock() -> str:
    """The text of the workspace's dvc.lock."""
    return LOCK.read_text(encoding="utf-8") if LOCK.exists() else ""


def why_needed(registry: Registry, keep: int, parameters: Parameters) -> dict[str, list[str]]:
    """Why the results of each run are needed, by run, the oldest first; what nothing needs has no reason.

    `keep` is the number of latest test semesters whose results are. A run is needed as a whole: its versions
    share their base and their report.
    """
    versions = registry.versions()
    semesters = list(dict.fromkeys(tested_on(version) for version in reversed(versions)))[:keep]
    in_use = _in_use(registry, parameters)
    lock = present_lock()
    why: dict[str, list[str]] = {version.run_id: [] for version in versions}
    for version in versions:
        reasons = why[version.run_id]
        if recorded_in(lock, version.tags) and "the present results" not in reasons:
            reasons.append("the present results")
        reasons += [f"version {version.number} is {use}" for use in in_use.get(version.number, [])]
        if ROLLED_BACK in version.tags:
            reasons.append(f"the gate knows version {version.number}, which was rolled back, by its weights")
        if tested_on(version) in semesters and (latest := f"tested on {tested_on(version)}") not in reasons:
            reasons.append(latest)
    return why


def tested_on(version: Version) -> str:
    """The test semesters of a version, or those of another time when versions did not name them."""
    return version.tags.get(TESTED_ON, "semesters that were not recorded")


def recorded_in(lock: str, tags: Mapping[str, str]) -> bool:
    """Whether the text of a dvc.lock has the results with these tags."""
    hashes = [value for name, value in tags.items() if name.startswith(HASH)]
    return bool(hashes) and all(value in lock for value in hashes)


def _in_use(registry: Registry, parameters: Parameters) -> dict[int, list[str]]:
    """What versions are used for, by number."""
    found: dict[int, list[str]] = {}
    for alias in (CHAMPION, CHALLENGER):
        if version := registry.get_by_alias(alias):
            found.setdefault(version.number, []).append(alias)
            if alias == CHAMPION and (before := version.tags.get(CHAMPION_BEFORE)):
                found.setdefault(int(before), []).append("the champion before, for `tutee rollback`")
    if parameters.warm_start:
        found.setdefault(parameters.warm_start, []).append("`warm_start` of params.yaml")
    for name, row in parameters.students.items():
        model, _, number = str(row.source).rpartition("/")
        if model == f"models:/{registry.model}" and number.isdecimal():
            found.setdefault(int(number), []).append(f"`students.{name}` of params.yaml")
    return found
