"""The trajectories on the report's page: what is packed into it, and what a browser shows of it."""

import base64
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from playwright.sync_api import Browser, Page

from tutee_evaluator.metrics import METRICS, ReportConfig
from tutee_evaluator.pairing import STEPS
from tutee_evaluator.report import browser as packing
from tutee_evaluator.report.browser import Trajectories, trajectories
from tutee_evaluator.report.page import write_report
from tutee_serializer.course import Course

HOSTILE = (
    "x = \"</script><script>document.title='owned'</script>\"\n"
    "y = '<img src=x onerror=\"document.title=1\">&amp;<!--'\n"
    "z = '\u2028\u2029 \U0001f600 \\' ` ${1}'\n"
)
BEFORE, RIGHT, WRONG = "a\nb\nc\n", "a\nx\nc\nd\n", "a\n"
# A submission: kind, grade, program, feedback.
Submission = tuple[str | None, float | None, str | None, str | None]
SOLVED: Submission = ("solved", 100.0, RIGHT, "All tests passed.")
FAILED: Submission = ("no test passes", 0.0, WRONG, "<b>No</b> test passed.")
EVIL: Submission = ("some tests pass", 200 / 3, HOSTILE, HOSTILE)
NOTHING: Submission = (None, None, None, None)
# (dialog, assignment, start) -> the student's submissions, and those of each rollout (method, sample).
WORK: dict[tuple[str, str, int], tuple[list[Submission], dict[tuple[str, int], list[Submission]]]] = {
    ("one", "double", 2): (
        [FAILED, SOLVED],
        {
            ("sft_2024", 0): [EVIL, ("gave up", None, None, None)],
            ("sft_2024", 1): [SOLVED, NOTHING],
            ("copy", 0): [FAILED, FAILED],
        },
    ),
    ("one", "double", 3): (
        [SOLVED],
        {("sft_2024", 0): [SOLVED], ("sft_2024", 1): [FAILED], ("copy", 0): [FAILED]},
    ),
    ("two", "greet", 2): (
        [FAILED],
        {
            ("sft_2024", 0): [("unreadable", None, None, None)],
            ("sft_2024", 1): [FAILED],
            ("copy", 0): [FAILED],
        },
    ),
}
METHODS = ["sft_2024", "copy"]


@pytest.fixture(scope="module")
def steps() -> pl.DataFrame:
    rows = []
    for (dialog, assignment, start), (real, rollouts) in WORK.items():
        for (method, sample), submissions in rollouts.items():
            for step, (mine, theirs) in enumerate(zip(submissions, real, strict=True), 1):
                row: dict[str, Any] = {"method": method, "dialog_id": dialog, "student": dialog}
                row |= {"assignment": assignment, "start": start, "sample": sample, "step": step}
                row |= {"before": BEFORE, "real_solves": theirs[1] == 100}
                for prefix, values in (("", mine), ("real_", theirs)):
                    names = (f"{prefix}{name}" for name in ("kind", "grade", "code", "feedback"))
                    row |= dict(zip(names, values, strict=True))
                rows.append(row)
    return pl.DataFrame([{name: row.get(name) for name in STEPS} for row in rows], schema=STEPS)


def unpacked(found: Trajectories) -> dict[str, Any]:
    return json.loads(zlib.decompress(base64.b64decode(found.data)))


@pytest.fixture(scope="module")
def content(steps: pl.DataFrame) -> dict[str, Any]:
    return unpacked(trajectories(steps, METHODS, 1))


