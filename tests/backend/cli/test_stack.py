"""`samloop up` with real processes: all of it comes up, what dies comes back, and nothing is left behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from fakes.label_studio import FakeLabelStudio
from support.waiting import wait_until

from backend.cli import stack
from backend.cli.demo.label_studio import free_port
from backend.errors import Unavailable
from backend.settings import Settings
from backend.work.connection import connect
from backend.work.embedded import find_live_url
from backend.work.queue import count_listeners

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def children(pid: int) -> dict[str, int]:
    """Name -> process id of the direct children: worker, --refresh (the other worker), serve, valkey."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        name = next((word for word in ("--refresh", "worker", "serve") if word in words), "valkey")
        found[name] = int(child)
    return found


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class Up:
    def __init__(self, folder: Path, model: Path) -> None:
        self.queue_dir, self.url = folder / "queue", f"http://127.0.0.1:{free_port()}"
        environ = {name: value for name, value in os.environ.items() if name != "REDIS_URL"} | {
            "SAMLOOP_MODEL": str(model),
            "SAMLOOP_QUEUE_DIR": str(self.queue_dir),
            "MODEL_DIR": str(folder / "models"),
            "SAMLOOP_CACHE_DIR": str(folder / "cache"),
        }
        port = self.url.rpartition(":")[2]
        self.said = folder / "stdout"
        command = [sys.executable, "-m", "backend", "up", "--port", port]
        with self.said.open("wb") as stdout:
            self.process = subprocess.Popen(command, env=environ, stdout=stdout)

    def healthy(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=30).json()["model"] == "ready"
        except requests.RequestException:
            return False

    def worker_count(self) -> int:
        url = find_live_url(self.queue_dir)
        return count_listeners(connect(url)) if url else 0


@pytest.fixture
def up(tmp_path: Path, tiny_sam_dir: Path) -> Iterator[Up]:
    up = Up(tmp_path, tiny_sam_dir)
    try:
        yield up
    finally:
        if up.process.poll() is None:
            up.process.terminate()
        up.process.wait(120)


def test_all_of_it_comes_up_and_what_is_killed_comes_back(up: Up) -> None:
    wait_until(up.healthy)
    wait_until(lambda: up.worker_count() == 1)
    refresher = wait_until(lambda: children(up.process.pid).get("--refresh"))
    environ = Path(f"/proc/{refresher}/environ").read_bytes().decode().split("\0")
    assert f"SAMLOOP_BACKEND_URL={up.url}" in environ, "its own server, wherever that listens"
    before = children(up.process.pid)
    assert set(before) == {"worker", "--refresh", "serve", "valkey"}
    job = requests.post(f"{up.url}/train", json={"project": 5}, timeout=120)
    assert job.status_code == 201
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    after = wait_until(lambda: (now := children(up.process.pid)).keys() == before.keys() and now != before and now)
    assert not set(after.values()) & set(before.values())
    wait_until(up.healthy)
    # Nothing queued is lost: the job is known to the new server, out of the new Valkey.
    known = requests.post(f"{up.url}/job_status", json={"job": job.json()["job"]}, timeout=120)
    assert known.status_code == 200


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9"),
        ("0.0.0.0", "http://127.0.0.1:9"),
        ("::", "http://[::1]:9"),
        ("10.1.2.3", "http://10.1.2.3:9"),
        ("localhost", "http://localhost:9"),
    ],
)
def test_the_server_is_asked_where_it_listens(host: str, url: str) -> None:
    assert stack._own_url(host, 9) == url


def test_a_port_that_is_taken_is_refused_at_once_with_the_next_step() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Unavailable, match=rf"another program listens there.*--port ({port + 1}|{port - 1})\)"):
            stack.find_port("127.0.0.1", port)
    assert stack.find_port("127.0.0.1", port) == port, "the server that has ended leaves it free at once"


def test_a_host_of_another_machine_is_refused_and_port_0_becomes_one_that_is_free() -> None:
    with pytest.raises(Unavailable, match="give --host an address of this machine"):
        stack.find_port("192.0.2.1", 9090)
    assert stack.find_port("127.0.0.1", 0) > 0


def test_up_says_what_label_studio_answered_and_what_comes_next(studio: FakeLabelStudio) -> None:
    settings = Settings(label_studio_url=studio.url, label_studio_api_key=studio.token)
    connecting = "`samloop connect --project N` introduces a Label Studio project to it"
    assert stack.find_next_step(settings) == connecting
    assert stack.find_next_step(Settings()).startswith("set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY")
    refused = stack.find_next_step(settings.replace(label_studio_api_key="wrong"))
    assert "LABEL_STUDIO_API_KEY is not accepted" in refused
    assert refused.endswith("; then start this again")
    nobody = f"http://127.0.0.1:{stack.find_port('127.0.0.1', 0)}"
    away = stack.find_next_step(settings.replace(label_studio_url=nobody))
    assert "is Label Studio up? Once it answers, " in away
    assert away.endswith(connecting)


def test_sigterm_ends_every_process_and_no_other_way_leaves_one(up: Up) -> None:
    wait_until(up.healthy)
    said = wait_until(up.said.read_text)
    assert said.startswith("ready; next: ")
    assert f"The backend is on {up.url}, its pages are on {up.url}/review" in said
    before = children(up.process.pid)
    up.process.terminate()
    assert up.process.wait(120) == 0
    assert all(gone(pid) for pid in before.values())


def test_killing_the_parent_leaves_no_orphan(up: Up) -> None:
    before = wait_until(lambda: len(now := children(up.process.pid)) == 4 and now)
    up.process.kill()
    up.process.wait(120)
    wait_until(lambda: all(gone(pid) for pid in before.values()))
