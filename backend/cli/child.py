"""One command that `samloop up` keeps running, and what it says where it cannot begin."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from backend.errors import Unavailable
from backend.files.children import end, own_command, start

log = logging.getLogger(__name__)

_GRACE_S = 30.0  # a worker puts its training down first
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_STEADY_S = 60.0  # a child that ran for so long has no reason to be waited for
_STARTS = 3
_LINES = 20
_OUR_ERROR = "samloop: "  # how console.report_plainly begins its sentence


@dataclass(slots=True)
class Child:
    """One command that is kept running.

    Attributes:
        name: what messages call it.
        command: samloop's command and its options.
        environ: the child's whole environment.
        has_begun: whether it has worked once. Until then three failed starts are an error, for nobody waits for it;
            from then on it is started again for as long as `samloop up` runs.
    """

    name: str
    command: list[str]
    environ: dict[str, str]
    has_begun: bool = False
    process: subprocess.Popen[bytes] | None = None
    started_at_s: float = 0.0
    pause_s: float = field(default=_FIRST_PAUSE_S)
    now_s: Callable[[], float] = time.monotonic
    _failed: int = 0
    _said: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))
    _listener: threading.Thread | None = None

    def keep_running(self) -> None:
        """Start it, or start it again after a pause that grows while it keeps dying. Call from the main thread.

        Raises:
            Unavailable: it has failed at its start three times; with its own reason.
        """
        now = self.now_s()
        if self.process is not None:
            if (code := self.process.poll()) is None:
                return
            ran_s = now - self.started_at_s
            if ran_s < self.pause_s:
                return
            self._count_failure(code)
            self.pause_s = _FIRST_PAUSE_S if ran_s > _STEADY_S else min(self.pause_s * 2, _LONGEST_PAUSE_S)
            log.warning(
                "the %s ended with status %d; starting it again", self.name, code, extra={"event": "child.died"}
            )
        self.started_at_s = now
        self._start()

    def stop(self) -> None:
        """End it by its process id; harmless when repeated."""
        if self.process is not None:
            end(self.process, grace_s=_GRACE_S)

    def _count_failure(self, code: int) -> None:
        """A child that a signal ended did not fail: somebody killed it, and it is started again."""
        if self.has_begun or code <= 0:
            return
        self._failed += 1
        if self._failed < _STARTS:
            return
        if self._listener is not None:
            self._listener.join(1.0)
        raise Unavailable(
            f"the {self.name} failed at its start {self._failed} times, with status {code}: {self._reason()}"
        )

    def _reason(self) -> str:
        """Its last sentence of ours; else its last line."""
        lines = [line for line in self._said if line.strip()]
        ours = [line.removeprefix(_OUR_ERROR) for line in lines if line.startswith(_OUR_ERROR)]
        return (ours or lines or ["it said nothing"])[-1]

    def _start(self) -> None:
        """Its output goes where ours goes, and its last lines are remembered."""
        reading, writing = os.pipe()
        try:
            with os.fdopen(writing, "wb", buffering=0) as output:
                self.process = start(own_command(*self.command), environ=self.environ, output=output)
        except BaseException:
            os.close(reading)
            raise
        self._said.clear()
        self._listener = threading.Thread(
            target=self._pass_on, args=(os.fdopen(reading, "rb"),), name=f"output of the {self.name}", daemon=True
        )
        self._listener.start()

    def _pass_on(self, output: BinaryIO) -> None:
        with output:
            for line in output:
                self._said.append(line.decode(errors="replace").rstrip())
                sys.stderr.buffer.write(line)
                sys.stderr.flush()
