import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pycodestyle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutee_evaluator.metrics import ReportConfig, measure, style
from tutee_evaluator.metrics.bootstrap import resample, sum_steps
from tutee_evaluator.metrics.style import GRIDS, features
from tutee_evaluator.pairing import STEPS
from tutee_evaluator.scores import SCORES

Rows = list[dict[str, Any]]

UNCLOSED = "print(1, '#'\n# why?\n"
NO_COLON = "def double(n)\n    return 2 * n\n"


def metrics_of(rows: Rows) -> pl.DataFrame:
    """METRICS of programs, with defaults for what a test leaves out."""
    full = []
    for row in rows:
        row = {"method": "sft", "student": "ada", "assignment": "double", "start": 2, "step": 1} | row
        full.append({"dialog_id": "d", "sample": 1, "code": "x", "real_code": "x", "at_risk": True} | row)
    return measure(pl.DataFrame(full, STEPS), pl.DataFrame(schema=SCORES), ReportConfig(resamples=10))


def measured(rows: Rows) -> dict[str, Any]:
    """The value of each metric."""
    return dict(metrics_of(rows).filter(stratum="overall").select("metric", "value").rows())


def lines(count: int) -> str:
    return "x = 1\n" * count


def test_lines_are_those_that_are_not_blank() -> None:
    assert features("a = 1\n\n  \t\r\n    b = 2")["lines"] == 2


def test_comments_are_counted_per_line_and_not_within_strings() -> None:
    assert features("x = '#'  # one\n\n# two\ny = '''\n# three'''\n")["comments"] == 2 / 4


def test_comments_of_a_program_that_python_cannot_read_are_counted() -> None:
    assert features(UNCLOSED)["comments"] == 1 / 2
    assert features(NO_COLON + "# why?\n")["comments"] == 1 / 3


def test_violations_of_pep_8_are_counted_per_line() -> None:
    assert features("x=1\ny = [1,2]\nz = 3\n\n\n\n\nu = 4\n")["pep8"] == 3 / 4
    assert features("def double(n):\n    return 2 * n\n")["pep8"] == 0


def test_how_a_file_ends_and_how_its_lines_do_is_no_style() -> None:
    program = "x=1\ny = 2"

    for same in (program, program + "\n", program + "\n\n\n", program.replace("\n", "\r\n")):
        assert features(same)["pep8"] == 1 / 2


def test_what_python_thinks_of_a_students_text_is_not_printed() -> None:
    with warnings.catch_warnings(record=True) as printed:
        warnings.simplefilter("always")
        assert features("pattern='\\d'\n")["pep8"] == 2  # blanks around the sign, and the escape
    assert printed == []


def test_a_program_that_does_not_parse_has_violations_and_one_of_no_tokens_has_none() -> None:
    assert features("x = 1 1\ny =2\n")["pep8"] == 1 / 2
    assert features(UNCLOSED)["pep8"] is None


@pytest.mark.parametrize("letter", ["b", "r", "u"])
def test_a_line_of_one_letter_can_be_checked(letter: str) -> None:
    assert features(f"{letter}\n")["pep8"] == 0


def test_a_users_own_settings_of_pycodestyle_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "pycodestyle"
    own.write_text("[pycodestyle]\nmax-line-length = 5\nignore = E225\nindent-size = 2\n")
    monkeypatch.setattr(pycodestyle, "USER_CONFIG", str(own))
    style._options.cache_clear()

    assert features("if True:\n    number=1\n")["pep8"] == 1 / 2


@pytest.mark.parametrize(
    ("program", "names"),
    [
        ("total = first + 1", {"total"}),
        ("self.size += 1", {"size"}),
        ("def f(a, *b, c=d, **e):\n    pass", {"f", "a", "b", "c", "e"}),
        ("class A(B):\n    pass", {"A"}),
        ("for i, j in pairs:\n    print(i)", {"i", "j"}),
        ("[k for k in range(3)]", {"k"}),
        ("with open(path) as file:\n    pass", {"file"}),
        ("import numpy as np, math", {"np"}),
        ("try:\n    pass\nexcept ValueError as error:\n    pass", {"error"}),
        ("match x:\n    case [y]:\n        pass", {"y"}),
        ("print(x)", set()),
        (NO_COLON, None),
        ("x = 1\0", None),
    ],
)
def test_names_are_those_that_a_program_assigns_or_defines(program: str, names: set[str] | None) -> None:
    found = features(program)["defined"]

    assert found == names if names is None else set(found) == names


def test_names_kept_are_those_that_the_program_before_the_start_has() -> None:
    before = "def double(n):\n    # result\n    total = n  + len('other')\n"
    values = measured(
        [
            {
                "before": before,
                "code": "def double(n):\n    result = other = total = 2 * n\n    return result\n",  # 3 of 5
                "real_code": "def double(n):\n    return 2 * n\n",
            }
        ]
    )

    assert values["style_names_kept"] == pytest.approx(3 / 5)
    assert values["real_style_names_kept"] == 1
    assert values["style_names_kept_distance"] == pytest.approx(2 / 5)


