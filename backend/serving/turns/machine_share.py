"""How a job in a lane uses the machine: its share of the cores, and way for clicks between two operations of torch."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from backend.serving.turns.job import Job
from backend.serving.turns.traffic import Priority


class _MakingWay(TorchFunctionMode):
    """Calls `pause` before every operation of torch in this thread.

    Between operations, and not between layers: so it holds for every encoder, however it is built. An encode is some
    hundred operations that take a few milliseconds; the calls take microseconds.
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
    """Spans a job in its lane's worker: torch takes `job.cores` threads, and the job pauses while clicks are answered.

    A click never pauses, so it does without the mode. A job that a click joins goes on at once.
    """
    _use_threads(job.cores)
    if job.priority is Priority.CLICK:
        yield
    else:
        with _MakingWay(job.make_way):
            yield


def _use_threads(count: int) -> None:
    """Give this thread a team of that size; threads that have one keep theirs."""
    # A thread takes the common size at its first question or operation: asked first, it does not overwrite ours later.
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


def torch_threads() -> int:
    """How many cores torch would use for one operation here."""
    return torch.get_num_threads()
