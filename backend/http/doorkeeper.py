"""Limits how many connections are open, and how long a client may take to send a request or receive its answer.

uvicorn's `limit_concurrency` counts requests whose head has arrived: it ignores connections that send nothing, or a
byte now and then, and a thousand of them take every file descriptor that /health would need.
"""

import asyncio
import logging
import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

log = logging.getLogger(__name__)
BACKLOG = 128  # connections that one turn of the loop may accept before the doorkeeper sees any of them
_OTHER_FILES = 256  # the registry, the queue, images on their way, the log
_MOST_FILES = 65_536
_REFUSED = b'{"error": "too many connections are open already: try again in a moment"}'
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_REFUSED), _REFUSED)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a server's connections.

    Attributes:
        connections: most open connections at once.
        per_address: most of them from one address; 0: no limit of its own.
        head_s: the longest time from a connection, or from the answer before, to the end of a request's head, s.
        body_s: the longest time from there to the end of its body, s.
        stalled_s: the longest time in which a client receives nothing of its answer, s.
    """

    connections: int
    per_address: int = 0
    head_s: float = 15.0
    body_s: float = 60.0
    stalled_s: float = 60.0


class Doorkeeper:
    """Knows every open connection. For one event loop, whose thread makes all calls.

    A new connection beyond the limit replaces a connection that still waits for its client: the longest waiting of the
    address with the most such connections. So a hoarder loses its own connections, and /health, which sends its request
    at once, gets its answer. Beyond an address's own limit it replaces one of the same address, or is refused where all
    of them are being answered.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._open: set[Connection] = set()
        self._of_address: Counter[str] = Counter()
        # By address, the longest waiting first: a dict is an ordered set.
        self._waiting: dict[str, dict[Connection, None]] = {}

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def admit(self, connection: "Connection") -> bool:
        """Admit the connection; False where every open connection, or every one of its address, is being answered."""
        of_address = self._of_address[connection.address]
        is_over = 0 < self.limits.per_address <= of_address
        if is_over and not self._close_longest(self._waiting.get(connection.address)):
            return False
        if len(self._open) >= self.limits.connections and not self._close_longest(self._find_hoarded()):
            return False
        self._open.add(connection)
        self._of_address[connection.address] += 1
        return True

    def wait_for(self, connection: "Connection") -> None:
        """Note that the connection waits for its client."""
        self._waiting.setdefault(connection.address, {})[connection] = None

    def answer(self, connection: "Connection") -> None:
        """Note that the client waits for our answer."""
        of_address = self._waiting.get(connection.address, {})
        of_address.pop(connection, None)
        if not of_address:
            self._waiting.pop(connection.address, None)

    def forget(self, connection: "Connection") -> None:
        """Note that the connection is closed. Harmless when repeated."""
        self.answer(connection)
        if connection in self._open:
            self._open.remove(connection)
            self._of_address[connection.address] -= 1
            if not self._of_address[connection.address]:
                del self._of_address[connection.address]

    def _find_hoarded(self) -> "dict[Connection, None] | None":
        """Return the waiting connections of the address with the most of them; None where none waits."""
        return max(self._waiting.values(), key=len, default=None)

    def _close_longest(self, of_address: "dict[Connection, None] | None") -> bool:
        """Close the connection that has waited the longest; False where there is none."""
        if of_address is None:
            return False
        longest = next(iter(of_address))
        self.forget(longest)
        longest.transport.abort()
        return True


class Connection(H11Protocol):
    """A connection that the doorkeeper tracks, and whose client has limited time."""

    def __init__(self, *args: Any, doorkeeper: Doorkeeper, **more: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **more)
        self._doorkeeper, self._limits = doorkeeper, doorkeeper.limits
        self.address = ""
        self._stage: tuple[str, object] = ("", None)
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request, or refuse where all open connections are being answered."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        if not self._doorkeeper.admit(self):
            log.warning("refused a connection: too many are open", extra={"event": "connection.refused"})
            transport.write(_REFUSAL)
            transport.close()
            return
        self._follow()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._doorkeeper.forget(self)
        for timer in (self._timer, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take the bytes, and set the clock for what must come next."""
        if not self.transport.is_closing():
            super().data_received(data)
            self._follow()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._follow()

    def pause_writing(self) -> None:
        """Start the clock: the client receives its answer more slowly than we write it."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self._limits.stalled_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the clock: the client has received some of its answer."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def _follow(self) -> None:
        """Start the clock of a new stage; bytes that trickle in do not start it again."""
        stage = self._stage_now()
        if stage == self._stage or self.transport.is_closing():
            return
        self._stage = stage
        if self._timer is not None:
            self._timer.cancel()
        name, _ = stage
        if name == "answer":
            self._doorkeeper.answer(self)
            return
        self._doorkeeper.wait_for(self)
        longest_s = self._limits.head_s if name == "head" else self._limits.body_s
        self._timer = self.loop.call_later(longest_s, self.transport.abort)

    def _stage_now(self) -> tuple[str, object]:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever uvicorn's types say
        if cycle is None or cycle.response_complete:
            return "head", cycle
        return ("body" if cycle.more_body else "answer"), cycle


def connections_of(doorkeeper: Doorkeeper) -> type[asyncio.Protocol]:
    """Return the class of a server's connections, for uvicorn's `http`."""

    class Known(Connection):
        def __init__(self, *args: Any, **more: Any) -> None:  # noqa: ANN401 - uvicorn's own
            super().__init__(*args, doorkeeper=doorkeeper, **more)

    return Known


def affordable_connections(wanted: int, *, allow_files: Callable[[int], int] | None = None) -> int:
    """Return how many connections this process may hold open, with files left for everything else; at least 16.

    Args:
        wanted: most connections that are useful.
        allow_files: requests so many open files and returns how many the system allows; None: the system's own.
    """
    files = (allow_files or _allow_files)(wanted + BACKLOG + _OTHER_FILES)
    affordable = max(16, min(wanted, files - BACKLOG - _OTHER_FILES))
    if affordable < wanted:
        log.warning(
            "%d open files leave room for %d connections, not %d: raise the limit (ulimit -n)",
            files,
            affordable,
            wanted,
            extra={"event": "connections.few"},
        )
    return affordable


def _allow_files(wanted: int) -> int:
    """Raise the soft limit of open files as far as needed and allowed; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (_MOST_FILES if limit == resource.RLIM_INFINITY else limit for limit in (soft, hard))
    if soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return soft
