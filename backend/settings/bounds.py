"""The values that settings, commands and trainings allow."""

from dataclasses import dataclass
from typing import Literal, get_args


@dataclass(frozen=True, slots=True)
class Bounds:
    """A range of numbers, including both ends."""

    lowest: float
    highest: float

    def __contains__(self, value: float) -> bool:
        """Whether the value is in the range. NaN never is."""
        return self.lowest <= value <= self.highest

    def __str__(self) -> str:
        """The range at the end of a sentence: "from 1 to 25"."""
        return f"from {self.lowest} to {self.highest}"


OBJECTS_PER_STEP = Bounds(1, 25)
IMAGES_PER_STEP = Bounds(1, 1024)
EPOCHS = Bounds(1, 1000)
TRAINING_SECONDS = Bounds(1, 86400)
FIRST_SECONDS = Bounds(0, 3600)
TRAIN_AFTER = Bounds(0, 1_000_000)
QUIET_SECONDS = Bounds(0, 86400)
VIEWS = Bounds(1, 8)
TILES = ("auto", "off")
REPLAY = Bounds(0, 0.9)  # at 1 a training would never see the project's own images

Method = Literal["auto", "decoder", "lora", "conv-lora"]
Head = Literal["semantic", "promptable"]
METHODS: tuple[str, ...] = get_args(Method)
HEADS: tuple[str, ...] = get_args(Head)
STARTS = ("base", "served")
LOSSES = ("bce-dice", "focal-dice", "structure")
UNLABELLED = ("background", "unknown")
OUTSIDE = ("base", "trained")
ANNOTATORS = ("latest", "majority")
MERGED_REGIONS = ("divide", "keep")
PRESETS = ("auto", "cpu", "8gb", "24gb", "80gb")
PRECISIONS = ("auto", "float32", "bfloat16", "int8")
DEVICES = ("auto", "cpu", "cuda", "mps")
