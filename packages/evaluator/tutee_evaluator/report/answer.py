"""The report's question, answered in sentences from its figures."""

from collections.abc import Iterator

from tutee_evaluator.report.figures import Figure, Figures


def answer(figures: Figures, method: str) -> list[str]:
    """Whether the students of `method` behave like those of the course, and where not."""
    return [
        *_forecasts(figures, method),
        *_solving(figures.get(method, "solved"), figures.get(method, "real_solved"), method),
        *_least_alike(figures, method),
    ]


def _forecasts(figures: Figures, method: str) -> Iterator[str]:
    opponent = figures.opponent.upper()
    for score, what in (("energy", "next programs"), ("crps", "next grades")):
        skill = figures.get(method, figures.skill(score))
        if skill is not None:
            yield (
                f"Of the students' {what}, {method.upper()} is {_compared(skill)} forecast than {opponent} "
                f"(skill {skill.value:+.2f}, 95% interval {skill.low:+.2f} to {skill.high:+.2f})."
            )


def _compared(skill: Figure) -> str:
    if skill.low > 0:
        return "a better"
    return "a worse" if skill.high < 0 else "neither a better nor a worse"


def _solving(mine: Figure | None, real: Figure | None, method: str) -> Iterator[str]:
    """Both are over the same starts, and an artificial student has no more attempts than the real one."""
    if mine is None or real is None:
        return
    if not _apart(mine, real):
        verdict = "a difference that may be chance"
    else:
        verdict = "too few" if mine.value < real.value else "too many"
    yield (
        f"By the last step {mine.value:.0%} of {method.upper()}'s rollouts have solved the task, and "
        f"{real.value:.0%} of the students themselves: {verdict}."
    )


def _least_alike(figures: Figures, method: str) -> Iterator[str]:
    """The kind of error, or of transition, whose share differs most, if by more than chance."""
    found = [
        (abs(mine.value - real.value), name, part, mine, real)
        for name in ("error", "transition")
        for part in figures.parts(name)
        for mine, real in (figures.pair(method, name, part),)
        if mine is not None and real is not None and _apart(mine, real)
    ]
    if found:
        _, name, part, mine, real = max(found, key=lambda one: one[0])
        yield (
            f"Least alike is the {name} “{part}”: it is {mine.value:.0%} of {method.upper()}'s {name}s, and "
            f"{real.value:.0%} of the students'."
        )


def _apart(one: Figure, other: Figure) -> bool:
    """Whether the intervals have nothing in common."""
    return one.high < other.low or other.high < one.low
