import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tutee_evaluator.engines.baselines import Copy
from tutee_evaluator.evaluate import evaluate
from tutee_evaluator.metrics import METRICS, ReportConfig
from tutee_evaluator.report.answer import answer
from tutee_evaluator.report.figures import Figure, Figures
from tutee_evaluator.report.page import write_report
from tutee_evaluator.report.tables import results_table, signed
from tutee_evaluator.rollout.config import RolloutConfig
from tutee_evaluator.rollout.run import roll_out
from tutee_grader import Assignment, Grader
from tutee_serializer.card import StudentCard
from tutee_serializer.course import Course

HOSTILE = "def greet(name):\n    return '</pre><script>alert(1)</script><img src=x onerror=alert(2)>'\n"
CONFIG = ReportConfig(resamples=50)
ACCOUNT: dict[str, Any] = {"flow": [], "broken_assignments": {}, "notes": {}, "drift": []}


Write = Callable[[Path], None]


@pytest.fixture(scope="module")
def evaluated(
    dialogs_of: Callable[..., pl.DataFrame],
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    assignments: Mapping[str, Assignment],
    grader: Grader,
    scripted: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """STEPS and METRICS of two methods, one of which writes hostile programs."""
    dialogs = dialogs_of()
    engines = {"copy": Copy("edits", "summary"), "sft": scripted(lambda dialog, step: HOSTILE)}
    arguments = (dialogs, submissions, assignments, grader, RolloutConfig(samples=2))
    table = tmp_path_factory.mktemp("rollouts") / "table.parquet"
    rollouts = pl.concat(
        roll_out(method, lambda engine=engine: engine, *arguments, table).collect()
        for method, engine in engines.items()
    )
    # Every first step was read after two repairs.
    repair = pl.when(method="sft", step=1).then(pl.lit("no closing fence, <b>odd</b> blanks"))
    rollouts = rollouts.with_columns(repair=repair)
    steps, _, metrics = evaluate(rollouts, dialogs, submissions, verdicts, CONFIG)
    return steps, metrics


@pytest.fixture(scope="module")
def write(course: Course, evaluated: tuple[pl.DataFrame, pl.DataFrame]) -> Write:
    """Writes the page to a file."""
    flow = [
        {"step": "rows in the log", "kind": "in", "rows": 1234},
        {"step": "blank <b>code</b>", "kind": "quarantine", "rows": 7},
        {"step": "submissions kept", "kind": "kept", "rows": 1227},
    ]
    drift = {
        "semester": "2026",
        "before": "2025",
        "mean_score": -0.25,
        "new_assignments": None,
        "added": ["<x>"],
    }
    account = {
        "flow": flow,
        "broken_assignments": {"odd": "no tests"},
        "notes": {"clocks behind": 3},
        "drift": [drift],
    }
    card = StudentCard("sft", "small", ".", "edits", "summary", 100, 10, "some-preset")
    parameters = {"rollout": {"steps": 5, "seed": 77123}}

    def write(page: Path) -> None:
        methods = {"sft": "Trained on <dialogs>.", "absent": "Not here.", "copy": "The last program again."}
        write_report(course, *evaluated, CONFIG, account, [card], parameters, methods, page)

    return write


@pytest.fixture(scope="module")
def page(write: Write, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("reports") / "report.html"
    write(path)
    return path.read_text(encoding="utf-8")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.addresses: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]
        assert not any(name.startswith("on") for name, _ in attrs), (tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def tags(page: str) -> _Tags:
    tags = _Tags()
    tags.feed(page)
    tags.close()
    return tags


def test_what_others_wrote_is_no_markup(page: str, tags: _Tags) -> None:
    assert "img" not in tags.seen and "b" not in tags.seen
    # The data and the page's own script.
    assert page.count("<script") == page.count("</script") == 2


def test_the_policy_lets_the_pages_own_script_run_and_nothing_load(page: str) -> None:
    script = page[page.rindex("<script>") + len("<script>") : page.rindex("</script>")]
    (policy,) = re.findall('http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    directives = dict(one.split(maxsplit=1) for one in policy.split("; "))
    assert directives["default-src"] == "'none'"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert directives["script-src"] == f"'sha256-{digest}'"


def test_every_tag_is_closed(tags: _Tags) -> None:
    assert tags.open == []


def test_the_page_needs_no_other(page: str, tags: _Tags) -> None:
    assert all(address.startswith("#") for address in tags.addresses) and tags.addresses
    data = page.index('id="trajectories-data"')
    rest = page[:data] + page[page.index("</script>", data) :]  # in base64 there may be any letters
    assert not re.search(r"https?:|//[a-z]|@import|url\(", rest)


def test_every_link_leads_somewhere(page: str, tags: _Tags) -> None:
    assert all(f'id="{address[1:]}"' in page for address in tags.addresses)


def test_a_synthetic_course_is_declared_as_one(page: str, tags: _Tags) -> None:
    assert "SYNTHETIC STUDENTS" in "".join(tags.text)
    assert "real students" not in "".join(tags.text)


def test_the_page_gives_the_account_the_parameters_and_the_cards(tags: _Tags) -> None:
    text = "".join(tags.text)

    for part in ("1,234", "blank <b>code</b>", "no tests", "clocks behind", "77123", "tutee-evaluator"):
        assert part in text
    assert "some-preset" in text


def test_the_page_says_how_semesters_differ(tags: _Tags) -> None:
    text = "".join(tags.text)

    assert "2026 against 2025" in text
    assert "mean score-0.25" in text and "new assignments–" in text
    assert "New in 2026: <x>." in text


def test_the_page_shows_the_figures_of_the_table(
    evaluated: tuple[pl.DataFrame, pl.DataFrame], tags: _Tags
) -> None:
    metrics = evaluated[1]

    assert metrics.schema == METRICS
    text = "".join(tags.text)
    for metric in ("energy", "crps", "coverage", "grade_proximity", "codebleu", "codebleu_corrected"):
        shown = metrics.filter(metric=metric, method="sft", stratum="overall").row(0, named=True)
        assert f"{shown['value']:.3f}" in text and f"{shown['low']:.3f} to {shown['high']:.3f}" in text


def test_the_page_shows_how_many_turns_needed_a_repair_and_which(
    evaluated: tuple[pl.DataFrame, pl.DataFrame], page: str
) -> None:
    steps, metrics = evaluated
    drawn = steps.filter(pl.col("sample") > 0)
    written = drawn.filter(pl.col("method") == "sft", pl.col("kind").is_not_null())
    table = page[page.index("Turns as written") :].partition("</table>")[0]

    shown = metrics.filter(metric="repaired", method="sft", stratum="overall").row(0, named=True)
    assert shown["value"] == (written["step"] == 1).mean()
    assert f"{shown['value']:.3f}" in table and f">{written.height}</td>" in table
    starts = (written["step"] == 1).sum()
    assert f"&lt;b&gt;odd&lt;/b&gt; blanks ({starts}), no closing fence ({starts})" in table
    assert re.findall(r'<th scope="row">(\w+)</th>', table) == ["SFT"]


def test_methods_come_in_the_order_given_without_those_that_have_no_figures(page: str) -> None:
    results = page[page.index('id="published"') : page.index("<h3>Pooled")]

    assert re.findall(r'<th scope="row">(\w+)</th>', results) == ["SFT", "COPY"]


def test_the_page_says_what_each_method_that_has_figures_is(page: str) -> None:
    assert "<dt>SFT</dt><dd>Trained on &lt;dialogs&gt;.</dd>" in page
    assert "<dt>COPY</dt><dd>The last program again.</dd>" in page
    assert "Not here." not in page


def test_the_page_is_the_same_every_time(write: Write, page: str, tmp_path: Path) -> None:
    write(tmp_path / "report.html")

    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page


def test_the_terminals_table_has_each_method_and_its_skill() -> None:
    rows = [
        ("mix", "coverage", 1.0, 1.0, 1.0),
        ("mix", "grade_proximity", 0.8, 0.7, 0.9),
        ("sft", "coverage", 0.5, 0.25, 0.75),
        ("sft", "grade_proximity", 0.9, 0.85, 0.95),
        ("sft", "energy_skill_over_mix", 0.125, -0.25, 0.625),
        ("sft", "nats", 20.25, 10.0, 30.0),
    ]
    table = results_table(
        pl.DataFrame(
            [(method, metric, "overall", *values, 9) for method, metric, *values in rows],
            schema=METRICS,
            orient="row",
        ),
        ["sft", "absent", "mix"],
    )

    lines = table.splitlines()
    assert [line.split()[0] for line in lines] == ["method", "------", "SFT", "MIX"]
    assert "energy skill over MIX" in lines[0]
    assert "+0.125 [-0.250, +0.625]" in lines[2] and " 20.2 " in lines[2]
    assert lines[3].index("1.000") == lines[2].index("0.500")
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("high", "end"), [(0.0, 0.2), (0.2, 0.2), (0.3, 0.4), (0.6, 0.6), (0.61, 0.8), (1.0, 1.0)]
)
def test_the_axis_of_the_share_solved_ends_at_the_next_fifth(high: float, end: float) -> None:
    """So that the labels at half and at the end of it are whole per cents, which are not rounded."""
    rows = [("sft", "solved", "step=1", 0.0, 0.0, high, 9)]

    assert Figures(pl.DataFrame(rows, schema=METRICS, orient="row")).solved_axis() == end


def figures_of(**values: tuple[float, float, float]) -> Figures:
    rows = [("sft", metric, "overall", *value, 9) for metric, value in values.items()]
    mix = ("mix", "coverage", "overall", 1.0, 1.0, 1.0, 9)
    return Figures(pl.DataFrame([mix, *rows], schema=METRICS, orient="row"))


@pytest.mark.parametrize(
    ("skill", "words"),
    [
        ((0.2, 0.1, 0.3), "SFT is a better forecast than MIX (skill +0.20, 95% interval +0.10 to +0.30)"),
        ((0.2, -0.1, 0.3), "SFT is neither a better nor a worse forecast"),
        ((-0.2, -0.3, -0.1), "SFT is a worse forecast"),
    ],
)
def test_the_answer_says_whether_the_strongest_baseline_is_beaten(
    skill: tuple[float, float, float], words: str
) -> None:
    (sentence,) = answer(figures_of(energy_skill_over_mix=skill), "sft")
    assert words in sentence and sentence.startswith("Of the students' next programs")


@pytest.mark.parametrize(
    ("solved", "words"),
    [((0.1, 0.0, 0.2), "too few"), ((0.9, 0.8, 1.0), "too many"), ((0.45, 0.3, 0.6), "chance")],
)
def test_the_answer_says_whether_as_many_solve_the_task(
    solved: tuple[float, float, float], words: str
) -> None:
    (sentence,) = answer(figures_of(solved=solved, real_solved=(0.5, 0.4, 0.6)), "sft")
    assert f"{solved[0]:.0%} of SFT's" in sentence and "50% of the students" in sentence
    assert words in sentence


def test_the_page_begins_with_the_answer(page: str) -> None:
    lead = page[page.index('<p class="lead">') : page.index("<nav")]
    assert "Do the artificial students behave like the synthetic ones?" in lead
    assert "of SFT&#39;s rollouts have solved the task" in lead


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        # Of the two that are apart, the one that differs most, in either direction.
        (
            {"error=NameError": 0.3, "real_error=NameError": 0.1, "error=b": 0.1, "real_error=b": 0.4},
            "Least alike is the error “b”: it is 10% of SFT's errors, and 40% of the students'",
        ),
        (
            {"transition=worse": 0.9, "real_transition=worse": 0.1, "error=b": 0.1, "real_error=b": 0.4},
            "Least alike is the transition “worse”: it is 90% of SFT's transitions, and 10% of the students'",
        ),
        # Each interval reaches 0.05 to both sides.
        ({"error=b": 0.3, "real_error=b": 0.39}, None),
        ({"error=b": 0.3}, None),
    ],
)
def test_the_answer_says_where_a_method_is_least_alike_if_not_by_chance(
    figures: dict[str, float], words: str | None
) -> None:
    intervals = {metric: (value, value - 0.05, value + 0.05) for metric, value in figures.items()}
    assert answer(figures_of(**intervals), "sft") == ([] if words is None else [f"{words}."])


