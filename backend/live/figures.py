"""How much people changed a version's masks: sums that grow and shrink, and the means that pages show."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from backend.live.lines import ComparedMask

_SMOOTHING = 0.1  # of the moving mean: the last ten annotations carry two thirds of the weight
_RECENT = 100  # annotations in the moving mean; older ones would weigh less than 1 in 30,000
_MOST_LABELS = 200
_OTHER = "(other)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Means over `n` masks: IoU and Boundary IoU in [0, 1], and the share submitted unchanged, in [0, 1]."""

    n: int
    iou: float
    boundary_iou: float
    untouched: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFigures(Means):
    """Means over the masks that people received from a version.

    `annotations` counts the annotations that began with them, and `lead_time_s` is their mean lead time (None: Label
    Studio sent none). `boundary_iou_ema` is the moving mean over the latest annotations. `labels` has the same means by
    label.
    """

    annotations: int
    lead_time_s: float | None
    boundary_iou_ema: float
    labels: dict[str, Means]


@dataclass(slots=True)
class _Sums:
    n: int = 0
    iou: float = 0.0
    boundary_iou: float = 0.0
    untouched: int = 0

    def add(self, mask: ComparedMask, *, sign: int) -> None:
        self.n += sign
        self.iou += sign * mask.iou
        self.boundary_iou += sign * mask.boundary_iou
        self.untouched += sign * mask.untouched

    def means(self) -> Means:
        return Means(
            n=self.n,
            iou=round(self.iou / self.n, 6),
            boundary_iou=round(self.boundary_iou / self.n, 6),
            untouched=round(self.untouched / self.n, 6),
        )


@dataclass(slots=True)
class VersionSums:
    """The sums behind a version's figures. `sign` -1 takes out masks that no longer count."""

    masks: _Sums = field(default_factory=_Sums)
    _labels: dict[str, _Sums] = field(default_factory=dict)
    _annotations: int = 0
    _lead_s: float = 0.0
    _leads: int = 0
    _recent: OrderedDict[int, float] = field(default_factory=OrderedDict)

    def count(self, annotation_id: int, masks: Iterable[ComparedMask], *, lead_s: float | None, sign: int) -> None:
        """Add the masks of one annotation (`sign` 1) or take them out (-1)."""
        edges = []
        for mask in masks:
            for sums in (self.masks, self._sums_of(mask.label)):
                sums.add(mask, sign=sign)
            edges.append(mask.boundary_iou)
        self._annotations += sign
        if lead_s is not None:
            self._lead_s += sign * lead_s
            self._leads += sign
        self._recent.pop(annotation_id, None)
        if sign > 0:
            self._recent[annotation_id] = sum(edges) / len(edges)
            while len(self._recent) > _RECENT:
                self._recent.popitem(last=False)

    def figures(self) -> VersionFigures:
        """Return the means. There must be at least one mask."""
        means = self.masks.means()
        return VersionFigures(
            n=means.n,
            iou=means.iou,
            boundary_iou=means.boundary_iou,
            untouched=means.untouched,
            annotations=self._annotations,
            lead_time_s=round(self._lead_s / self._leads, 3) if self._leads else None,
            boundary_iou_ema=self._moving_mean(),
            labels={label: sums.means() for label, sums in sorted(self._labels.items()) if sums.n},
        )

    def _sums_of(self, label: str) -> _Sums:
        # Memory must not grow with the labels that a client makes up.
        is_known = label in self._labels or len(self._labels) < _MOST_LABELS
        return self._labels.setdefault(label if is_known else _OTHER, _Sums())

    def _moving_mean(self) -> float:
        values = iter(self._recent.values())
        mean = next(values, 0.0)
        for value in values:
            mean += _SMOOTHING * (value - mean)
        return round(mean, 6)