def test_what_is_packed_are_the_trajectories_of_the_steps(content: Mapping[str, Any]) -> None:
    def submission(number: int) -> tuple[Any, ...]:
        kind, grade, code, feedback = content["submissions"][number]
        texts = content["texts"]
        return content["kinds"][kind], grade, None if code is None else texts[code], texts[feedback]

    def expected(submissions: list[Submission]) -> list[tuple[Any, ...]]:
        return [
            (kind, None if grade is None else round(grade, 2), code, feedback or "")
            for kind, grade, code, feedback in submissions
            if kind is not None
        ]

    assert content["methods"] == ["SFT_2024", "COPY"]
    assert len(content["starts"]) == len(WORK)
    for start, ((_, assignment, number), (real, rollouts)) in zip(
        content["starts"], WORK.items(), strict=True
    ):
        assert (start["assignment"], start["start"]) == (assignment, number)
        assert content["texts"][start["before"]] == BEFORE
        assert [submission(one) for one in start["real"]] == expected(real)
        found = {
            (METHODS[method], sample): [submission(one) for one in submissions]
            for method, sample, _, submissions in start["rollouts"]
        }
        assert found == {key: expected(submissions) for key, submissions in rollouts.items()}


def test_each_text_and_each_submission_is_packed_once(content: Mapping[str, Any]) -> None:
    assert sorted(content["texts"]) == sorted(
        {BEFORE, RIGHT, WRONG, HOSTILE, "", "All tests passed.", "<b>No</b> test passed."}
    )
    assert len(content["submissions"]) == len(set(map(tuple, content["submissions"]))) == 5


def test_a_rollout_ends_as_its_last_submission_says(content: Mapping[str, Any]) -> None:
    ends = [[end for _, _, end, _ in start["rollouts"]] for start in content["starts"]]
    assert ends == [
        ["gave up", "solved", "not solved"],
        ["solved", "not solved", "not solved"],
        ["unreadable", "not solved", "not solved"],
    ]
    assert [start["ends"] for start in content["starts"]] == ["solved", "solved", "not solved"]


def test_a_page_has_no_more_starts_than_the_limit(
    steps: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "STARTS", 2)
    draws = [trajectories(steps, METHODS, seed) for seed in range(8)]
    assert {(found.shown, found.all) for found in draws} == {(2, 3)}
    assert {len(unpacked(found)["starts"]) for found in draws} == {2}
    assert len({found.data for found in draws}) == 3  # every pair of the three is drawn at some time


