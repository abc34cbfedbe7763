"""A server over the reviewed project; a test leaves it as it was."""

from collections.abc import Iterator

import pytest
from fakes.reviewed import Reviewed
from redis import Redis
from starlette.testclient import TestClient
from support.review_pages import served_version
from support.waiting import wait_until

from backend.registry.local import LocalRegistry
from backend.server.app import create_app
from backend.work.connection import connect


@pytest.fixture(scope="module")
def redis(redis_url: str) -> Iterator[Redis]:
    """An empty queue."""
    with connect(redis_url) as connection:
        yield connection


@pytest.fixture(scope="module")
def server(made: Reviewed, redis: Redis) -> Iterator[TestClient]:
    """The server, its model loaded."""
    with TestClient(
        create_app(made.settings, connection=redis),
        base_url="http://127.0.0.1:9090",
        raise_server_exceptions=False,
    ) as client:
        wait_until(lambda: client.get("/health").json()["model"] == "ready")
        yield client


@pytest.fixture
def client(made: Reviewed, server: TestClient) -> Iterator[TestClient]:
    """A browser. Before and after the test: no flags; after it, the base model served, an analyst without a name."""
    flags = made.settings.registry.model_dir / "review" / str(made.project_id) / "flags.jsonl"
    flags.unlink(missing_ok=True)  # those of the browser's tests, which use the same project
    yield server
    server.cookies.clear()
    flags.unlink(missing_ok=True)
    registry = LocalRegistry(made.settings.registry.model_dir)
    champion = registry.champion(made.project_id)
    if champion is not None and champion.version is not None:
        registry.promote(made.project_id, None, reason="the test is over")
    wait_until(lambda: served_version(server, made) == made.base)


@pytest.fixture
def here(made: Reviewed) -> str:
    """The path of the project's pages."""
    return f"/review/{made.project_id}"
