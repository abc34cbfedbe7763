"""The image's very commands, carried out in a clean folder: what `docker build` and `docker compose up` would run."""

import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import yaml
from support.docker_rehearsal import Image, environment, rehearse
from support.waiting import wait_until

from backend.cli.demo.label_studio import free_port
from backend.work.connection import connect
from backend.work.queue import count_listeners

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.weights]
# `python` in the image is the version that this test runs under. Its environments find our packages, which
# `make develop` installed from nothing by the same pins: pip asks for all of them, and unpacks samloop alone.
PYTHON = """#!/bin/sh -e
"{python}" "$@"
if [ "$1 $2" = "-m venv" ]; then
  own=$("$3/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  echo "{packages}" > "$own/ours.pth"
fi
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    root = tmp_path_factory.mktemp("image")
    (root / "bin").mkdir()
    python = root / "bin" / "python"
    python.write_text(PYTHON.format(python=sys.executable, packages=sysconfig.get_path("purelib")))
    python.chmod(0o755)
    return rehearse(ROOT / "docker" / "Dockerfile", context=ROOT, root=root)


@contextmanager
def running(image: Image, command: list[str], **environ: str) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        command, cwd=image.path("/home"), env={**os.environ, **environment(image), **environ}, start_new_session=True
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=120)


def compose_command(service: str) -> list[str]:
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    return compose["services"][service]["command"]


def ask_health(image: Image, question: str, **environ: str) -> tuple[int, str]:
    """The exit status of the image's own health check, and what it prints."""
    command = [f"{image.root}/opt/samloop/bin/python", str(image.path("/opt/samloop/health.py")), question]
    done = subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


def test_the_backend_comes_up_guarded_with_the_weights_that_the_build_converted(image: Image, redis_url: str) -> None:
    command = compose_command("backend")
    assert command == image.command, "compose and the Dockerfile disagree about what the backend runs"
    port = str(free_port())
    command = [port if word == "9090" else word for word in command]
    credentials = {"BASIC_AUTH_USER": "label-studio", "BASIC_AUTH_PASS": "secret"}
    # No npm on PATH and no hub: what it serves can only come out of the image.
    with running(image, command, REDIS_URL=redis_url, HF_HUB_OFFLINE="1", **credentials):
        url = f"http://127.0.0.1:{port}/health"

        def is_ready() -> bool:
            try:
                answer = requests.get(url, auth=("label-studio", "secret"), timeout=30)
            except requests.ConnectionError:
                return False
            return bool(answer.json()["model"] == "ready")

        wait_until(is_ready, seconds=300, every_s=0.3)
        assert requests.get(url, timeout=30).status_code == 401
        assert ask_health(image, "ready", SAMLOOP_PORT=port, **credentials) == (0, "")
        assert ask_health(image, "live", SAMLOOP_PORT=port, **credentials) == (0, "")
        status, reason = ask_health(image, "live", SAMLOOP_PORT=port, BASIC_AUTH_PASS="another")
        assert (status, "401" in reason) == (1, True)
    status, reason = ask_health(image, "live", SAMLOOP_PORT=port, **credentials)
    assert (status, "does not answer" in reason) == (1, True)


def test_the_worker_listens_on_the_queue(image: Image, redis_url: str) -> None:
    with running(image, compose_command("worker"), REDIS_URL=redis_url):
        connection = connect(redis_url)
        wait_until(lambda: count_listeners(connection), seconds=300)
        assert count_listeners(connection) == 1
        assert ask_health(image, "worker", REDIS_URL=redis_url) == (0, "")
        (record,) = connection.keys("rq:worker:*")
        connection.hset(record, "last_heartbeat", "2026-01-01T00:00:00.000000Z")
        status, reason = ask_health(image, "worker", REDIS_URL=redis_url)
        assert (status, "silent" in reason) == (1, True)
    status, reason = ask_health(image, "worker", REDIS_URL=redis_url)
    assert (status, "no worker" in reason) == (1, True)
    assert ask_health(image, "worker", REDIS_URL="redis://127.0.0.1:1/0")[0] == 0, (
        "it waits; a restart would gain nothing"
    )
