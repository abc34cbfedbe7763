"""One frozen TrainConfig: all that decides what a training does. It goes into the checkpoint's manifest."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from backend.settings.bounds import (
    ANNOTATORS,
    HEADS,
    IMAGES_PER_STEP,
    MERGED_REGIONS,
    OBJECTS_PER_STEP,
    OUTSIDE,
    PRECISIONS,
    REPLAY,
    STARTS,
    UNLABELLED,
    VIEWS,
)

LOSS_MIXES: dict[str, tuple[tuple[str, float], ...]] = {
    "bce-dice": (("bce", 1.0), ("dice", 1.0)),  # for few images
    "focal-dice": (("focal", 20.0), ("dice", 1.0)),  # with `iou_weight` 1 SAM's own (Kirillov et al. 2023, A)
    "structure": (("structure", 1.0),),
}
_RATE, _FULL_RATE_FROM, _LOWEST_RATE = 1e-4, 6000, 3e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Which regions are objects. `labels`: those of the labelling configuration; empty, every label will do.

    `ground_truth_weight`: how many others an annotation that is marked as ground truth counts for in a vote.
    `empty_is_background`: an image that was submitted without a region teaches the semantic head what is ground.
    `merged_regions`: whether regions with all objects of a label become those objects, "divide" or "keep" (parts).
    """

    labels: frozenset[str] = frozenset()
    rectangles_are_masks: bool = False
    min_object_px: int = 2
    ground_truth_weight: int = 1
    merged_regions: str = "divide"
    empty_is_background: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """The recipe. The promptable decoder's training ends at the first of `epochs`, `decodes` and its `seconds`.

    One decode is one object with one prompt, forward and backward: 0.03 s of a core that multiplies in bfloat16. A few
    images end by their epochs, many by `decodes`, a slow machine by `seconds`.
    """

    method: str = "decoder"
    head: str = "promptable"
    seed: int = 0
    start: str = "base"  # or "served": whose weights a training begins with (start); on all annotations either way

    epochs: int = 200
    decodes: int | None = 16_000
    seconds: float = 600.0
    objects_per_step: int = 6  # of one image; FINETUNING's bound is 25, fewer give more steps for the same work
    images_per_step: int = 1  # whose prompts make a step together; more give steadier steps, fewer for the same work
    accumulate: int = 1  # parts in which a step's images are done, one after the other: same gradient, less memory

    precision: str = "auto"  # of the forward pass: bfloat16 where the processor has it, else float32
    learning_rate: float | None = None  # None: by the work, as `rate_for` has it
    rank: int | None = None  # of an adapter; None: lora 8, conv-lora 3
    alpha: float | None = None  # its update is scaled by alpha / rank; None: lora 16, conv-lora 32
    adapter_joins: float = 0.6  # of the run, in which the decoder learns alone: on embeddings that are kept
    recompute: bool | None = None  # an encoder's blocks on the way back, not keep what they saw; None: only a ViT's
    encoder_pace: float | None = None  # an adapter's rate by the decoder's; None: the method's own
    weight_decay: float = 1e-4
    warmup_share: float = 0.1  # of the run
    final_lr_share: float = 0.05  # of the learning rate, where the cosine ends
    clip_norm: float = 1.0
    ema_decay: float = 0.98
    losses: tuple[tuple[str, float], ...] = LOSS_MIXES["bce-dice"]
    iou_weight: float = 1.0
    mix: float = 0.75  # share of the way from the first weights to the last that is published, where nothing validates
    mixes: tuple[float, ...] = (1.0, 0.75, 0.5)  # shares that validation images choose among (mixing)

    box_share: float = 0.5  # of first prompts; the others are one point
    box_jitter: float = 0.1  # of the side, either way, uniformly
    box_jitter_max_px: float = 20.0  # on the 1024 canvas
    centre_share: float = 0.5  # of points that prefer the middle of the object to its rim
    background_share: float = 0.15  # of point prompts that carry a negative click outside the object too
    corrective_share: float = 0.3  # of steps that are followed by a corrective round
    feedback_share: float = 0.5  # of corrective rounds that see the previous logits

    views: int = 1  # of every image, by turns: mirrored, turned, nearer, farther (views); a view is encoded once
    replay: float = 0.0  # share of the steps that are on other things, against forgetting (replay)
    forgetting: bool = False  # whether what was forgotten is measured (forgetting)
    outside: str = "base"  # or "trained": what answers images that look unlike all that was learnt from (domain)
    mask_share: float = 0.0  # of steps whose first prompts are a box with a mask that is a little wrong
    semantic_share: float = 0.2  # of `seconds`, where the head is "semantic"
    semantic_steps: int = 300  # of one image
    semantic_rate: float = 5e-4
    unlabelled: str = "background"  # what nobody drew on; or "unknown", far from every object

    held_out_share: float = 0.2
    validation_share: float = 0.15  # of the images to learn from, which choose when to stop (early_stopping)
    validation_from: int = 60  # images to learn from; with fewer, every one teaches
    patience: int = 4  # looks without a new best, of any kind of prompt, until a training stops
    most_folds: int = 7  # of the cross-validation of a small project, which shares out `decodes` and `seconds`
    annotators: str = "latest"  # or "majority": whose annotation of a task counts
    ground_truth_weight: int = 2  # how many annotations one that is marked as ground truth counts for
    rectangles_are_masks: bool = False
    merged_regions: str = "divide"  # or "keep": regions into which people painted all objects of a label (parts)
    min_object_px: int = 2
    specks_px: int = 0  # taken out of held-out masks, as out of those that are served (sam.cleaning)
    evaluation_clicks: int = 0  # corrective clicks on held-out objects while training; `samloop evaluate` does all 7
    bootstrap_rounds: int = 2000

    def __post_init__(self) -> None:
        """Refuse values that no training can run with."""
        if self.epochs < 1 or self.seconds <= 0 or (self.decodes is not None and self.decodes < 1):
            raise ValueError(
                f"epochs={self.epochs}, seconds={self.seconds}, decodes={self.decodes}: all must be at least 1"
            )
        if not 0 < self.held_out_share < 1:
            raise ValueError(f"held_out_share={self.held_out_share} is not between 0 and 1")
        if not 0 <= self.validation_share < 1 or not 0 <= self.mask_share <= 1 or self.patience < 1:
            raise ValueError(
                f"validation_share={self.validation_share}, mask_share={self.mask_share}, patience={self.patience}: "
                "shares are from 0 to 1, and patience is at least 1"
            )
        if self.most_folds < 2 or self.ground_truth_weight < 1:
            raise ValueError(
                f"most_folds={self.most_folds}, ground_truth_weight={self.ground_truth_weight}: at least 2 and 1"
            )
        if (self.rank is not None and not 1 <= self.rank <= 64) or not 0 <= self.adapter_joins < 1:
            raise ValueError(f"rank={self.rank}, adapter_joins={self.adapter_joins}: from 1 to 64, and in [0, 1)")
        if self.start not in STARTS or self.outside not in OUTSIDE:
            raise ValueError(
                f"start={self.start!r}, outside={self.outside!r}: the former is one of {', '.join(STARTS)}, the latter "
                f"of {', '.join(OUTSIDE)}"
            )
        self._check_objects()
        self._check_semantic()
        self._check_images()
        self._check_mixes()
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision={self.precision!r} is none of {', '.join(PRECISIONS)}")
        if self.objects_per_step not in OBJECTS_PER_STEP:
            raise ValueError(f"objects_per_step={self.objects_per_step} is not {OBJECTS_PER_STEP}")

    def _check_objects(self) -> None:
        if self.annotators not in ANNOTATORS:
            raise ValueError(f"annotators={self.annotators!r} is none of {', '.join(ANNOTATORS)}")
        if self.specks_px < 0:
            raise ValueError(f"specks_px={self.specks_px} is negative: 0 keeps every island and hole")
        if self.merged_regions not in MERGED_REGIONS:
            raise ValueError(f"merged_regions={self.merged_regions!r} is none of {', '.join(MERGED_REGIONS)}")

    def _check_images(self) -> None:
        if self.views not in VIEWS:
            raise ValueError(f"views={self.views} is not {VIEWS}")
        if self.replay not in REPLAY:
            raise ValueError(f"replay={self.replay} is not a share {REPLAY}")
        if self.images_per_step not in IMAGES_PER_STEP or not 1 <= self.accumulate <= self.images_per_step:
            raise ValueError(
                f"images_per_step={self.images_per_step}, accumulate={self.accumulate}: the former is "
                f"{IMAGES_PER_STEP}, the latter from 1 to as many images"
            )

    def _check_mixes(self) -> None:
        if not self.mixes or not all(0 < share <= 1 for share in (self.mix, *self.mixes)):
            raise ValueError(f"mix={self.mix}, mixes={self.mixes}: shares above 0, at most 1, and at least one of them")

    def _check_semantic(self) -> None:
        if self.head not in HEADS or self.unlabelled not in UNLABELLED:
            raise ValueError(
                f"head={self.head!r}, unlabelled={self.unlabelled!r}: the former is one of {', '.join(HEADS)}, the "
                f"latter of {', '.join(UNLABELLED)}"
            )
        if self.semantic_steps < 1 or not 0 < self.semantic_share < 1:
            raise ValueError(
                f"semantic_steps={self.semantic_steps}, semantic_share={self.semantic_share}: at least 1, and between "
                "0 and 1"
            )

    def rate_for(self, decodes: int) -> float:
        """The learning rate of a training that plans so many decodes.

        1e-4 from 6,000 decodes on, less by the root of fewer, never below 3e-5: at 1e-4 short trainings lose .03 IoU
        with box prompts, and at 3e-5 long ones leave some of what clicks can gain (docs/results.md).
        """
        if self.learning_rate is not None:
            return self.learning_rate
        return max(_LOWEST_RATE, _RATE * math.sqrt(min(1.0, decodes / _FULL_RATE_FROM)))

    @property
    def promptable_seconds(self) -> float:
        """What the promptable decoder has of `seconds`; the rest is the semantic head's."""
        return self.seconds * (1 - self.semantic_share) if self.head == "semantic" else self.seconds

    @property
    def semantic_seconds(self) -> float:
        """What the semantic head has of `seconds`, if one is trained."""
        return self.seconds * self.semantic_share

    @property
    def empty_is_background(self) -> bool:
        """Whether images that were submitted empty teach anything: a semantic head, where all else is background."""
        return self.head == "semantic" and self.unlabelled == "background"

    def rules(self, labels: Iterable[str] = ()) -> Rules:
        """Which regions are objects, in a project with these labels."""
        return Rules(
            labels=frozenset(labels),
            rectangles_are_masks=self.rectangles_are_masks,
            min_object_px=self.min_object_px,
            ground_truth_weight=self.ground_truth_weight,
            merged_regions=self.merged_regions,
            empty_is_background=self.empty_is_background,
        )

    def to_json(self) -> dict[str, object]:
        """Every value, as the manifest keeps it."""
        return {**asdict(self), "losses": dict(self.losses), "mixes": list(self.mixes)}
