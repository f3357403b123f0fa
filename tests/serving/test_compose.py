"""compose.yaml, as far as it can be checked without Docker."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def test_it_has_the_three_services() -> None:
    assert set(SERVICES) == {"prefect", "mlflow", "tutee"}


@pytest.mark.parametrize("name", SERVICES)
def test_nobody_else_reaches_its_ports(name: str) -> None:
    assert SERVICES[name]["ports"]
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in SERVICES[name]["ports"])


@pytest.mark.parametrize("name", SERVICES)
def test_its_health_is_asked_where_it_listens(name: str) -> None:
    (port,) = (port.rpartition(":")[2] for port in SERVICES[name]["ports"])
    assert f"http://127.0.0.1:{port}/" in SERVICES[name]["healthcheck"]["test"][-1]


def test_what_is_mounted_is_declared() -> None:
    volumes = {mount.partition(":")[0] for one in SERVICES.values() for mount in one.get("volumes", [])}
    assert volumes == set(COMPOSE["volumes"])
    assert {secret for one in SERVICES.values() for secret in one.get("secrets", [])} == set(
        COMPOSE["secrets"]
    )


def test_the_servers_are_of_the_versions_that_clients_here_have() -> None:
    pins = dict(re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert SERVICES["prefect"]["image"].startswith(f"prefecthq/prefect:{pins['prefect']}-")
    assert SERVICES["mlflow"]["image"] == f"ghcr.io/mlflow/mlflow:v{pins['mlflow']}"
