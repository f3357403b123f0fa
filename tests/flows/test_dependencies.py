"""dvc.yaml says what the code says: each stage's dependencies, outputs and parameters.

A stage runs one function of flows/commands/stages.py, which parses, calls a package and prints. From that
function come the stage's data (the attributes of `places` that it names), its parameters (the sections of
params.yaml and of the preset that it names) and its code: the modules it imports from the packages, and all
that these import. `flows` itself only passes things on and is left out.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grimp
import pytest
import yaml

from flows.places import Places
from tutee_evaluator.engines.baselines import BASELINES
from tutee_trainer.method import load_methods

REPOSITORY = Path(__file__).parents[2]
COURSE, PRESET_NAME = "small", "tiny"
PACKAGES = ("grader", "serializer", "trainer", "evaluator")
# What a stage reads or writes without being out of date because of it.
CACHES = {"verdict_cache", "partitions", "checkpoints", "unfinished_rollouts", "key"}
CACHES |= {"accounts", "forgotten_lists"}
OUTPUTS = ("outs", "metrics", "plots")
# Left out of dvc.yaml on purpose: where programs are graded and how many prompts go together changes how
# long a stage takes, not what it writes.
SPEED_ONLY = {"grade", "engine"}
OPTIONAL = {"demographics"}  # written only where the course file asks for it
PRESET = f"presets/{PRESET_NAME}.yaml"
# Methods that are another one, on other dialogs.
USES = {
    "para": ("sft",),
    "traces": ("sft",),
    "last_states": ("sft", "traces"),
    "synthetic_traces": ("sft", "traces"),
}
STARTED_BY_PATH = {"inside"}  # the scripts of the sandbox


def stages() -> Iterator[tuple[str, str | None, dict]]:
    """Each stage of dvc.yaml, once for every method of its matrix, with its entry."""
    for name, entry in yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"].items():
        named = {"method": list(load_methods()), "baseline": list(BASELINES)}
        variable = next((name for name in named if name in entry["matrix"]), None)
        for method in named[variable] if variable else [None]:
            text = yaml.safe_dump(entry).replace("${item.course}", COURSE)
            text = text.replace("${item.preset}", PRESET_NAME)
            yield name, method, yaml.safe_load(text.replace(f"${{item.{variable}}}", method or ""))


CASES = {f"{name}-{method}" if method else name: entry for name, method, entry in stages()}


def command_of(entry: dict) -> tuple[ast.FunctionDef, list[str]]:
    """The function that a stage's command calls, and the command's arguments."""
    _, name, *arguments = entry["cmd"].split()
    tree = ast.parse((REPOSITORY / "flows/commands/stages.py").read_text())
    return next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name), arguments


# --- code -------------------------------------------------------------------------------------------


@cache
def graph() -> grimp.ImportGraph:
    names = [f"tutee_{package}" for package in PACKAGES]
    return grimp.build_graph(*names, cache_dir=None, exclude_type_checking_imports=True)


def file_of(module: str) -> Path | None:
    """A module's file, relative to the repository; None where the name is that of no module."""
    root, *rest = module.split(".")
    place = Path("packages", root.removeprefix("tutee_"), root, *rest)
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in candidates if (REPOSITORY / file).exists()), None)


def modules_of(function: ast.FunctionDef, arguments: list[str]) -> set[str]:
    """The packages' modules that a stage runs."""
    direct = {f"tutee_trainer.methods.{arguments[0]}"} if function.name == "train" else set()
    for node in ast.walk(function):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tutee_"):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            direct |= {name for name in inner if file_of(name)} or {str(node.module)}
    reached = set(direct)
    for module in direct:
        reached |= graph().find_upstream_modules(module)
    return reached


def files_of(modules: set[str]) -> set[Path]:
    """The files of modules, and what lies beside them that they name and no import reaches."""
    files = set()
    for module in modules:
        file = file_of(module)
        assert file is not None, module
        files.add(file)
        source = (REPOSITORY / file).read_text()
        for beside in (REPOSITORY / file).parent.iterdir():
            by_path = beside.name in STARTED_BY_PATH or (beside.is_file() and beside.suffix != ".py")
            if by_path and f'"{beside.name}"' in source:
                inner = beside.rglob("*") if beside.is_dir() else [beside]
                files |= {path.relative_to(REPOSITORY) for path in inner if is_content(path)}
    return files


def is_content(path: Path) -> bool:
    """Whether a file can change what a stage does: not a cache, a marker or a docstring alone."""
    if not path.is_file() or "__pycache__" in path.parts or path.name == "py.typed":
        return False
    return path.name != "__init__.py" or len(ast.parse(path.read_text()).body) > 1


def cover(files: set[Path], folder: Path) -> set[str]:
    """The fewest folders and files that hold `files` and no other file of the packages."""
    content = {p.relative_to(REPOSITORY) for p in (REPOSITORY / folder).rglob("*") if is_content(p)}
    if not content & files:
        return set()
    if content <= files:
        return {folder.as_posix()}
    children = {Path(*path.parts[: len(folder.parts) + 1]) for path in content}
    return {
        one
        for child in children
        for one in ({child.as_posix()} & {f.as_posix() for f in files} or cover(files, child))
    }


def code_of(entry: dict) -> set[str]:
    files = files_of(modules_of(*command_of(entry)))
    return {
        one for package in PACKAGES for one in cover(files, Path("packages", package, f"tutee_{package}"))
    }


@pytest.mark.parametrize("case", CASES)
def test_a_stage_depends_on_the_code_that_it_runs(case: str) -> None:
    entry = CASES[case]
    if entry.get("always_changed"):  # `source` compares hashes itself, every time
        return
    declared = {dep for dep in entry.get("deps", []) if dep.startswith("packages")}
    expected = code_of(entry)
    assert declared == expected, (
        f"missing {sorted(expected - declared)}, too many {sorted(declared - expected)}"
    )


