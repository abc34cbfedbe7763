"""A queue behind TLS, with a certificate authority of its own and a user with few rights, as operation.md describes it.

The embedded Valkey speaks no TLS, so a door before it does.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.label_studio import FakeLabelStudio
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as Away
from support.processes import Processes, make_environ
from support.tls import Authority, open_tls_door
from support.waiting import wait_until

from backend.cli.demo.label_studio import free_port
from backend.work.connection import connect
from backend.work.embedded import Valkey
from backend.work.queue import TrainingQueue
from tests.integration.test_training import annotated_project
from tests.integration.test_two_hosts import ask

OPERATION = Path(__file__).resolve().parents[2] / "docs" / "operation.md"
PASSWORD = "c4n4ry of/the#queue"
ENCODED = "c4n4ry%20of%2Fthe%23queue"


class Queue:
    """The real Valkey behind a TLS door; `url` has the user, the password and the certificate authority."""

    def __init__(self, authority: Authority, port: int) -> None:
        self.authority, self.port = authority, port
        self.url = f"rediss://samloop:{ENCODED}@127.0.0.1:{port}/0?ssl_ca_certs={authority.ca}"


def read_rights() -> list[str]:
    """The user's rights, from the line in the documentation."""
    (line,) = [line for line in OPERATION.read_text().splitlines() if line.startswith("ACL SETUSER samloop ")]
    return [word for word in line.split()[3:] if word != "on" and not word.startswith(">")]


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queue]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder / "certificates")
    with Valkey(folder / "queue") as valkey, connect(address := valkey.start()) as owner:
        owner.execute_command("ACL", "SETUSER", "samloop", "on", f">{PASSWORD}", *read_rights())
        owner.execute_command("ACL", "SETUSER", "default", "off")
        with open_tls_door(address.removeprefix("unix://"), authority.make_context()) as port:
            yield Queue(authority, port)


def test_a_server_and_a_worker_run_a_job_over_it(
    queue: Queue, studio: FakeLabelStudio, tiny_sam_dir: Path, tmp_path: Path
) -> None:
    project_id, port = annotated_project(studio, images=8), free_port()
    environ = make_environ(
        queue_url=queue.url,
        studio=studio,
        model=tiny_sam_dir,
        models=tmp_path / "models",
        cache=tmp_path / "cache",
        SAMLOOP_EPOCHS="1",
        SAMLOOP_REFRESH="false",
    )
    log = tmp_path / "log"
    with log.open("wb") as output, Processes() as processes:
        for command in (("serve", "--port", str(port)), ("worker",)):
            processes.start(*command, environ=environ, output=output)
        wait_until(lambda: ask(port, "/train", project=str(project_id)).get("status") == "queued")

        def read_status() -> Any:
            status = ask(port, f"/projects/{project_id}/status")
            return status if status.get("verdict") else None

        verdict = wait_until(read_status, explain=lambda: log.read_text()[-3000:])["verdict"]
        assert verdict["version"]
    said = log.read_text()
    assert "NOPERM" not in said
    assert "c4n4ry" not in said


@pytest.mark.parametrize("options", ["", "?ssl_ca_certs={other}"], ids=["the machine's authorities", "another one"])
def test_a_queue_whose_certificate_is_signed_by_nobody_we_trust_is_refused(
    queue: Queue, tmp_path: Path, options: str
) -> None:
    other = Authority(tmp_path / "other", name="another authority").ca
    url = f"rediss://samloop:{ENCODED}@127.0.0.1:{queue.port}/0{options.format(other=other)}"
    with connect(url) as connection, pytest.raises(Away, match="CERTIFICATE_VERIFY_FAILED"):
        connection.ping()


def test_a_wrong_password_and_a_user_that_does_not_exist_are_refused(queue: Queue) -> None:
    for user in ("samloop:wrong", f"nobody:{ENCODED}"):
        url = f"rediss://{user}@127.0.0.1:{queue.port}/0?ssl_ca_certs={queue.authority.ca}"
        with connect(url) as connection, pytest.raises(AuthenticationError):
            connection.ping()


def test_the_user_of_the_documentation_may_do_no_more_than_samloop_needs(queue: Queue) -> None:
    with connect(queue.url) as connection:
        assert connection.ping()
        TrainingQueue(connection, job_seconds=60).sweep()
        for command in (["FLUSHALL"], ["CONFIG", "GET", "*"], ["GET", "somebody-elses"], ["SHUTDOWN"], ["ACL", "LIST"]):
            with pytest.raises(Exception, match=r"(?i)no permissions|NOPERM"):
                connection.execute_command(*command)
