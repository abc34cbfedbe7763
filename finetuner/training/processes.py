"""Trains one model in several processes, one per GPU, which accelerate starts and connects.

    accelerate launch --num_processes 2 -m finetuner EXPORT IMAGES OUT

The processes share a step's images by rank and sum up their gradients and losses, so every process moves its own copy
of the weights in the same way. Only the first process measures, judges, saves states, writes the checkpoint and reports
progress. The others leave once the weights are trained. If one dies, the launcher ends the others.
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

_PATIENCE = timedelta(hours=1)  # the others wait while the first measures held-out images between two trainings


class Dismissed(Exception):
    """This process has finished its part of the training; the first process does the rest."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process, `rank` (from 0) of `count`. The default is a single process, which exchanges nothing."""

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls, *, device: str = "auto") -> "Processes":
        """Join the processes that accelerate's launcher started; without the launcher, a single process.

        `device` is a value of SAMLOOP_DEVICE.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        from accelerate import PartialState

        state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available(), timeout=_PATIENCE)
        return cls(rank=state.process_index, count=state.num_processes)

    def part(self) -> None:
        """End the exchange: the first process continues alone, and the others are done.

        Raises:
            Dismissed: this is not the first process.
        """
        if self.count == 1:
            return
        torch.distributed.destroy_process_group()
        if not self.is_first:
            raise Dismissed(f"process {self.rank + 1} of {self.count} is done")

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def scale_images(self, config: TrainConfig, *, is_fixed: bool) -> TrainConfig:
        """The recipe with `images_per_step` for the processes together.

        It is multiplied by their number; if it `is_fixed`, it only grows to at least one image per process.
        """
        images = max(config.images_per_step, self.count) if is_fixed else config.images_per_step * self.count
        return replace(config, images_per_step=images)

    def add_up(self, weights: Sequence[nn.Parameter], numbers: Sequence[float]) -> tuple[float, ...]:
        """Replace every gradient with its sum over all processes, and return the sums of `numbers`.

        A weight without a gradient in any process keeps none: a gradient of 0 would let it decay.
        """
        if self.count == 1:
            return tuple(numbers)
        some = weights[0]
        flags = [float(weight.grad is not None) for weight in weights]
        sums = torch.tensor([*flags, *numbers], dtype=torch.float64)
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
        flat = _sum(torch.cat([gradient.flatten() for gradient in gradients]))
        sums = _sum(sums.to(some.device)).cpu()
        for weight, flag, gradient in zip(
            weights, sums.tolist(), torch.split(flat, [w.numel() for w in weights]), strict=False
        ):
            weight.grad = gradient.view_as(weight) if flag else None
        return tuple(sums[len(flags) :].tolist())

    def must_agree(self, fact: str) -> None:
        """Wait for all processes and check that they start from the same `fact`: otherwise their weights would diverge.

        Raises:
            BadInput: this process has another fact than the first.
        """
        mine = float(int.from_bytes(hashlib.sha256(fact.encode()).digest()[:6], "big"))
        if self.agree_on(mine) != mine:
            raise BadInput(
                f"process {self.rank + 1} of {self.count} would train from another state, or on other images, than the "
                f"first ({fact[:60]}): give all processes the same files, and remove the folder OUT.unfinished"
            )

    def agree_on(self, number: float) -> float:
        """The `number` of the first process: a decision that depends on a clock must be the same in all."""
        if self.count == 1:
            return number
        from accelerate.utils import broadcast

        value = torch.tensor([number], dtype=torch.float64)
        if torch.cuda.is_available() and torch.distributed.get_backend() == "nccl":
            value = value.cuda()
        return float(broadcast(value).item())


def _sum(values: Tensor) -> Tensor:
    from accelerate.utils import reduce

    total: Tensor = reduce(values, reduction="sum")
    return total