def test_parts_come_in_order_numbers_first_and_the_largest_alone() -> None:
    parts = ["17+", "3-4", "0", "5-8", "16", "never", "early"]
    shares = {f"edit={part}": 0.1 for part in parts} | {"real_edit=early": 0.2, "edit=none": 0.0}
    figures = figures_of(**{metric: (share, 0.0, 1.0) for metric, share in shares.items()})
    assert figures.parts("edit") == ["0", "3-4", "5-8", "16", "17+", "early", "never"]
    assert not figures.more_parts("edit")

    many = figures_of(**{f"edit={number}": (number / 100, 0.0, 1.0) for number in range(1, 15)})
    assert many.parts("edit") == [str(number) for number in range(3, 15)]
    assert many.more_parts("edit")


# The figures of a section, and a heading that is on the page with them alone.
FAMILIES = [
    (["transition=up", "real_transition=up"], "What the next submission does"),
    (["transition_distance"], "How far apart"),
    (["edit_lines=0", "real_edit_lines=0"], "Size of an edit, in lines"),
    (["edit_tree=0", "real_edit_tree=0"], "Size of an edit, in nodes"),
    (["attempts_to_solve=1", "real_attempts_to_solve=1"], "Attempts until the task is solved"),
    (["resubmission", "real_resubmission"], "Habits"),
    (["error=NameError", "real_error=NameError"], "<h3>Errors"),
    (["error_iou"], "<h3>Errors"),
    (["style_lines", "real_style_lines"], "Style of the programs"),
    (["self_bleu"], "Diversity</h3>"),
]


