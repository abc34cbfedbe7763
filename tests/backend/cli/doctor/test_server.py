"""The doctor asks the server itself: whether it is there, ours, of this version, and serves what it should."""

from collections.abc import Iterator
from importlib import metadata
from typing import Any

import pytest
from fakes.server import Answer, FakeServer, Request

from backend.cli.doctor.server import check_server
from backend.errors import SamloopError
from backend.server.status import Health

WELL = Health(model="ready", error=None, refused={}, away={}).model_dump()


class Server(FakeServer):
    """Answers `/health` as it is told."""

    health: Any = WELL

    def answer(self, request: Request) -> Answer:
        assert request.path == "/health"
        return Answer(200, self.health)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def test_a_server_that_is_well_is_told_with_its_version(server: Server) -> None:
    assert check_server(server.url, project_id=1).endswith(
        f"samloop {metadata.version('samloop')}, and its model is ready"
    )


@pytest.mark.parametrize(
    ("health", "told"),
    [
        ({"status": "UP"}, "another program answers on .*: set SAMLOOP_BACKEND_URL"),
        ({**WELL, "version": "0.0.9"}, r"is samloop 0\.0\.9, and this is .*: restart `samloop up`"),
        ({**WELL, "version": None}, "of an older version"),
        ({**WELL, "model": "failed", "error": "no weights"}, "the server has no model: no weights"),
        (
            {**WELL, "refused": {"b-p1-v2-0a1b2c": "of another base"}},
            "is not served: of another base; `samloop rollback",
        ),
    ],
)
def test_what_is_wrong_with_the_server_is_told_with_the_mend(server: Server, health: object, told: str) -> None:
    server.health = health
    with pytest.raises(SamloopError, match=told):
        check_server(server.url, project_id=1)


def test_a_version_of_another_project_is_no_fault_of_this_one(server: Server) -> None:
    server.health = {**WELL, "refused": {"b-p12-v2-0a1b2c": "of another base"}}
    assert "answers" in check_server(server.url, project_id=1)


def test_a_server_that_is_away_is_told_with_the_command() -> None:
    with Server() as gone:
        url = gone.url
    with pytest.raises(SamloopError, match=r"nothing answers on .*: start `samloop up`"):
        check_server(url)
