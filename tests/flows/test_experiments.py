"""Commands that put artificial students to use."""


def test_a_blinded_test_is_written_for_the_best_method(reported) -> None:
    done = reported.tutee("turing", "small", "--pairs", "3")

    assert done.returncode == 0, done.stderr
    assert "3 pairs of" in done.stdout and "COPY" not in done.stdout
    html = (reported.folder / "reports/small/tiny/turing.html").read_text()
    assert html.count('<section class="pair"') == 3
    assert "Write `double(n)`" in html


def test_a_blinded_test_needs_rollouts(project) -> None:
    done = project.tutee("turing", "small", "--method", "sft")

    assert done.returncode == 2
    assert "data/small/tiny/rollouts/sft.parquet: missing; run `tutee rollout sft` first" in done.stderr