OF_FAMILIES = (
    "^(real_)?(error|transition|edit_|attempts_|resubmission|backtracking|style_|self_bleu|distinct)"
)


@pytest.mark.parametrize(("names", "heading"), FAMILIES)
def test_a_section_is_shown_where_there_are_figures(
    names: list[str],
    heading: str,
    evaluated: tuple[pl.DataFrame, pl.DataFrame],
    course: Course,
    tmp_path: Path,
) -> None:
    rows = [
        (method, name, "overall", 0.375 + number / 10, 0.3125, 0.875, 8)
        for method in ("sft", "copy")
        for number, name in enumerate(names)
    ]
    steps, metrics = evaluated
    metrics = metrics.filter(~pl.col("metric").str.contains(OF_FAMILIES))
    own = pl.concat([metrics, pl.DataFrame(rows, schema=METRICS, orient="row")])
    path = tmp_path / "report.html"
    write_report(course, steps, own, CONFIG, ACCOUNT, [], {}, {"sft": "Student.", "copy": "Copies."}, path)
    added = path.read_text(encoding="utf-8")
    shown = added[added.index(heading) :]
    shown = shown[: shown.index("<h2")]
    for number in range(len(names)):
        value = 0.375 + number / 10
        assert f"{value:.3f}" in shown or f">{value * 100:.0f}%<" in shown
    # Both methods have a row, or a picture of their own.
    assert {"SFT", "COPY"} <= set(re.findall(r">(SFT|COPY)<", shown))
    write_report(course, steps, metrics, CONFIG, ACCOUNT, [], {}, {"sft": "S.", "copy": "C."}, path)
    assert heading not in path.read_text(encoding="utf-8")


