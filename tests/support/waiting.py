"""Waits for another thread or process, without a guess how long it takes."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import requests

SOON_S = 120.0  # more than a busy machine needs, less than a test's time limit
_LOG_END = 3000

T = TypeVar("T")


def soon() -> float:
    """Return the moment `SOON_S` from now on the clock of `time.monotonic`, in s."""
    return time.monotonic() + SOON_S


def wait_until(
    condition: Callable[[], T],
    *,
    seconds: float = SOON_S,
    every_s: float = 0.01,
    explain: Callable[[], object] = lambda: "waited in vain",
) -> T:
    """Return the first answer of `condition` that is true.

    Args:
        condition: asked again and again.
        seconds: how long it may take.
        every_s: the pause between two questions.
        explain: what the failure says, asked only then: the end of a log, or the state that was met.

    Raises:
        AssertionError: no answer was true within `seconds`.
    """
    until_s = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < until_s, explain()
        time.sleep(every_s)
    return answer


def wait_for_model(url: str, *, process: "subprocess.Popen[bytes]", log: Path, seconds: float = 300.0) -> None:
    """Wait until the server at `url` has its model.

    Raises:
        AssertionError: the process has ended, or `seconds` have passed; the message has the end of its log.
    """

    def is_ready() -> bool:
        assert process.poll() is None, f"the server ended: {log.read_text()[-_LOG_END:]}"
        try:
            return bool(requests.get(f"{url}/health", timeout=30).json()["model"] == "ready")
        except requests.RequestException:
            return False

    wait_until(
        is_ready,
        seconds=seconds,
        every_s=0.1,
        explain=lambda: f"the server has no model: {log.read_text()[-_LOG_END:]}",
    )
