"""A canary in every address that may hold a secret is in nothing that is answered, logged, queued or written.

Without `redact` in SamloopError the answers and Redis hold it, without it in the log's formatters the log, without it
in `review_json` the registry, without it in `TrainingWorker.handle_job_failure` the traceback that RQ keeps.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from fakes.label_studio import FakeLabelStudio
from fakes.reviewed import Reviewed, reviewed
from fakes.served import serving
from fakes.training import LEAKY, lab
from redis import Redis
from typer.testing import CliRunner

from backend.__main__ import app
from backend.cli.console import JsonLines, PlainLines
from backend.images.connections import Connections
from backend.redaction import HIDDEN
from backend.registry.local import LocalRegistry
from backend.registry.review_file import ReviewedObject, read_review
from backend.review.pictures import PictureRoutes
from backend.work.embedded import Valkey

CANARY = "cAnAry0123456789"
ADDRESSES = (
    "http://127.0.0.1:9/gone.png?X-Amz-Signature={}",
    "https://nowhere.invalid/a.png?sig={}",
    "ftp://host/a.png?sig={}",
    "http://user:{}@host/a.png",
    "http://[::/a.png?sig={}",
    "http://127.0.0.1:9/a\\b.png?sig={}",
    "/data/upload/1/gone.png?token={}",
    "/somewhere/else.png?token={}",
    "s3://bucket/gone.png?versionId={}",
)


def _lines(records: list[logging.LogRecord]) -> str:
    return "\n".join(shape.format(record) for record in records for shape in (PlainLines(), JsonLines()))


def _values(redis: Redis) -> Iterator[bytes]:
    for key in redis.scan_iter():
        yield key + (redis.dump(key) or b"")
        if redis.type(key) == b"hash":  # a dump may be compressed
            yield b"".join(redis.hgetall(key).values())
        if redis.type(key) == b"list":
            yield b"".join(redis.lrange(key, 0, -1))


def _objects(made: Reviewed) -> tuple[ReviewedObject, ...]:
    return read_review(LocalRegistry(made.settings.registry.model_dir).materialise(made.versions[0]))


def _written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


@pytest.fixture(scope="module")
def trained(tiny_sam_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Reviewed, FakeLabelStudio]]:
    """A project whose images stand at signed addresses of Label Studio, trained on."""
    with FakeLabelStudio() as studio:
        folder = tmp_path_factory.mktemp("secrets")
        yield reviewed(studio, folder, tiny_sam_dir=tiny_sam_dir, query=f"?X-Signature={CANARY}"), studio


def test_a_server_answers_logs_and_writes_no_signature(
    tiny_sam_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with (
        Valkey(tmp_path / "queue") as valkey,
        FakeLabelStudio() as studio,
        serving(tmp_path, model=tiny_sam_dir, redis_url=valkey.start(), studio=studio, image_seconds=1.0) as served,
    ):
        for number, address in enumerate(ADDRESSES):
            answer = served.click(address.format(CANARY))
            assert answer.status_code in range(400, 500), (number, answer.text)
            assert CANARY not in answer.text
        status = requests.get(served.url + "/projects/1/status", timeout=60).text
        assert "refus" in status, "the refusals are shown there"
        assert CANARY not in status
        assert not any(CANARY.encode() in value for value in _values(served.redis))
        assert CANARY not in _lines(caplog.records)
        assert _written(tmp_path) == []


def test_a_training_writes_no_signature(trained: tuple[Reviewed, FakeLabelStudio]) -> None:
    made, _ = trained
    assert _written(made.settings.registry.model_dir) == []
    shown = {item.image_uri for item in _objects(made)}
    assert shown
    assert all(uri is not None and uri.endswith(f"?X-Signature={HIDDEN}") for uri in shown)


def test_review_pages_find_the_whole_address_in_the_task(trained: tuple[Reviewed, FakeLabelStudio]) -> None:
    made, _ = trained
    item = _objects(made)[0]
    connections = Connections(made.settings)
    routes = PictureRoutes(pages=None, connections=connections, crops=None, admission=None)  # type: ignore[arg-type]
    assert routes._fetch(made.project_id, item.image_uri, item.task_id)().startswith(b"\x89PNG")


def test_what_a_failed_training_leaves_in_redis_and_the_log_holds_no_signature(tmp_path: Path) -> None:
    with lab(tmp_path) as played:
        played.queue.request(LEAKY)
        with played.worker(burst=True) as worker:
            assert worker.wait(120) == 0, played.logs()
        values = b"".join(_values(played.connection))
        assert b"images.invalid" in values, "the failure is kept"
        assert CANARY.encode() not in values
        assert "images.invalid" in played.logs()
        assert CANARY not in played.logs()


@pytest.mark.parametrize(
    "address",
    ["redis://:{}@127.0.0.1:9/0", "redis://:12/{}@127.0.0.1:9/0", "redis://127.0.0.1:9/0?db={}", "redis://x:{}#y@h"],
)
@pytest.mark.parametrize("command", ["doctor", "serve"])
def test_no_command_shows_the_password_of_redis(
    command: str, address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {"REDIS_URL": address.format(CANARY), "MODEL_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SAMLOOP_BACKEND_URL", "http://127.0.0.1:9")
    options = ["--host", "0.0.0.0"] if command == "serve" else []  # refused before it listens
    done = CliRunner().invoke(app, [command, *options])
    assert done.exit_code == 1
    assert CANARY not in done.output + str(done.exception)
