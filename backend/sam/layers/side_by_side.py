"""Parts of a layer side by side, on a core of their own, where cores would otherwise wait for one another.

An operation of PyTorch divides its numbers among a team of cores, which meet at its end. An encoder has thousands of
short operations, and waking a sleeping core for every one costs as much as a third of the time on two cores. Cores that
spin instead take that time from other processes (files.own_process). So every core takes parts of a layer through all
of its operations, and they meet once. No part depends on how many cores there are, and so no result does.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from threading import Lock
from typing import TypeVar

import torch
from torch import Tensor

from backend.sam.layers.pointwise import is_traced

Result = TypeVar("Result")
_MAP_DIMENSIONS = 4


def split_evenly(total: int, *, most: int, like: Tensor) -> list[slice]:
    """Split `total` rows or windows into an even number of parts of at most `most`; one part if that is enough.

    Args:
        total: how many there are.
        most: of one part.
        like: what is split. A GPU, and a graph that is being traced, take it whole.
    """
    if total <= most or like.device.type != "cpu" or is_traced():
        return [slice(0, total)]
    count = -(-total // most)
    count = min(total, count + count % 2)
    ends = [total * number // count for number in range(count + 1)]
    return [slice(first, end) for first, end in pairwise(ends)]


def map_parts(work: Callable[[slice], Result], parts: Sequence[slice]) -> list[Result]:
    """Return `work(part)` of every part, in the order of the parts.

    As many threads compute them as torch uses in this thread, or as there are parts; with a gradient only this thread,
    which records it. They share its cores. If a part fails, its error is raised when no thread works any more.
    """
    cores = torch.get_num_threads()
    threads = min(cores, len(parts))
    if threads == 1 or torch.is_grad_enabled():
        return [work(part) for part in parts]
    found: dict[int, Result] = {}
    waiting = iter(list(enumerate(parts)))  # threads may share an iterator of a list
    is_inference = torch.is_inference_mode_enabled()

    def take_parts() -> None:
        use_cores(cores // threads)
        with torch.inference_mode(is_inference), torch.no_grad():
            for number, part in waiting:
                found[number] = work(part)

    helping = [_pool().submit(take_parts) for _ in range(threads - 1)]
    try:
        take_parts()
    finally:
        use_cores(cores)
        begun = [helper for helper in helping if not helper.cancel()]  # nothing is left for the others
        wait(begun)
    for helper in begun:
        helper.result()
    return [found[number] for number in range(len(parts))]


def join_parts(work: Callable[[slice], Tensor], parts: Sequence[slice], *, dim: int) -> Tensor:
    """Return the results of `map_parts`, joined along `dim`; maps, of four dimensions, lie channels-last.

    A part goes to its place while it is still in the cache of the core that computed it.
    """
    if len(parts) == 1:
        return work(parts[0])
    if torch.is_grad_enabled():
        return torch.cat(map_parts(work, parts), dim)
    whole: list[Tensor] = []
    is_first = Lock()

    def place(part: slice) -> None:
        result = work(part)
        with is_first:
            if not whole:
                whole.append(_empty(result, dim=dim, length=parts[-1].stop))
        whole[0].narrow(dim, part.start, part.stop - part.start).copy_(result)

    map_parts(place, parts)
    return whole[0]


def _empty(like: Tensor, *, dim: int, length: int) -> Tensor:
    shape = [*like.shape[:dim], length, *like.shape[dim + 1 :]]
    layout = torch.channels_last if like.dim() == _MAP_DIMENSIONS else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


def use_cores(count: int) -> None:
    """Give this thread a team of `count` cores; other threads keep theirs."""
    # A new thread takes the default size at its first call or operation. This call comes first, so ours is not reset.
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="layer-part")


# A forked process would have the object, but none of its threads.
os.register_at_fork(after_in_child=_pool.cache_clear)
