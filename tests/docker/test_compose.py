"""The compose file holds what Label Studio needs of it (CONTRACT: private addresses, dotted names, durable queue)."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

DOCKER = Path(__file__).resolve().parents[2] / "docker"


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


def test_label_studio_may_talk_to_backends_on_private_addresses(compose: dict) -> None:
    environment = compose["services"]["label-studio"]["environment"]
    assert (environment["ML_BLOCK_LOCAL_IP"], environment["SSRF_PROTECTION_ENABLED"]) == ("false", "false")


def test_the_backend_has_a_dotted_name_without_which_no_webhook_is_made(compose: dict) -> None:
    backend = compose["services"]["backend"]
    host = re.fullmatch(r"http://([^:/]+):9090", backend["environment"]["SAMLOOP_BACKEND_URL"])
    assert host is not None
    assert "." in host[1]
    assert host[1] in backend["networks"]["default"]["aliases"]


def test_the_queue_forgets_nothing(compose: dict) -> None:
    command = " ".join(compose["services"]["queue"]["command"])  # a shell's: the password comes from the environment
    assert "--appendonly yes" in command
    assert "--appendfsync always" in command
    assert "--maxmemory-policy noeviction" in command
    assert "--requirepass" in command


def test_backend_and_worker_share_one_registry_and_one_queue(compose: dict) -> None:
    backend, worker = compose["services"]["backend"], compose["services"]["worker"]
    assert "models:/models" in backend["volumes"]
    assert backend["volumes"] == worker["volumes"]
    assert backend["environment"] == worker["environment"]


def test_a_worker_of_its_own_refreshes(compose: dict) -> None:
    """It asks the backend for masks: the address that Label Studio uses leads there from it too."""
    backend, refresher = compose["services"]["backend"], compose["services"]["refresh-worker"]
    assert refresher["command"] == ["samloop", "worker", "--refresh"]
    assert refresher["environment"] == backend["environment"]
    assert "backend" in refresher["depends_on"]
    assert "@queue:6379/0" in backend["environment"]["REDIS_URL"]


def test_the_backend_is_not_open_to_the_network_without_credentials(compose: dict) -> None:
    environment = compose["services"]["backend"]["environment"]
    assert environment["BASIC_AUTH_PASS"].startswith("${BASIC_AUTH_PASS:?")
    assert compose["services"]["backend"]["ports"] == ["${SAMLOOP_PUBLISH:-127.0.0.1:9090}:9090"], "loopback alone"


def test_browsers_are_sent_to_addresses_that_are_published(compose: dict) -> None:
    """Names inside the network mean nothing outside: links between pages and Label Studio must not hold them."""
    environment, studio = compose["services"]["backend"]["environment"], compose["services"]["label-studio"]
    assert environment["SAMLOOP_PUBLIC_URL"] == "${SAMLOOP_PUBLIC_URL:-http://localhost:9090}"
    assert environment["SAMLOOP_LABEL_STUDIO_PUBLIC_URL"] == studio["environment"]["LABEL_STUDIO_HOST"]


def test_every_variable_of_the_compose_file_is_read_by_somebody(compose: dict) -> None:
    from backend.settings import settings_rows

    known = {row.variable for row in settings_rows()}
    assert set(compose["services"]["backend"]["environment"]) <= known


def test_docker_compose_accepts_the_file() -> None:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "compose", "version"], check=False, capture_output=True).returncode
    ):
        pytest.skip("the docker client here has no compose plugin")
    subprocess.run(
        ["docker", "compose", "--env-file", DOCKER / "example.env", "-f", DOCKER / "compose.yaml", "config", "--quiet"],
        check=True,
        timeout=300,
    )


def test_label_studio_which_may_fetch_any_address_cannot_reach_the_queue(compose: dict) -> None:
    services = compose["services"]
    reach = {name: set(service.get("networks", ["default"])) for name, service in services.items()}
    assert not reach["label-studio"] & reach["queue"]
    assert all(reach["queue"] & reach[name] for name in ("backend", "worker", "refresh-worker"))
    assert all(reach["label-studio"] & reach[name] for name in ("backend", "worker", "refresh-worker"))


def test_nobody_starts_before_what_it_needs_is_well(compose: dict) -> None:
    services = compose["services"]
    for name in ("label-studio", "backend", "worker", "refresh-worker"):
        for needed, rule in services[name]["depends_on"].items():
            assert rule == {"condition": "service_healthy"}
            assert "healthcheck" in services[needed] or needed == "backend", "the image has the backend's own"
    for name in ("worker", "refresh-worker"):
        assert services[name]["healthcheck"]["test"][-1] == "worker"


def test_samloops_containers_cannot_write_to_their_image(compose: dict) -> None:
    for name in ("backend", "worker", "refresh-worker"):
        service = compose["services"][name]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]


def test_who_is_stopped_gets_the_time_that_stopping_takes(compose: dict) -> None:
    for name in ("backend", "worker", "refresh-worker"):
        seconds = int(compose["services"][name]["stop_grace_period"].removesuffix("s"))
        assert seconds > 30, "backend.cli.stack gives a worker 30 s, and the server ends its answers within 20"