def test_starts_are_left_out_until_the_rest_has_room(
    steps: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = len(trajectories(steps, METHODS, 1).data)
    monkeypatch.setattr(packing, "CHARACTERS", whole - 1)
    found = trajectories(steps, METHODS, 1)
    assert found.shown == len(unpacked(found)["starts"]) == 1
    assert len(found.data) < whole


# --- in a browser -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(course: Course, steps: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [(method, "coverage", "overall", 1.0, 1.0, 1.0, 4) for method in METHODS]
    metrics = pl.DataFrame(rows, schema=METRICS, orient="row")
    account: dict[str, Any] = {"flow": [], "broken_assignments": {}, "notes": {}, "drift": []}
    path = tmp_path_factory.mktemp("page") / "report.html"
    methods = dict.fromkeys(METHODS, "A method.")
    write_report(course, steps, metrics, ReportConfig(), account, [], {}, methods, path)
    return path


@pytest.fixture(scope="module")
def opened(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture
def page(opened: Page, file: Path) -> Page:
    opened.goto(file.as_uri())
    opened.locator("#controls").wait_for()
    return opened


def choose(page: Page, **values: str) -> None:
    """Chooses by their texts: the options of the selects with these ids."""
    for name, text in values.items():
        page.select_option(f"#choose-{name.replace('_', '-')}", label=text)


def texts(page: Page, selector: str) -> list[str]:
    return page.locator(selector).all_text_contents()


def at(page: Page) -> list[str]:
    return [*texts(page, "#shown h3"), *texts(page, "#place")]


def test_markup_in_a_program_and_in_feedback_stays_text(page: Page, file: Path) -> None:
    title = page.evaluate("document.title")
    added = page.evaluate(
        "[...document.querySelector('.attempt').querySelectorAll('.added')].map((line) => line.textContent)"
    )
    assert "".join(line[2:] for line in added) == HOSTILE
    assert texts(page, ".attempt .feedback")[:2] == [HOSTILE, "<b>No</b> test passed."]
    assert title == page.evaluate("document.title") == "Artificial students: small"
    assert page.evaluate("document.scripts.length") == 2
    assert texts(page, "#trajectory-browser :is(img, b), #shown script") == []
    assert "<script>document" not in file.read_text(encoding="utf-8")


def test_the_page_loads_itself_alone_and_nothing_is_blocked(browser: Browser, file: Path) -> None:
    requested: list[str] = []
    problems: list[str] = []
    with browser.new_page() as page:
        page.on("request", lambda request: requested.append(request.url))
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(file.as_uri())
        page.locator("#controls").wait_for()
    assert requested == [file.as_uri()]
    assert problems == []


def test_both_sides_show_their_changes_grades_and_feedback(page: Page) -> None:
    choose(page, sample="drawn, 1")
    assert at(page) == ["double, from submission 2", "1 of 3"]
    assert texts(page, ".attempt")[2] == "SFT_2024: solved before"
    marks = """[...document.querySelectorAll('.attempt')].map((attempt) =>
        [...attempt.querySelectorAll('pre span')].map((line) => [line.className, line.textContent]))"""
    mine, first, _, second = page.evaluate(marks)
    assert mine == [
        ["same", "  a\n"],
        ["removed", "− b\n"],
        ["added", "+ x\n"],
        ["same", "  c\n"],
        ["added", "+ d\n"],
    ]
    assert first == [["same", "  a\n"], ["removed", "− b\n"], ["removed", "− c\n"]]
    # The student's second program is compared with the student's first one.
    assert second == [["same", "  a\n"], ["added", "+ x\n"], ["added", "+ c\n"], ["added", "+ d\n"]]
    assert texts(page, ".attempt .grade") == ["100", "0", "100"]
    assert texts(page, ".attempt strong") == ["SFT_2024", "Synthetic student", "Synthetic student"]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"assignment": "greet"}, ["greet, from submission 2", "1 of 1"]),
        ({"end": "gave up"}, ["double, from submission 2", "1 of 1"]),
        ({"end": "unreadable"}, ["greet, from submission 2", "1 of 1"]),
        ({"end": "solved"}, ["double, from submission 3", "1 of 1"]),
        ({"end": "solved", "sample": "drawn, 1"}, ["double, from submission 2", "1 of 1"]),
        ({"real_end": "solved"}, ["double, from submission 2", "1 of 2"]),
        ({"real_end": "not solved", "method": "COPY"}, ["greet, from submission 2", "1 of 1"]),
        ({"real_end": "not solved", "end": "solved"}, ["No start fits."]),
    ],
)
def test_filters_leave_the_starts_that_fit(page: Page, filters: dict[str, str], found: list[str]) -> None:
    choose(page, **filters)
    assert at(page) == found


def test_another_method_shows_the_same_start(page: Page) -> None:
    page.click("#next")
    choose(page, method="COPY")
    assert at(page) == ["double, from submission 3", "2 of 3"]
    assert texts(page, "#choose-sample option") == ["likeliest turns"]


def test_the_keyboard_is_enough(page: Page) -> None:
    page.evaluate("document.getElementById('choose-method').focus()")
    for _ in range(8):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "next":
            break
    assert page.evaluate("document.activeElement.id") == "next"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    places = []
    for key in ("Enter", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
        places += texts(page, "#place")
    assert places == ["2 of 3", "3 of 3", "1 of 3", "3 of 3"]


def test_every_control_has_a_name_and_the_place_is_announced(page: Page) -> None:
    names = page.evaluate(
        "[...document.querySelectorAll('#controls select')]"
        ".map((select) => select.labels[0].firstChild.textContent)"
    )
    assert names == ["Method", "Sample", "Assignment", "The rollout ends", "The student ends"]
    assert page.evaluate("document.getElementById('place').getAttribute('aria-live')") == "polite"
