"""A manifest's metrics: how the training went, and how good its masks are (`CheckpointMetrics`, written as JSON).

Any part may be absent: checkpoints of earlier versions, or of other programs, hold less.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from pydantic import ConfigDict, Field, ValidationError, field_validator

from backend.errors import BadCheckpoint
from backend.registry.calibration import Calibration
from backend.registry.figures import Comparison, Differences, Figure, Interval, MaskFigures, Number, Written

VERSION: Final = 1  # of the JSON; older metrics name no version and are read as version 1
MOST_LABELS = 100  # of a semantic head
MOST_DIRECTIONS = 1000  # of a domain: a megabyte
NOT_PROMOTED: Final = "Not promoted: kept as a challenger"  # as commands say "not promoted"


class Recipe(Written):
    """The training's configuration, by name; the values are those of `finetuner.config`.

    Attributes:
        adapter: kind, rank and alpha of the encoder's adapter; None where only the decoder was trained. Older manifests
            do not name it.
        base_source: the name or path that loads the base model again.
        is_first: whether it trained a first version, which a longer training is to follow.
    """

    model_config = ConfigDict(extra="allow")

    adapter: Mapping[str, object] | None = None
    base_source: str | None = None
    is_first: bool = False

    @property
    def names_adapter(self) -> bool:
        """Whether the manifest says if the encoder has an adapter, and which."""
        return "adapter" in self.model_fields_set

    def to_json(self) -> dict[str, object]:
        """Return the values that the manifest names."""
        return self.model_dump(mode="json", exclude_unset=True)


class Verdict(Written):
    """Whether the candidate may be served. `reasons` are sentences: why it is better, or everything against it.

    A checkpoint that was never judged has no reasons; only a person may promote it.
    """

    promote: bool = False
    reasons: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """The outcome in the words that pages, reports and commands share."""
        return "Better than the version served before" if self.promote else NOT_PROMOTED

    @property
    def sentence(self) -> str:
        """All reasons on one line."""
        return "; ".join(self.reasons)

    def with_reasons(self, *further: str) -> "Verdict":
        """Return the verdict with these sentences after its own."""
        return Verdict(promote=self.promote, reasons=(*self.reasons, *further))


class Exclusion(Written):
    """A reason why annotations were left out, how often it applied, and a few examples.

    An example holds the ids of the task, the annotation and the region, as far as they are known, and details.
    """

    reason: str = ""
    count: int = 0
    examples: tuple[Mapping[str, int | str], ...] = ()


class TrainingSeconds(Written):
    """Seconds that the trainings took, and seconds that reading images and measuring took."""

    training: Figure = None
    evaluating: Figure = None


class EndedAt(Written):
    """How far a training came.

    Attributes:
        decodes: how many prompts the decoder answered.
        resumed: how many kills the training survived.
        kept_step: the step whose weights were chosen; None where the last average was.
        mix: the share of these weights in the published ones; the rest are the weights that the training began with.
            None in older checkpoints.
        views: of every image that it learnt from. None in older checkpoints.
    """

    epochs: int = 0
    steps: int = 0
    decodes: int = 0
    seconds: float = 0.0
    resumed: int = 0
    kept_step: int | None = None
    mix: float | None = None
    views: int | None = None


class Fold(Written):
    """One training of a cross-validation: the digests of its held-out images, and how far it came."""

    held_out: tuple[str, ...] = ()
    ended_at: EndedAt = EndedAt()


class SplitMetrics(Written):
    """Which images the training learnt from, and which were held out; images are SHA-256 digests of their bytes.

    Attributes:
        sentence: the split in words.
        learnt: every image in the weights: those of this training, of the version it began with, and of the base.
        held_out_by_floor: images held out only because their digests alone would have held out too few.
        near_duplicates: groups of images that stay together on one side of the split.
        folds: the trainings of a cross-validation.
    """

    sentence: str = Field(default="", validation_alias="said", serialization_alias="said")
    train_images: int = 0
    train_objects: int = 0
    learnt: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    held_out_by_floor: tuple[str, ...] = ()
    near_duplicates: tuple[tuple[str, ...], ...] = ()
    folds: tuple[Fold, ...] = ()


class StartMetrics(Written):
    """The version whose weights the training began with, and the reason in a sentence."""

    version: str = Field(default="", validation_alias="from", serialization_alias="from")
    why: str = ""


class TrainingPoint(NamedTuple):
    """Mean losses of the steps up to `step`: `loss` is the minimised sum, `mask` and `iou` are its parts."""

    step: int
    loss: Figure
    mask: Figure
    iou: Figure


class Look(Written):
    """A measurement on a few objects after `step` steps: mean loss and mean IoU on the decoder's grid, by prompt."""

    step: int = 0
    loss: Mapping[str, Figure] = Field(default_factory=dict)
    iou: Mapping[str, Number] = Field(default_factory=dict)


class CurvesMetrics(Written):
    """How a training went: its losses, and looks at held-out objects and at the objects that chose the weights."""

    training: tuple[TrainingPoint, ...] = ()
    held_out: tuple[Look, ...] = ()
    validation: tuple[Look, ...] = ()


class LabelMetrics(Written):
    """The objects of one label: their number, images, COCO sizes, and median area in px."""

    objects: int = 0
    images: int = 0
    median_area_px: int = 0
    small: int = 0
    medium: int = 0
    large: int = 0