def test_differences_to_a_reference_say_which_is_better(
    evaluated: tuple[pl.DataFrame, pl.DataFrame], course: Course, tmp_path: Path
) -> None:
    less = [("energy_minus_copy", -0.25), ("coverage_minus_copy", -0.125)]
    rows = [("sft", name, "overall", value, value - 0.01, value + 0.01, 8) for name, value in less]
    steps, metrics = evaluated
    own = pl.concat([metrics, pl.DataFrame(rows, schema=METRICS, orient="row")])
    path = tmp_path / "report.html"
    write_report(course, steps, own, CONFIG, ACCOUNT, [], {}, {"sft": "S.", "copy": "C."}, path)
    shown = path.read_text(encoding="utf-8").partition("Differences to COPY</h3>")[2].partition("<h3>")[0]
    # A lower energy score is better, and a lower coverage worse.
    cells = re.findall(r'signed (better|worse|even)"><span class="value">([^<]+)<', shown)
    assert cells == [("better", "−0.250"), ("worse", "−0.125")]


def test_the_skill_over_the_strongest_baseline_comes_first(
    evaluated: tuple[pl.DataFrame, pl.DataFrame], course: Course, tmp_path: Path
) -> None:
    steps, metrics = evaluated
    mix = pl.DataFrame([("mix", "coverage", "overall", 1.0, 1.0, 1.0, 8)], schema=METRICS, orient="row")
    methods = {"copy": "C.", "mix": "M.", "sft": "S."}
    path = tmp_path / "report.html"
    write_report(course, steps, pl.concat([metrics, mix]), CONFIG, ACCOUNT, [], {}, methods, path)

    table = path.read_text(encoding="utf-8").partition("<h3>Energy score of the code</h3>")[2]
    headings = re.findall(r'<th scope="col">([^<]+)</th>', table.partition("</thead>")[0])
    assert headings == ["Method", "Score", "Skill over MIX", "Skill over COPY"]


def test_the_page_goes_from_the_answer_to_the_accounts(page: str) -> None:
    ids = re.findall(r'<h2 id="(\w+)"', page)
    assert ids == [
        *("scores", "trajectories", "published", "errors", "style", "browser"),
        *("rows", "made", "definitions"),
    ]
    assert re.findall(r'<a href="#(\w+)"', page) == ids


def test_calibration_is_shown(evaluated: tuple[pl.DataFrame, pl.DataFrame], page: str) -> None:
    table = page[page.index("<h3>Calibration") : page.index('id="browser"')]
    for metric in ("grade_hit", "grade_among"):
        (found,) = evaluated[1].filter(metric=metric, method="sft", stratum="overall")["value"]
        assert f"{found:.3f}" in table


def test_what_rounds_to_nothing_has_no_minus() -> None:
    assert signed(Figure(0.0, low=-0.0004, high=0.0004, n=9)) == "+0.000 [+0.000, +0.000]"
