"""What an accelerator computes again and again, recorded once: a graph starts hundreds of kernels in one call.

A click's decoder needs half a millisecond of an H100, and its two hundred kernels seven to be started one by one.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from cachetools import LRUCache
from torch import Tensor

log = logging.getLogger(__name__)

_MOST = 24
# For all graphs of the process. They share their memory, which is safe while they are replayed one after another, and
# their results copied before the next replay: so every further version that is served costs its results alone.
_ALONE = threading.Lock()
_POOLS: dict[int, Any] = {}  # by device
Compute = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A graph, the memory that it reads its arguments from, and the memory that it leaves its results in."""

    graph: Any
    given: tuple[Tensor | None, ...]
    made: tuple[Tensor, ...]

    def replay(self, arguments: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
        """Copy arguments in, run, and copy results out, all in the order of the current stream."""
        for place, argument in zip(self.given, arguments, strict=True):
            if place is not None and argument is not None:
                place.copy_(argument)
        self.graph.replay()
        return tuple(values.clone() for values in self.made)


class Graphs:
    """Records functions of tensors as CUDA graphs, one for every name and shapes; on other devices it just calls them.

    A function must depend on its arguments alone, and on weights that stay where they are. The first call with given
    shapes runs as it is, the second records. What cannot be recorded runs as it is for ever. Any number of threads may
    call.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_cuda = device.type == "cuda"
        self._recorded: LRUCache[object, _Recorded] = LRUCache(_MOST)
        self._seen: LRUCache[object, bool] = LRUCache(16 * _MOST)  # whether it may be recorded

    def run(self, name: str, compute: Compute, *arguments: Tensor | None) -> tuple[Tensor, ...]:
        """Return `compute(*arguments)`, as tensors of their own.

        Args:
            name: of the function.
            compute: the function; no gradient passes it.
            arguments: on the device; None stays None.
        """
        if not self._is_cuda or torch.is_grad_enabled():
            return compute(*arguments)
        shapes = tuple(None if values is None else (values.shape, values.dtype) for values in arguments)
        # Not in inference mode: what it makes may not enter a training, and embeddings are cached for one.
        with _ALONE, torch.inference_mode(mode=False), torch.no_grad():
            key = name, *shapes
            if (recorded := self._recorded.get(key)) is None and self._seen.get(key):
                recorded = self._record(key, compute, arguments)
            if recorded is not None:
                return recorded.replay(arguments)
            self._seen.setdefault(key, True)
        return compute(*arguments)

    def _record(self, key: object, compute: Compute, arguments: tuple[Tensor | None, ...]) -> _Recorded | None:
        given = tuple(None if values is None else values.detach().clone() for values in arguments)
        graph, beside = torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        try:
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):  # libraries choose their kernels before these are recorded
                compute(*given)
            torch.cuda.current_stream().wait_stream(beside)
            # Other threads may go on using the device in ways that a recording itself may not.
            pool = _POOLS.setdefault(torch.cuda.current_device(), torch.cuda.graph_pool_handle())
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                made = compute(*given)
        except RuntimeError as fault:
            log.warning("%s runs without a CUDA graph, kernel by kernel: %s", key, str(fault)[:300])
            self._seen[key] = False
            return None
        self._recorded[key] = recorded = _Recorded(graph, given, made)
        return recorded