def test_names_of_a_broken_program_before_are_known() -> None:
    assert measured([{"before": NO_COLON, "code": "n = m = 1"}])["style_names_kept"] == 1 / 2


def test_names_kept_leave_out_programs_that_are_broken_or_define_nothing() -> None:
    found = metrics_of(
        [
            {"before": "n = 1", "code": "n = 2", "real_code": NO_COLON},
            {"before": "n = 1", "code": "print(1)", "real_code": "m = 2", "step": 2},
            {"before": "n = 1", "code": NO_COLON, "real_code": "n = 2", "step": 3},
        ]
    ).filter(stratum="overall")

    kept = {row["metric"]: (row["value"], row["n"]) for row in found.to_dicts()}
    assert kept["style_names_kept"] == (1, 1)
    assert kept["real_style_names_kept"] == (1 / 2, 2)
    assert "style_names_kept_distance" not in kept


def test_features_are_means_over_the_drawn_programs_and_distances_over_pairs() -> None:
    values = measured(
        [
            {"sample": 0, "code": lines(20), "real_code": lines(20)},
            {"sample": 1, "code": lines(2), "real_code": lines(3)},
            {"sample": 2, "code": lines(7), "real_code": lines(3)},
            {"sample": 1, "step": 2, "code": lines(6), "real_code": lines(6)},
            {"sample": 2, "step": 2, "code": None, "real_code": lines(6)},
        ]
    )

    assert values["style_lines"] == pytest.approx((2 + 7 + 6) / 3)
    assert values["real_style_lines"] == pytest.approx((3 + 3 + 6) / 3)
    assert values["style_lines_distance"] == pytest.approx((1 + 4 + 0) / 3)
    # Sorted, 2 6 7 beside 3 3 6.
    assert values["style_lines_emd"] == pytest.approx((1 + 3 + 1) / 3)


def test_a_method_with_greedy_programs_alone_has_features() -> None:
    assert measured([{"sample": 0, "code": lines(4)}])["style_lines"] == 4


def test_without_programs_there_is_no_style() -> None:
    assert not any("style" in metric for metric in measured([{"code": None, "kind": "gave up"}]))


def earth_movers_distances(mine: list[float], real: list[float]) -> dict[str, float]:
    """By the metrics, of values of every feature as they are."""
    rows = pl.DataFrame({feature: mine for feature in GRIDS} | {f"real_{feature}": real for feature in GRIDS})
    key = dict.fromkeys(("method", "student", "assignment"), pl.lit("x")) | {"start": pl.lit(2)}
    rows = rows.with_columns(**key, step=pl.lit(1), changed=pl.lit(True), real_solved=pl.lit(True))
    sums = sum_steps(rows, style.columns(rows), ["x"], resample(1, 1, 0))
    return {estimate.metric: estimate.draws[0, 0, 0] for estimate in style.metrics(sums)}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1))
def test_on_the_grid_the_earth_movers_distance_is_exact(pairs: list[tuple[int, int]]) -> None:
    mine, real = np.array(pairs).T / 20
    expected = np.abs(np.sort(mine) - np.sort(real)).mean()

    found = earth_movers_distances(mine.tolist(), real.tolist())

    for feature in ("comments", "pep8", "names_kept"):
        assert found[f"style_{feature}_emd"] == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1))
def test_off_the_grid_it_is_less_by_a_bins_width_at_most(pairs: list[tuple[float, float]]) -> None:
    mine, real = np.array(pairs).T
    expected = np.abs(np.sort(mine) - np.sort(real)).mean()

    found = earth_movers_distances(mine.tolist(), real.tolist())["style_comments_emd"]

    assert expected - 0.05 - 1e-9 <= found <= expected + 1e-9
    assert found >= abs(mine.mean() - real.mean()) - 1e-9


def test_values_beyond_the_grid_count_as_its_end() -> None:
    assert earth_movers_distances([500.0], [40.0])["style_lines_emd"] == pytest.approx(60)


def test_bins_rise_from_0() -> None:
    for edges in GRIDS.values():
        assert edges[0] == 0
        assert all(start < end for start, end in pairwise(edges))


fragments = st.sampled_from(["def f(x):", "x", "b", "return", *"\n\t\f\0\\()[]'\"#:", "    ", "'''"])


@settings(deadline=None, max_examples=200)
@given(st.text() | st.lists(fragments).map("".join))
def test_any_text_has_features(text: str) -> None:
    found = features(text)

    assert (found["comments"] is None) == (found["lines"] == 0)
    assert found["comments"] is None or 0 <= found["comments"] <= 1
    assert found["pep8"] is None or found["pep8"] >= 0
