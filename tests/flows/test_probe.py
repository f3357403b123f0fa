"""`tutee probe` before there is anything to probe; tests/evaluator/test_probing.py has the rest."""


def test_probing_needs_a_trained_student(project) -> None:
    done = project.tutee("probe", "small")

    assert done.returncode == 2
    assert "probe: SFT is left out: there is no models/small/tiny/sft" in done.stdout
    assert "models/small/tiny: none of base, para, sft is there; run `tutee retrain` first" in done.stderr
