"""What a checkpoint's manifest knows of its training and of how good it is: `CheckpointMetrics`, written as JSON.

Every part may be absent: a checkpoint that something else made, or an earlier version, knows less.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from pydantic import ConfigDict, Field, ValidationError, field_validator

from backend.errors import BadCheckpoint
from backend.registry.calibration import Calibration
from backend.registry.figures import Comparison, Differences, Figure, MaskFigures, Number, Written

VERSION: Final = 1  # of the JSON; what has no version was written before there was one, and is read as version 1
MOST_LABELS = 100  # of a semantic head


class Recipe(Written):
    """All that decided what the training did, by name: `finetuner.config` has the values, which are kept as they are.

    `adapter`: kind, rank and alpha of the adapter in the encoder; None: the decoder alone was trained. Manifests from
    before adapters had kinds do not name it. `base_source`: the name or path that loads the base again.
    """

    model_config = ConfigDict(extra="allow")

    adapter: Mapping[str, object] | None = None
    base_source: str | None = None

    @property
    def names_adapter(self) -> bool:
        """Whether the manifest says which adapter there is, or that there is none."""
        return "adapter" in self.model_fields_set

    def to_json(self) -> dict[str, object]:
        """The values that the manifest named."""
        return self.model_dump(mode="json", exclude_unset=True)


class Verdict(Written):
    """Whether the candidate may be served. `reasons` are sentences: why it is better, or all that speaks against it.

    A checkpoint that nobody judged has no reasons, and may not be served unless somebody promotes it.
    """

    promote: bool = False
    reasons: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """All reasons in one line."""
        return "; ".join(self.reasons)

    def with_reasons(self, *further: str) -> "Verdict":
        """The same verdict with these sentences after its own."""
        return Verdict(promote=self.promote, reasons=(*self.reasons, *further))


class Exclusion(Written):
    """One reason why annotations were left out, how often it applied, and the first few places where it did.

    A place holds the ids of a task, an annotation and a region, as far as they are known, and what else tells of it.
    """

    reason: str = ""
    count: int = 0
    examples: tuple[Mapping[str, int | str], ...] = ()


class TrainingSeconds(Written):
    """Seconds that the trainings took, and the rest: measuring, and reading images."""

    training: Figure = None
    evaluating: Figure = None


class EndedAt(Written):
    """How far a training came.

    `decodes` counts prompts of objects; `resumed` counts the kills that it went on after; `kept_step` is the step after
    which the weights were as they are, None where the last average is kept. `mix`: the share of these in what is
    published, the rest being the weights that the training began with; None in checkpoints that know no mixing.
    """

    epochs: int = 0
    steps: int = 0
    decodes: int = 0
    seconds: float = 0.0
    resumed: int = 0
    kept_step: int | None = None
    mix: float | None = None


class Fold(Written):
    """One training of a cross-validation: digests of the images that it held out, and how far it came."""

    held_out: tuple[str, ...] = ()
    ended_at: EndedAt = EndedAt()


class SplitMetrics(Written):
    """Which images taught and which judged. All but the counts are sha256 digests of images' bytes.

    `learnt` holds the images in the weights: those of this training, of what it began with, and of the base.
    `held_out_by_floor` holds those held out only because the digests alone would have held out too few.
    `near_duplicates` are groups of images that stay on one side together.
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
    """The model whose weights the training began with, and a sentence that says why."""

    version: str = Field(default="", validation_alias="from", serialization_alias="from")
    why: str = ""


class TrainingPoint(NamedTuple):
    """Mean losses of the steps up to `step`: `loss` is what was minimised, `mask` and `iou` are its parts."""

    step: int
    loss: Figure
    mask: Figure
    iou: Figure


class Look(Written):
    """A few objects after `step` steps, by kind of prompt: mean loss, and mean IoU on the decoder's grid."""

    step: int = 0
    loss: Mapping[str, Figure] = Field(default_factory=dict)
    iou: Mapping[str, Number] = Field(default_factory=dict)


class CurvesMetrics(Written):
    """How a training went: losses, looks at held-out objects, and looks at those that chose the weights."""

    training: tuple[TrainingPoint, ...] = ()
    held_out: tuple[Look, ...] = ()
    validation: tuple[Look, ...] = ()


class LabelMetrics(Written):
    """The objects of one label: how many, on how many images, of which size by COCO, and their median area in px."""

    objects: int = 0
    images: int = 0
    median_area_px: int = 0
    small: int = 0
    medium: int = 0
    large: int = 0


class LeftOut(Written):
    """Annotations that nothing could be learnt from: the reason, and how many."""

    reason: str = ""
    count: int = 0


class DataMetrics(Written):
    """All usable images and objects, held out or not. `sizes` counts objects as COCO's small, medium and large.

    `empty_images` were submitted without a region. `divided_regions`, which hold several objects as a rule, were learnt
    from as `parts` objects.
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
    """How well a semantic head finds labels without a prompt: by label, and the mean over labels."""

    mean: MaskFigures
    labels: Mapping[str, MaskFigures] = Field(default_factory=dict)


class SemanticMetrics(Written):
    """The semantic head in a checkpoint.

    `is_served` False: it was measured and found too bad to be served. `floor` is the mean IoU that serving takes.
    `held_out` None: none of its labels is drawn on a held-out image.

    Raises:
        BadCheckpoint: not 1 to 100 different labels.
    """

    labels: tuple[str | None, ...]
    is_served: bool = Field(default=False, validation_alias="served", serialization_alias="served")
    floor: Figure = None
    steps: int = 0
    seconds: Figure = None
    held_out: SemanticReport | None = None

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


class CheckpointMetrics(Comparison):
    """All of it. `memory_mib`: the most memory that the training took; `processes`: how many trained together.

    `click_policy`: which of SAM's masks answers one click (backend.sam.policy), as the project's annotations chose.
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

    def to_json(self) -> dict[str, object]:
        """The metrics as JSON, with the version of their form."""
        return {"version": VERSION, **super().to_json()}

    @classmethod
    def from_json(cls, value: object) -> "CheckpointMetrics":
        """Read what `to_json` wrote, now or before the form had a version.

        Raises:
            BadCheckpoint: it is no object, of a later version, or a part of it is of the wrong type.
        """
        version = value.get("version", VERSION) if isinstance(value, Mapping) else VERSION
        if version != VERSION:
            raise BadCheckpoint(
                f"the metrics are of version {str(version)[:20]}, and {VERSION} is what is read here: "
                "upgrade samloop to the version that wrote them"
            )
        try:
            return cls.model_validate(value)
        except ValidationError as fault:
            first = fault.errors(include_url=False)[0]
            place = ".".join(map(str, ("metrics", *first["loc"])))[:200]
            raise BadCheckpoint(f"{place}={str(first['input'])[:80]!r}: {first['msg']}") from fault
