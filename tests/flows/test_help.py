"""The command line answers at once, because it imports nothing heavy to do so."""

import subprocess
import sys

HEAVY = {
    *("torch", "transformers", "peft", "trl", "polars", "pandas", "mlflow", "prefect", "dvc", "bentoml"),
    *("great_expectations", "numpy", "tutee_grader", "tutee_trainer"),
}
HELP = """
import sys
from flows.cli import main
sys.argv = ["tutee", *{arguments!r}]
try:
    main()
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""


def modules_after(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", HELP.format(arguments=list(arguments))],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert "Usage" in done.stdout
    return set(done.stderr.split())


def test_help_imports_nothing_heavy() -> None:
    assert not modules_after("--help") & HEAVY


def test_help_of_a_command_imports_nothing_heavy() -> None:
    assert not modules_after("retrain", "--help") & HEAVY


def test_telemetry_is_off_before_a_command_runs() -> None:
    program = "import os, sys; from flows import cli; cli.app = lambda: print(*os.environ); cli.main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    expected = {
        "PREFECT_SERVER_ANALYTICS_ENABLED",
        "DO_NOT_TRACK",
        "BENTOML_DO_NOT_TRACK",
        "MLFLOW_DISABLE_TELEMETRY",
        "GX_ANALYTICS_ENABLED",
        "DVC_NO_ANALYTICS",
    }
    assert expected <= set(done.stdout.split())
