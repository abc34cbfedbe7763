"""A server with a model, a queue and a Label Studio behind it, one for the tests of a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.label_studio import FakeLabelStudio
from starlette.testclient import TestClient
from support.payloads import COINS, draw_blocks
from support.waiting import wait_until

from backend.labelstudio.api.client import LabelStudio
from backend.server.app import create_app
from backend.settings import Settings
from backend.work.connection import connect


@pytest.fixture(scope="module")
def client(
    tiny_sam_dir: Path, redis_url: str, shared_studio: FakeLabelStudio, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    """The server, its model loaded."""
    settings = Settings(
        model=str(tiny_sam_dir),
        model_dir=tmp_path_factory.mktemp("models"),
        cache_dir=tmp_path_factory.mktemp("cache"),
        label_studio_url=shared_studio.url,
        label_studio_api_key=shared_studio.token,
        poll_seconds=0.2,
    )
    with TestClient(
        create_app(settings, connection=connect(redis_url)),
        raise_server_exceptions=False,
        base_url="http://localhost",
    ) as client:
        wait_until(lambda: client.get("/health").json()["model"] == "ready")
        yield client


@pytest.fixture(scope="module")
def project(shared_studio: FakeLabelStudio) -> dict[str, Any]:
    """A project of 16 different images, its `tasks` in the order of their ids."""
    label_studio = LabelStudio(shared_studio.url, shared_studio.token)
    created = label_studio.create_project("pictures", COINS)
    label_studio.import_images(created["id"], {f"{seed:02d}.jpg": draw_blocks(seed) for seed in range(16)})
    tasks = sorted(label_studio.tasks(created["id"]), key=lambda task: task["id"])
    return {"id": created["id"], "tasks": tasks}
