"""Several processes, one a GPU, that train one model together: accelerate starts and joins them.

    accelerate launch --num_processes 2 -m finetuner EXPORT IMAGES OUT

A step's images are dealt out by rank, gradients and losses are added up over all, and every process moves its own copy
of the weights alike. The first alone measures, judges, writes states and the checkpoint, and tells how it goes; the
others leave once the weights are trained. One that dies takes the others with it: the launcher ends them.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import torch
from torch import Tensor, nn

from backend.errors import BadInput
from finetuner.config import TrainConfig

_PATIENCE = timedelta(hours=1)  # with one that measures held-out images between two trainings


class Dismissed(Exception):
    """This process has helped to train; all that follows is the first's."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among `count`; `rank` from 0. Without arguments: alone, and then nothing is exchanged."""

    rank: int = 0
    count: int = 1

    @classmethod
    def joined(cls, *, device: str = "auto") -> "Processes":
        """Join those that accelerate's launcher started; alone where it did not. `device` as SAMLOOP_DEVICE has it."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        from accelerate import PartialState

        state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available(), timeout=_PATIENCE)
        return cls(rank=state.process_index, count=state.num_processes)

    def part(self) -> None:
        """Exchange nothing from here on: the first goes on by itself, the others are done. Nobody waits for anybody.

        Raises:
            Dismissed: this is another than the first.
        """
        if self.count == 1:
            return
        torch.distributed.destroy_process_group()
        if not self.is_first:
            raise Dismissed(f"process {self.rank + 1} of {self.count} is done")

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and tells."""
        return self.rank == 0

    def scaled(self, config: TrainConfig, *, is_fixed: bool) -> TrainConfig:
        """The recipe with a step's images for every process; one at least where it `is_fixed`."""
        images = max(config.images_per_step, self.count) if is_fixed else config.images_per_step * self.count
        return replace(config, images_per_step=images)

    def add_up(self, weights: Sequence[nn.Parameter], numbers: Sequence[float]) -> tuple[float, ...]:
        """Put the sum over all processes in the place of each gradient; the same of `numbers` is returned.

        A weight that has a gradient nowhere keeps none: a gradient of 0 would let it decay.
        """
        if self.count == 1:
            return tuple(numbers)
        some = weights[0]
        flags = [float(weight.grad is not None) for weight in weights]
        told = torch.tensor([*flags, *numbers], dtype=torch.float64)
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
        flat = _sum(torch.cat([gradient.flatten() for gradient in gradients]))
        told = _sum(told.to(some.device)).cpu()
        for weight, flag, gradient in zip(
            weights, told.tolist(), torch.split(flat, [w.numel() for w in weights]), strict=False
        ):
            weight.grad = gradient.view_as(weight) if flag else None
        return tuple(told[len(flags) :].tolist())

    def must_agree(self, fact: str) -> None:
        """Wait until all have come here, and see that they have come with the same: else they would train apart.

        Raises:
            BadInput: this one has come with something else than the first.
        """
        mine = float(int.from_bytes(hashlib.sha256(fact.encode()).digest()[:6], "big"))
        if self.agreed(mine) != mine:
            raise BadInput(
                f"process {self.rank + 1} of {self.count} would train from another state, or on other images, than the "
                f"first ({fact[:60]}): let all read the same files, and remove the folder OUT.unfinished"
            )

    def agreed(self, number: float) -> float:
        """What the first process says, for what clocks decide."""
        if self.count == 1:
            return number
        from accelerate.utils import broadcast

        told = torch.tensor([number], dtype=torch.float64)
        if torch.cuda.is_available() and torch.distributed.get_backend() == "nccl":
            told = told.cuda()
        return float(broadcast(told).item())


def _sum(values: Tensor) -> Tensor:
    from accelerate.utils import reduce

    found: Tensor = reduce(values, reduction="sum")
    return found
