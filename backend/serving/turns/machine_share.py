"""How work uses the machine: its share of the cores, and pauses for clicks between two operations of torch."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from backend.sam.layers.side_by_side import use_cores
from backend.serving.turns.job import Job
from backend.serving.turns.traffic import Priority, Traffic


class _MakingWay(TorchFunctionMode):
    """Calls `pause` before every operation of torch in this thread.

    Pausing between operations, not layers, works for any encoder. An encode has some hundred operations of a few
    milliseconds; a call takes microseconds.
    """

    def __init__(self, pause: Callable[[], None]) -> None:
        super().__init__()
        self._pause = pause

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the operation returns
        self._pause()
        return func(*args, **(kwargs or {}))


@contextmanager
def share_of_machine(job: Job[Any]) -> Iterator[None]:
    """Span a job in its worker: torch uses `job.cores` threads, and the job pauses while clicks are being answered.

    A click never pauses, so it runs without the mode. A paused job that a click joins goes on at once.
    """
    use_cores(job.cores)
    if job.priority is Priority.CLICK:
        yield
    else:
        with _MakingWay(job.make_way):
            yield


@contextmanager
def stand_back(traffic: Traffic, *, patience_s: float) -> Iterator[None]:
    """Span work outside all lanes: torch uses one thread for it, and it pauses while clicks are being answered.

    Args:
        traffic: the clicks.
        patience_s: how long it pauses in all, s; annotators may click without end.
    """
    left_s, threads = patience_s, torch_threads()

    def pause() -> None:
        nonlocal left_s
        if left_s > 0 and traffic.clicks:
            began_s = time.monotonic()
            traffic.wait_until_clear(longest_s=left_s)
            left_s -= time.monotonic() - began_s

    use_cores(1)
    try:
        with _MakingWay(pause):
            yield
    finally:
        use_cores(threads)


def torch_threads() -> int:
    """Return how many cores torch would use for an operation here."""
    return torch.get_num_threads()