# --- data -------------------------------------------------------------------------------------------


def data_of(function: ast.FunctionDef, arguments: list[str]) -> set[str]:
    """The files and folders that a stage's function names."""
    places = Places(COURSE, PRESET_NAME)
    if function.name == "train":
        method = load_methods()[arguments[0]]
        tables = {places.dialogs} | ({places.pairs} if method.learns_from == "pairs" else set())
        models = {places.model(name) for name in (arguments[0], "base", method.start) if name}
        found = {*tables, *models, *({places.source} if method.uses_grader else ())}
        return {path.as_posix() for path in found}
    found = set()
    for node in ast.walk(function):
        if not isinstance(node, ast.Attribute):
            continue
        match ast.unparse(node.value), node.attr:
            case "places", name if name not in CACHES | OPTIONAL:
                value = getattr(places, name)
                found |= (
                    {value(one) for one in methods_read(function, arguments)} if callable(value) else {value}
                )
            # The course's assignments, read where it is loaded.
            case "setup", "course" if function.name != "pairs":
                found.add(places.source)
    if function.name == "rollout" and arguments[0] in BASELINES:  # which have no model
        found -= {made_of(arguments[0]) for made_of in (places.model, places.rollout_card, places.exposures)}
    elif function.name == "rollout":  # an adapter is loaded with its base
        found.add(places.model("base"))
    inside = {path for path in found if places.source in path.parents}
    found = (found - inside) | ({places.source} if inside else set())
    if any(path.parent == places.rollouts for path in found) and function.name == "report":
        found = {path for path in found if path.parent != places.rollouts} | {places.rollouts}
    return {path.as_posix() for path in found}


def methods_read(function: ast.FunctionDef, arguments: list[str]) -> list[str]:
    return ["base"] if function.name == "report" else arguments[:1]


def declared_data(entry: dict) -> set[str]:
    outs = [
        next(iter(out)) if isinstance(out, dict) else out for kind in OUTPUTS for out in entry.get(kind, [])
    ]
    return {one for one in (*entry.get("deps", []), *outs) if not one.startswith("packages")}


@pytest.mark.parametrize("case", CASES)
def test_a_stage_declares_the_data_that_it_names(case: str) -> None:
    entry = CASES[case]
    declared, expected = declared_data(entry), data_of(*command_of(entry))
    assert declared == expected, (
        f"missing {sorted(expected - declared)}, too many {sorted(declared - expected)}"
    )


# --- parameters -------------------------------------------------------------------------------------


def parameters_of(function: ast.FunctionDef, arguments: list[str]) -> set[str]:
    """Sections of params.yaml, and of the preset as `preset.SECTION`."""
    if function.name == "train":
        method = load_methods()[arguments[0]]
        adapter = {"preset.lora"} if method.start else {"preset.tokenizer"}
        start = {"warm_start"} if method.name == "sft" else set()
        return {"preset.model", "preset.dialog", f"preset.{method.section}", *adapter, *start}
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute):
            match ast.unparse(node.value), node.attr:
                case "setup.parameters", "compared":
                    found.add("methods")
                case "setup.parameters", name if name != "model_dump":
                    found.add(name)
                case "setup.preset", "format":  # in which a pretrained model's edits are plain text
                    found |= {"preset.model", "preset.dialog"}
                case "setup.preset", name:
                    found.add(f"preset.{name}")
        elif isinstance(node, ast.keyword) and node.arg == "include":
            found |= set(ast.literal_eval(node.value))
        elif isinstance(node, ast.Call) and "setup.preset" in [ast.unparse(one) for one in node.args]:
            # `disable_hub` asks for the kind of model, which changes no result.
            found |= set() if ast.unparse(node.func) == "disable_hub" else {"preset.model", "preset.dialog"}
    return found - SPEED_ONLY


@pytest.mark.parametrize("case", CASES)
def test_a_stage_declares_the_parameters_that_it_reads(case: str) -> None:
    entry = CASES[case]
    declared = set()
    for one in entry.get("params", []):
        declared |= {f"preset.{name}" for name in one[PRESET]} if isinstance(one, dict) else {one}
    assert declared == parameters_of(*command_of(entry))


# --- the derivation itself --------------------------------------------------------------------------


def test_an_edit_of_the_reports_page_reruns_the_report_alone() -> None:
    page = Path("packages/evaluator/tutee_evaluator/report/report.html")
    using = {case for case, entry in CASES.items() if page in files_of(modules_of(*command_of(entry)))}
    assert using == {"report"}


def test_an_edit_of_a_turns_format_retrains_every_model() -> None:
    formats = Path("packages/serializer/tutee_serializer/dialogs/formats.py")
    using = {case for case, entry in CASES.items() if formats in files_of(modules_of(*command_of(entry)))}
    assert {"serialize", *load_methods(), *(f"baseline-{name}" for name in BASELINES)} <= using
    assert {f"rollout-{name}" for name in load_methods()} <= using
    assert not using & {"ingest", "grade"}


def test_a_method_does_not_depend_on_another_one_that_it_does_not_use() -> None:
    for name in load_methods():
        entry = CASES[name]
        others = {f"packages/trainer/tutee_trainer/methods/{other}.py" for other in load_methods()} - {
            f"packages/trainer/tutee_trainer/methods/{name}.py"
        }
        used = {path.as_posix() for path in files_of(modules_of(*command_of(entry)))} & others
        allowed = {f"packages/trainer/tutee_trainer/methods/{other}.py" for other in USES.get(name, ())}
        assert used <= allowed
