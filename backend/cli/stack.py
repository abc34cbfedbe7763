"""Everything on one machine (`samloop up`): the embedded Valkey, two workers and the server, as child processes.

Stopped in the order server, workers, Valkey: nothing is asked of what has gone. A child that dies is started again.
"""

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from backend.errors import Unavailable
from backend.files.children import end, own_command, start
from backend.settings import Settings
from backend.work.embedded import Valkey

log = logging.getLogger(__name__)

_LOOK_S = 0.5
_VALKEY_S = 5.0  # a queue that takes longer to load is waited for at the next look
_GRACE_S = 30.0  # a worker puts its training down first
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_STEADY_S = 60.0  # a child that ran for so long has no reason to be waited for


@dataclass(slots=True)
class Child:
    """One command that is kept running."""

    name: str
    command: list[str]
    environ: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    started_at_s: float = 0.0
    pause_s: float = field(default=_FIRST_PAUSE_S)

    def keep_running(self) -> None:
        """Start it, or start it again after a pause that grows while it keeps dying. Call from the main thread."""
        now = time.monotonic()
        if self.process is not None:
            if (code := self.process.poll()) is None:
                return
            ran_s = now - self.started_at_s
            if ran_s < self.pause_s:
                return
            self.pause_s = _FIRST_PAUSE_S if ran_s > _STEADY_S else min(self.pause_s * 2, _LONGEST_PAUSE_S)
            log.warning(
                "the %s ended with status %d; starting it again", self.name, code, extra={"event": "child.died"}
            )
        self.started_at_s = now
        self.process = start(own_command(*self.command), environ=self.environ)

    def stop(self) -> None:
        """End it by its process id; harmless when repeated."""
        if self.process is not None:
            end(self.process, grace_s=_GRACE_S)


def run_stack(settings: Settings, *, host: str, port: int) -> None:
    """Run until SIGINT or SIGTERM, then stop everything.

    Raises:
        Unavailable: the embedded Valkey cannot be started.
    """
    stopping = threading.Event()
    with _stopped_by_signals(stopping), ExitStack() as opened:
        valkey = None if settings.queue.redis_url else opened.enter_context(Valkey(settings.queue.dir))
        redis_url = settings.queue.redis_url or (valkey.start() if valkey else "")
        environ = os.environ | {"REDIS_URL": redis_url}
        serve = ["serve", "--host", host, "--port", str(port), *(["--insecure"] if settings.backend.insecure else [])]
        # Its own address, not SAMLOOP_BACKEND_URL, which is Label Studio's way to here and may lead through a proxy.
        refreshing = environ | {"SAMLOOP_BACKEND_URL": _own_url(host, port)}
        children = [
            Child("worker", ["worker"], environ),
            Child("refresh worker", ["worker", "--refresh"], refreshing),
            Child("server", serve, environ),
        ]
        for child in children:
            opened.callback(child.stop)
        log.info("samloop is on http://%s:%d", host, port, extra={"event": "stack.started"})
        while not stopping.is_set():
            if valkey is not None:
                _keep_running(valkey, stopping)
            for child in children:
                child.keep_running()
            stopping.wait(_LOOK_S)


def _own_url(host: str, port: int) -> str:
    """Where the server answers this machine."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _keep_running(valkey: Valkey, stopping: threading.Event) -> None:
    """Start it again if it is away; waits only so long that a signal, or another child's death, is not missed."""
    if valkey.alive():
        return
    try:
        log.warning("the embedded Valkey is away; starting it again", extra={"event": "valkey.died"})
        valkey.start(longest_s=_VALKEY_S, is_stopping=stopping.is_set)
    except Unavailable as fault:
        log.error("%s", fault, extra={"event": "valkey.failed"})  # noqa: TRY400 - the sentence is the whole story


@contextmanager
def _stopped_by_signals(stopping: threading.Event) -> Iterator[None]:
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
