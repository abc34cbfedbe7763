"""Two hosts share a Redis, a Label Studio and a store, and no disk: cut off, killed or away, nothing is lost."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from fakes.label_studio import FakeLabelStudio
from moto.server import ThreadedMotoServer
from support.object_store import open_store
from support.processes import Processes, make_environ
from support.waiting import wait_until

from backend.cli.demo.label_studio import free_port
from backend.registry.objects.registry import ObjectRegistry
from backend.work.connection import connect
from backend.work.queue import TrainingQueue
from tests.integration.test_training import annotated_project

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def registry(s3_url: str, tmp_path: Path) -> ObjectRegistry:
    """As the first host sees it."""
    return open_store(s3_url, tmp_path / "ours")


@pytest.fixture
def start(
    registry: ObjectRegistry, empty_redis_url: str, studio: FakeLabelStudio, tiny_sam_dir: Path, tmp_path: Path
) -> Iterator[Start]:
    """`start(host, *command)` starts a process that shares no disk with other hosts; all are ended."""
    with Processes() as processes:

        def begin(host: str, *command: str, **settings: str) -> "subprocess.Popen[bytes]":
            environ = make_environ(
                queue_url=empty_redis_url,
                studio=studio,
                model=tiny_sam_dir,
                models=registry._store.url,
                cache=tmp_path / host,
                SAMLOOP_EPOCHS="2",
                SAMLOOP_SAVE_SECONDS="0.001",
                SAMLOOP_REFRESH="false",
            )
            return processes.start(*command, environ=environ | settings)

        yield begin


def ask(port: int, path: str, **body: Any) -> dict[str, Any]:
    """What the server answers; {} while it does not."""
    try:
        url = f"http://127.0.0.1:{port}{path}"
        answer = requests.post(url, json=body, timeout=100) if body else requests.get(url, timeout=100)
    except requests.RequestException:
        return {}
    return dict(answer.json()) if answer.ok else {}


@pytest.mark.long
def test_a_training_killed_on_one_host_goes_on_on_another_and_a_third_serves_it_within_two_seconds(
    start: Start, registry: ObjectRegistry, studio: FakeLabelStudio, empty_redis_url: str
) -> None:
    """Fails where unfinished trainings stay on the disk of the host that began them."""
    project_id, port = annotated_project(studio, images=8), free_port()
    start("server", "serve", "--port", str(port))
    queue = TrainingQueue(connect(empty_redis_url), job_seconds=600)
    queue.request(project_id)
    first = start("first", "worker")
    wait_until(lambda: registry._store.list_objects("state/unfinished"))
    first.send_signal(signal.SIGKILL)
    first.wait(120)
    assert queue.status(project_id).verdict is None, "it was done before it could be killed"
    start("second", "worker")

    def has_ended() -> bool:
        queue.sweep()
        return queue.status(project_id).verdict is not None and queue.status(project_id).phase == "idle"

    wait_until(has_ended)
    manifest = registry.versions(project_id)[-1]
    assert manifest.metrics.split is not None
    assert manifest.metrics.split.folds[0].ended_at.resumed == 1
    assert registry._store.list_objects("state/unfinished") == {}

    wait_until(lambda: ask(port, "/health").get("model") == "ready")
    took_s: list[float] = []
    while min(took_s, default=2.0) >= 2 and len(took_s) < 5:  # the best: a busy machine says less
        registry.promote(project_id, None, reason="the base, so that the next decision changes what is served")
        wait_until(lambda: ask(port, f"/projects/{project_id}/status")["served"]["version"] != manifest.version)
        registry.promote(project_id, manifest.version, reason="decided on the first host")
        decided_at_s = time.monotonic()
        wait_until(lambda: ask(port, "/setup", project=f"{project_id}.1").get("model_version") == manifest.version)
        took_s.append(time.monotonic() - decided_at_s)
    assert min(took_s) < 2


def test_while_the_store_is_away_a_server_serves_on_and_says_so(start: Start, registry: ObjectRegistry) -> None:
    """Its own door to the store is closed for a while; the other host's stays open."""
    port, door = free_port(), free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=door, verbose=False)
    server.start()
    try:
        start("server", "serve", "--port", str(port), AWS_ENDPOINT_URL=f"http://127.0.0.1:{door}")
        wait_until(lambda: ask(port, "/health").get("model") == "ready")
        assert ask(port, "/health")["away"] == {}
    finally:
        server.stop()
    wait_until(lambda: "cannot be reached" in ask(port, "/health")["away"].get("registry", ""))
    assert ask(port, "/setup", project="7.1")["model_version"]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=door, verbose=False)
    server.start()
    try:
        wait_until(lambda: ask(port, "/health")["away"] == {})
    finally:
        server.stop()
