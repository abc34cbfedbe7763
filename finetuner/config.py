"""The recipe of a training: one frozen TrainConfig, which goes into the checkpoint's manifest."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from backend.labelstudio.label_config import LabelConfig
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
    TILES,
    UNLABELLED,
    VIEWS,
)

LOSS_MIXES: dict[str, tuple[tuple[str, float], ...]] = {
    "bce-dice": (("bce", 1.0), ("dice", 1.0)),  # for few images
    "focal-dice": (("focal", 20.0), ("dice", 1.0)),  # SAM's own, with `iou_weight` 1 (Kirillov et al. 2023, A)
    "structure": (("structure", 1.0),),
}
_RATE, _FULL_RATE_FROM, _LOWEST_RATE = 1e-4, 6000, 3e-5
_EPOCHS_A_VIEW = 8  # at least so many, so encoding a view takes a small share of the time that is spent on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules by which regions become objects.

    Attributes:
        labels: the labels of the labelling configuration; empty allows every label.
        other_names: labels by other names that Label Studio takes for them.
        rectangles_are_masks: whether a rectangle is a mask.
        min_object_px: the smallest area of an object, in image px.
        ground_truth_weight: the number of votes of an annotation that is marked as ground truth.
        merged_regions: whether to "divide" or "keep" regions that hold all objects of a label (parts).
        empty_is_background: whether the semantic head learns background from images submitted without a region.
    """

    labels: frozenset[str] = frozenset()
    other_names: Mapping[str, str] = field(default_factory=dict)
    rectangles_are_masks: bool = False
    min_object_px: int = 2
    ground_truth_weight: int = 1
    merged_regions: str = "divide"
    empty_is_background: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """The recipe. The promptable decoder's training ends at the first of `epochs`, `decodes` and its `seconds`.

    A decode is one object with one prompt, forward and backward: 0.03 s on a core with bfloat16 arithmetic. Usually a
    training on few images ends by `epochs`, on many by `decodes`, and on a slow machine by `seconds`.
    """

    method: str = "decoder"
    head: str = "promptable"
    seed: int = 0
    is_first: bool = False  # whether a longer training of the same samples follows at once (recipe.first)
    start: str = "base"  # or "served": the weights to start from (start); all annotations are learnt either way

    epochs: int = 200
    decodes: int | None = 16_000
    decodes_per_object: int = 20  # in every view, beyond the first 6,000; more teach objects by heart (docs/results.md)
    seconds: float = 600.0
    objects_per_step: int = 6  # per image; fewer objects give more steps for the same work
    images_per_step: int = 1  # more images give steadier steps, but fewer for the same work
    accumulate: int = 1  # the parts of a step, decoded one after another: the same gradient with less memory

    precision: str = "auto"  # of the forward pass: bfloat16 if the device has fast bfloat16, else float32
    learning_rate: float | None = None  # None: depends on the number of decodes (`rate_for`)
    rank: int | None = None  # of an adapter; None: lora 8, conv-lora 3
    alpha: float | None = None  # alpha / rank scales the adapter's update; None: lora 16, conv-lora 32
    adapter_joins: float = 0.6  # the share of the training after which the adapter joins; cached embeddings until then
    recompute: bool | None = None  # run the encoder's blocks again in the backward pass; None: only for a ViT
    encoder_pace: float | None = None  # an adapter's learning rate over the decoder's; None: the method's own
    weight_decay: float = 1e-4
    warmup_share: float = 0.1  # share of the training
    final_lr_share: float = 0.05  # share of the learning rate at the end of the cosine
    clip_norm: float = 1.0
    ema_decay: float = 0.98
    losses: tuple[tuple[str, float], ...] = LOSS_MIXES["bce-dice"]
    iou_weight: float = 1.0
    mix: float = 0.75  # published point on the line from the first to the trained weights, without validation images
    mixes: tuple[float, ...] = (1.0, 0.75, 0.5)  # the points that validation images choose from (early_stopping)

    box_share: float = 0.5  # share of first prompts that are boxes; the others are a point
    box_jitter: float = 0.1  # of the side, in both directions, uniform
    box_jitter_max_px: float = 20.0  # on the canvas
    centre_share: float = 0.5  # share of points drawn with a preference for the object's middle
    background_share: float = 0.15  # share of point prompts with a negative click outside the object too
    corrective_share: float = 0.3  # share of images with a corrective round
    feedback_share: float = 0.5  # share of corrective rounds in which the decoder sees the previous logits
    absent_share: float = 0.2  # clicks on the background per object, from which an object score learns absence

    views: int | None = None  # per image: mirrored, turned, zoomed (views); encoded once. None: by epochs (`views_for`)
    tiles: str = "auto"  # or "off": whether tiles of an image answer, where objects are small (measuring.magnification)
    replay: float = 0.0  # share of steps on unrelated photographs, to prevent forgetting (replay)
    forgetting: bool = False  # measure what the training forgot (forgetting)
    outside: str = "base"  # or "trained": what answers images that look unlike all that was learnt from (domain)
    mask_share: float = 0.0  # share of images whose first prompts are a box with a slightly wrong mask
    semantic_share: float = 0.2  # share of `seconds` for a semantic head
    semantic_steps: int = 300  # with one image per step
    semantic_rate: float = 5e-4
    unlabelled: str = "background"  # the class of unannotated pixels; or "unknown", far from every object

    held_out_share: float = 0.2
    validation_share: float = 0.15  # share of the training images that decide when to stop (early_stopping)
    validation_from: int = 60  # training images; a project with fewer has no validation images
    patience: int = 4  # measurements without a new best of any kind of prompt, after which a training stops
    most_folds: int = 7  # in the cross-validation of a small project; the folds share `decodes` and `seconds`
    annotators: str = "latest"  # or "majority": the annotations of a task that count
    ground_truth_weight: int = 2  # the number of annotations that one marked as ground truth counts for
    rectangles_are_masks: bool = False
    merged_regions: str = "divide"  # or "keep": regions that hold all objects of a label (parts)
    min_object_px: int = 2
    specks_px: int = 0  # smaller islands and holes are removed from held-out masks, as in serving (sam.cleaning)
    evaluation_clicks: int = 0  # corrective clicks on held-out objects after a training; `samloop evaluate` makes 7
    bootstrap_rounds: int = 2000

    def __post_init__(self) -> None:
        """Refuse values that no training can use."""
        self._check_choices()
        self._check_ranges()
        self._check_shares()
        self._require(
            1 <= self.accumulate <= self.images_per_step,
            "accumulate is from 1 to images_per_step",
            "accumulate",
            "images_per_step",
        )

    def _check_choices(self) -> None:
        choices = {
            "head": HEADS,
            "start": STARTS,
            "precision": PRECISIONS,
            "tiles": TILES,
            "outside": OUTSIDE,
            "unlabelled": UNLABELLED,
            "annotators": ANNOTATORS,
            "merged_regions": MERGED_REGIONS,
        }
        for name, allowed in choices.items():
            self._require(getattr(self, name) in allowed, f"choose one of {', '.join(allowed)}", name)

    def _check_ranges(self) -> None:
        bounds = {
            "objects_per_step": OBJECTS_PER_STEP,
            "images_per_step": IMAGES_PER_STEP,
            "views": VIEWS,
            "replay": REPLAY,
        }
        for name, allowed in bounds.items():
            value = getattr(self, name)
            self._require(value is None or value in allowed, f"{name} is {allowed}", name)
        least = {
            "epochs": 1,
            "decodes": 1,
            "decodes_per_object": 1,
            "patience": 1,
            "most_folds": 2,
            "ground_truth_weight": 1,
            "specks_px": 0,
            "semantic_steps": 1,
        }
        for name, number in least.items():
            value = getattr(self, name)
            self._require(value is None or value >= number, f"{name} is at least {number}", name)
        self._require(self.seconds > 0, "seconds is above 0", "seconds")
        self._require(self.rank is None or 1 <= self.rank <= 64, "rank is from 1 to 64", "rank")

    def _check_shares(self) -> None:
        for name in ("mask_share", "absent_share"):
            self._require(0 <= getattr(self, name) <= 1, f"{name} is from 0 to 1", name)
        for name in ("validation_share", "adapter_joins"):
            self._require(0 <= getattr(self, name) < 1, f"{name} is at least 0 and below 1", name)
        for name in ("held_out_share", "semantic_share"):
            self._require(0 < getattr(self, name) < 1, f"{name} is between 0 and 1", name)
        self._require(0 < self.mix <= 1, "mix is above 0 and at most 1", "mix")
        are_shares = all(0 < share <= 1 for share in self.mixes)
        self._require(bool(self.mixes) and are_shares, "mixes are shares above 0 and at most 1, at least one", "mixes")

    def _require(self, is_valid: bool, rule: str, *names: str) -> None:  # noqa: FBT001 - reads like an assertion
        """Raise ValueError with these fields' values and the rule unless it holds."""
        if not is_valid:
            values = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
            raise ValueError(f"{values} cannot be used: {rule}")

    def decodes_for(self, objects: int) -> int | None:
        """The largest number of decodes of a training on so many objects; None if only epochs and seconds bound it."""
        if self.decodes is None:
            return None
        return min(self.decodes, max(_FULL_RATE_FROM, self.decodes_per_object * (self.views or 1) * objects))

    def views_for(self, epochs: int) -> int:
        """The number of views of every image in a training that would pass over its images so many times.

        A training on few images learns them by heart otherwise; 30 ultrasound images teach .03 IoU more with box
        prompts in eight views than in one (docs/results.md).
        """
        if self.views is not None:
            return self.views
        return int(min(VIEWS.highest, max(VIEWS.lowest, epochs // _EPOCHS_A_VIEW)))

    def rate_for(self, decodes: int) -> float:
        """The learning rate of a training with this number of planned decodes.

        It is 1e-4 from 6,000 decodes on, and falls with the square root of fewer decodes, to 3e-5 at least. At 1e-4
        short trainings lose .03 IoU with box prompts; at 3e-5 long trainings gain less with clicks (docs/results.md).
        """
        if self.learning_rate is not None:
            return self.learning_rate
        return max(_LOWEST_RATE, _RATE * math.sqrt(min(1.0, decodes / _FULL_RATE_FROM)))

    @property
    def promptable_seconds(self) -> float:
        """The promptable decoder's part of `seconds`; the semantic head has the rest."""
        return self.seconds * (1 - self.semantic_share) if self.head == "semantic" else self.seconds

    @property
    def semantic_seconds(self) -> float:
        """The semantic head's part of `seconds`."""
        return self.seconds * self.semantic_share

    @property
    def empty_is_background(self) -> bool:
        """Whether images submitted empty count: the semantic head learns from them if all else is background."""
        return self.head == "semantic" and self.unlabelled == "background"

    @property
    def teaches_absence(self) -> bool:
        """Whether clicks on the background teach an object score that nothing is there."""
        return self.absent_share > 0 and self.unlabelled == "background"

    def rules(self, label_config: LabelConfig | None = None) -> Rules:
        """The rules for a project with this labelling interface; without one, every label is allowed."""
        return Rules(
            labels=frozenset() if label_config is None else label_config.labels,
            other_names={} if label_config is None else label_config.other_names,
            rectangles_are_masks=self.rectangles_are_masks,
            min_object_px=self.min_object_px,
            ground_truth_weight=self.ground_truth_weight,
            merged_regions=self.merged_regions,
            empty_is_background=self.empty_is_background,
        )

    def to_json(self) -> dict[str, object]:
        """All values, as the manifest stores them."""
        return {**asdict(self), "losses": dict(self.losses), "mixes": list(self.mixes)}
