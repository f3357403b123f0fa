"""The blinded test: fair pairs, and a page that shows and scores them in a real browser."""

import base64
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from scipy.stats import norm

from tutee_evaluator.pairing import pair
from tutee_evaluator.rollout.config import RolloutConfig
from tutee_evaluator.rollout.run import roll_out
from tutee_evaluator.turing.changes import marked
from tutee_evaluator.turing.page import write_page
from tutee_evaluator.turing.pairs import draw_pairs
from tutee_grader import Assignment, Grader

HOSTILE = "def greet(name):\n    return '</pre><script>alert(1)</script>'\n"
TASKS = {"double": "Write `double`.", "greet": "Write <b>greet</b>."}


@pytest.fixture(scope="module")
def steps(
    dialogs_of: Callable[..., pl.DataFrame],
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    assignments: Mapping[str, Assignment],
    grader: Grader,
    scripted: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> pl.DataFrame:
    """Of a method that writes a hostile program, and no program at every third step."""
    engine = scripted(lambda dialog, step: None if step == 3 else HOSTILE + "#" * step)
    config = RolloutConfig(samples=1)
    table = tmp_path_factory.mktemp("rollouts") / "table.parquet"
    arguments = (dialogs_of(), submissions, assignments, grader, config, table)
    return pair(roll_out("sft", lambda: engine, *arguments).collect(), dialogs_of(), submissions, verdicts)


def test_both_sides_have_the_submissions_that_both_made(steps: pl.DataFrame) -> None:
    drawn = draw_pairs(steps, "sft", 100, seed=1)

    starts = steps.filter(sample=1).group_by("dialog_id", "start").agg(pl.col("code").is_not_null().sum())
    lengths = [len(pair.sides[0]) for pair in drawn]
    assert sorted(lengths) == sorted(starts["code"])
    assert {1, 2} <= set(lengths)
    assert all(len(pair.sides[0]) == len(pair.sides[1]) for pair in drawn)


def test_one_side_is_the_students_and_chance_says_which(steps: pl.DataFrame) -> None:
    drawn = draw_pairs(steps, "sft", 100, seed=1)

    def text(side: Any) -> str:
        return "\n".join(line.text for shown in side for line in shown.lines if line.mark != "removed")

    assert {pair.real for pair in drawn} == {0, 1}
    for one in drawn:
        assert "alert(1)</script>'" in text(one.sides[1 - one.real])
        assert "alert(1)</script>'\n#" not in text(one.sides[one.real])
    assert draw_pairs(steps, "sft", 100, seed=1) == drawn != draw_pairs(steps, "sft", 100, seed=2)


def test_every_student_comes_once_before_anyone_comes_again(steps: pl.DataFrame) -> None:
    named = steps.with_columns(before="student")
    students = named["student"].unique().to_list()

    drawn = draw_pairs(named, "sft", 100, seed=3)

    assert sorted(pair.before for pair in drawn[: len(students)]) == sorted(students)
    assert len(drawn) > 2 * len(students)


@pytest.fixture(scope="module")
def page(steps: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("turing") / "turing.html"
    write_page(draw_pairs(steps, "sft", 8, seed=1), TASKS, "small", True, path)
    return path


def key_of(page: Path) -> list[int]:
    encoded = re.search(r'atob\("([^"]+)"\)', page.read_text())
    assert encoded
    found: list[int] = json.loads(base64.b64decode(encoded[1]))
    return found


def test_the_page_needs_no_other_and_shows_programs_as_text(page: Path) -> None:
    html = page.read_text()

    assert not re.search(r"https?:|@import|url\(|src=|href=\"", html)
    assert html.count("<script>") == 1 and "&lt;script&gt;alert(1)" in html
    assert "Write &lt;b&gt;greet" in html and "SYNTHETIC" in html


# Clicks through all pairs, `wrong` of them wrongly, and writes down what the page then says.
CLICK = """<script>
addEventListener("load", () => {
  real.forEach((side, at) => {
    const shown = pairs.filter((pair) => !pair.hidden);
    if (shown.length !== 1 || shown[0] !== pairs[at]) throw new Error("not one pair is shown");
    shown[0].querySelectorAll("button")[at < WRONG ? 1 - side : side].click();
  });
  const said = document.createElement("output");
  said.textContent = JSON.stringify({ words: document.getElementById("words").textContent,
    cells: [...document.querySelectorAll("#figures td")].map((cell) => cell.textContent),
    hidden: document.getElementById("result").hidden });
  document.body.replaceChildren(said);
});
</script>"""


@pytest.mark.parametrize("wrong", [0, 2, 4, 8])
def test_the_page_scores_the_answers(page: Path, tmp_path: Path, wrong: int) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium on this machine")
    n = len(key_of(page))
    clicked = tmp_path / "clicked.html"
    clicked.write_text(page.read_text() + CLICK.replace("WRONG", str(wrong)))
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]
    done = subprocess.run(
        [browser, *switches, f"--user-data-dir={tmp_path / 'profile'}", clicked.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = re.search(r"<output>(.*)</output>", done.stdout)
    assert found, done.stdout[-500:] + done.stderr[-500:]
    said = json.loads(found[1])

    share, z = (n - wrong) / n, norm.ppf(0.975)
    centre, spread = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = ((centre + sign * spread) / (1 + z * z / n) for sign in (-1, 1))
    d = [math.sqrt(2) * norm.ppf(min(max(p, 0.5 / n), 1 - 0.5 / n)) for p in (share, low, high)]
    minus = str.maketrans("-", "−")
    assert said["hidden"] is False
    assert said["cells"] == [
        *("right", f"{n - wrong} of {n}"),
        *("share right", f"{share:.3f} [{low:.3f}, {high:.3f}]".translate(minus)),
        *("d′", f"{d[0] + 0.0:.2f} [{d[1]:.2f}, {d[2]:.2f}]".translate(minus)),
    ]
    verdict = {0: "You can tell", 2: "You cannot tell", 4: "You cannot tell", 8: "You take the model"}
    assert said["words"].startswith(verdict[wrong])


def test_changes_are_marked_line_by_line() -> None:
    lines = marked("a\nb\nc", "a\nx\nc\nd")

    assert [(line.mark, line.text) for line in lines] == [
        ("same", "a"),
        ("removed", "b"),
        ("added", "x"),
        ("same", "c"),
        ("added", "d"),
    ]