class LeftOut(Written):
    """Annotations that the training could not learn from: the reason and the number."""

    reason: str = ""
    count: int = 0


class DataMetrics(Written):
    """All usable images and objects, held out or not.

    Attributes:
        sizes: the number of objects by COCO's small, medium and large.
        empty_images: images that were submitted without a region.
        divided_regions, parts: the training split so many regions of several large parts into so many objects.
    """

    images: int = 0
    objects: int = 0
    ground_truth_images: int = 0
    sizes: Mapping[str, int] = Field(default_factory=dict)
    labels: Mapping[str, LabelMetrics] = Field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    empty_images: int = 0
    divided_regions: int = 0
    parts: int = 0


class SemanticReport(Written):
    """How well a semantic head finds objects without a prompt: by label, and the mean over labels."""

    mean: MaskFigures
    labels: Mapping[str, MaskFigures] = Field(default_factory=dict)


class SemanticMetrics(Written):
    """The semantic head in a checkpoint.

    Attributes:
        is_served: whether its mean IoU reached `floor`, and it is not worse than what answered batches before.
        floor: the least mean IoU that a served head needs.
        held_out: None where no held-out image has one of its labels.
        against: what answered batches before; None: the two were not compared.
        difference: by metric, the head minus that, on the same held-out images.
        is_alone: whether it was promoted for itself; then prompts are answered as by the checkpoint's parent.

    Raises:
        BadCheckpoint: the head does not have 1 to 100 different labels.
    """

    labels: tuple[str | None, ...]
    is_served: bool = Field(default=False, validation_alias="served", serialization_alias="served")
    floor: Figure = None
    steps: int = 0
    seconds: Figure = None
    held_out: SemanticReport | None = None
    against: str | None = None
    difference: Mapping[str, Interval] | None = None
    is_alone: bool = False

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: tuple[str | None, ...]) -> tuple[str | None, ...]:
        if not 1 <= len(labels) <= MOST_LABELS or len(set(labels)) != len(labels):
            raise BadCheckpoint(
                f"a semantic head has 1 to {MOST_LABELS} labels, all different; this manifest names {len(labels)}"
            )
        return labels


class ForgettingMetrics(Written):
    """How well the candidate still draws objects on unrelated photographs, as a sentence and by kind of prompt.

    It has no figures if it could not be measured; the sentence gives the reason.
    """

    sentence: str = Field(default="", validation_alias="said", serialization_alias="said")
    images: int | None = None
    objects: int | None = None
    base: Mapping[str, MaskFigures] | None = None
    candidate: Mapping[str, MaskFigures] | None = None
    difference: Differences | None = None


class DomainMetrics(Written):
    """The images that the trained decoder answers; the base answers those outside (backend.sam.embeddings.domain).

    `learnt` and `others` count the directions beside the weights. `outside` of the `held_out` images lie outside.
    """

    learnt: int = Field(ge=1, le=MOST_DIRECTIONS)
    others: int = Field(ge=1, le=MOST_DIRECTIONS)
    radius: float = Field(strict=True, ge=0, le=2)
    held_out: int = 0
    outside: int = 0


class CheckpointMetrics(Comparison):
    """All metrics of a checkpoint.

    Attributes:
        click_policy: the rule that says which of SAM's masks answers a click (backend.sam.policy); the project's
            annotations chose it.
        domain: the images that the trained decoder answers; None: it answers all images.
        magnification: of the tiles in which the version answers clicks and boxes (backend.sam.closer.tiles); None: in
            whole images.
        memory_mib: the training's peak memory, MiB.
        processes: how many processes trained together.
    """

    calibration: Calibration | None = None
    click_policy: str | None = None
    seconds: TrainingSeconds | None = None
    memory_mib: int | None = None
    processes: int | None = None
    ended_at: EndedAt | None = None
    split: SplitMetrics | None = None
    start: StartMetrics | None = None
    curves: CurvesMetrics | None = None
    data: DataMetrics | None = None
    semantic: SemanticMetrics | None = None
    forgetting: ForgettingMetrics | None = None
    domain: DomainMetrics | None = None
    magnification: float | None = Field(default=None, strict=True, gt=1, le=4)

    def to_json(self) -> dict[str, object]:
        """Return the metrics as JSON, with the version of their form."""
        return {"version": VERSION, **super().to_json()}

    @classmethod
    def from_json(cls, value: object) -> "CheckpointMetrics":
        """Read what `to_json` wrote, with or without a version.

        Raises:
            BadCheckpoint: the value is not an object, a part has the wrong type, or a later version wrote it.
        """
        version = value.get("version", VERSION) if isinstance(value, Mapping) else VERSION
        if version != VERSION:
            raise BadCheckpoint(
                f"the metrics are of version {str(version)[:20]}, but this samloop reads version {VERSION}: "
                "upgrade samloop to the version that wrote them"
            )
        try:
            return cls.model_validate(value)
        except ValidationError as fault:
            first = fault.errors(include_url=False)[0]
            place = ".".join(map(str, ("metrics", *first["loc"])))[:200]
            raise BadCheckpoint(f"{place}={str(first['input'])[:80]!r}: {first['msg']}") from fault
