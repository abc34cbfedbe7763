"""What compose.gpu.yaml and compose.scale.yaml add, and that Compose and Caddy accept all files."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from support.tools import need_program

DOCKER = Path(__file__).resolve().parents[2] / "docker"
NAMES = ("compose.yaml", "compose.gpu.yaml", "compose.scale.yaml")


class _Loader(yaml.SafeLoader):
    """Compose's own tags, `!reset` and `!override`, read as what stands behind them."""


_Loader.add_multi_constructor("!", lambda loader, _suffix, node: loader.construct_sequence(node))


def load(name: str) -> dict:
    return yaml.load((DOCKER / name).read_text(), Loader=_Loader)  # noqa: S506 - derived from SafeLoader


@pytest.mark.parametrize("name", NAMES)
def test_compose_accepts_the_file(name: str, tmp_path: Path) -> None:
    plain = tmp_path / name
    plain.write_text(yaml.safe_dump(load(name)))
    checker = need_program("check-jsonschema", package="this project's extra `test`")
    subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", plain], check=True, capture_output=True, timeout=120
    )


def test_a_gpu_is_given_to_what_computes_alone() -> None:
    services = load("compose.gpu.yaml")["services"]
    assert set(services) == {"backend", "worker"}
    for service in services.values():
        assert service["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


def test_three_servers_publish_no_port_of_their_own() -> None:
    services = load("compose.scale.yaml")["services"]
    assert services["backend"]["deploy"] == {"replicas": 3}
    assert services["backend"]["ports"] == []
    assert services["caddy"]["networks"]["default"]["aliases"] == ["backend.samloop.internal"]


def test_servers_and_workers_share_one_registry_in_the_object_store() -> None:
    services = load("compose.scale.yaml")["services"]
    environments = [services[name]["environment"] for name in ("backend", "worker", "refresh-worker")]
    assert environments[0]["MODEL_DIR"].startswith("s3://")
    assert environments[1] == environments[0]
    assert environments[2] == environments[0] | {"SAMLOOP_REFRESH_BATCHES": "3"}


def test_every_variable_without_a_default_stands_in_the_example() -> None:
    example = (DOCKER / "example.env").read_text()
    for name in NAMES:
        for variable in (part.split(":?")[0] for part in (DOCKER / name).read_text().split("${") if ":?" in part[:40]):
            assert f"{variable}=" in example, f"{name} wants {variable}"


def test_caddy_accepts_its_file() -> None:
    caddy = need_program("caddy", package="Debian's caddy")
    names = {"SAMLOOP_HOST": "samloop.localhost", "LABELS_HOST": "labels.localhost"}
    checked = subprocess.run(
        [caddy, "validate", "--adapter", "caddyfile", "--config", DOCKER / "Caddyfile"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **names},
        timeout=120,
    )
    assert checked.returncode == 0, checked.stderr
