"""Reads regions of any shape from Label Studio's JSON: their shape, label and mask."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from backend.errors import BadInput, UnusableRegion
from backend.labelstudio.controls.shape import Shape, Size, Value
from backend.labelstudio.controls.shapes import shape_of_kind, shape_of_value
from backend.labelstudio.task_data import read_to_name

__all__ = ["Region", "mask_of_region", "region_of", "regions_of"]

_LONGEST_ID = 200
_NOTHING = frozenset({"", "nan", "none", "null"})
_LABELS = "labels"  # the type of a result by which a <Labels> tag labels a region


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One region of an annotation, a prediction or an interactive request.

    Attributes:
        kind: its `type`, such as "brushlabels".
        shape: what it draws; None for a kind that samloop does not know as a drawing.
        json: the region as Label Studio wrote it.
        beside: another result with the same id, which carries the region's label.
    """

    kind: str
    shape: Shape | None
    json: Mapping[str, Any] = field(repr=False)
    beside: "Region | None" = None

    @property
    def value(self) -> Value:
        """Its geometry and labels.

        Raises:
            UnusableRegion: it has none.
        """
        value = self.json.get("value")
        if not isinstance(value, Mapping):
            raise UnusableRegion(f"a {self.kind[:40]} region's value is {type(value).__name__}, not an object")
        return value

    @property
    def region_id(self) -> str | None:
        """Its id, as text; None for an id that is neither a whole number nor text of 1 to 200 characters."""
        region_id = _read_id(self.json)
        return region_id if region_id is not None and len(region_id) <= _LONGEST_ID else None

    @property
    def from_name(self) -> str | None:
        """The name of the control that drew it; None where the region does not say."""
        name = self.json.get("from_name")
        return name if isinstance(name, str) else None

    @property
    def to_name(self) -> str | None:
        """The name of the image tag that it was drawn on; None where the region does not say."""
        return read_to_name(self.json)

    @property
    def label(self) -> str | None:
        """Its first label, its own or that of the result beside it; None if it carries none.

        Raises:
            UnusableRegion: it has no value, or its label is not text.
        """
        labels = self.labels
        if not labels:
            return self.beside.label if self.beside is not None else None
        return labels[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """Its own labels. As in the editor, they may stand under the name of another control's labels.

        Converters write a lone label without a list, and labels that are numbers.

        Raises:
            UnusableRegion: it has no value, or a label is not text.
        """
        value = self.value
        others = (key for key in value if key.lower().endswith(_LABELS))
        given = next(
            (value[key] for key in (self.kind, f"{self.kind}{_LABELS}", _LABELS, *others) if value.get(key)), None
        )
        labels = given if isinstance(given, list) else [given] if isinstance(given, str) else []
        return tuple(_read_label(label) for label in labels if label is not None)

    @property
    def is_foreground(self) -> bool:
        """False if it was drawn with the background tool. Older front ends write "0" and 0 for False."""
        return str(self.json.get("is_positive", True)).lower() not in {"false", "0", "0.0"}

    @property
    def model_version(self) -> str | None:
        """The version in `meta.model_version`. Every region of ours carries it, and none that a person drew."""
        meta = self.json.get("meta")
        version = meta.get("model_version") if isinstance(meta, Mapping) else None
        return version if isinstance(version, str) and version else None

    @property
    def is_from_model(self) -> bool:
        """Whether a model made it, by its `origin` or its `meta.model_version`."""
        return self.model_version is not None or str(self.json.get("origin")).startswith("prediction")

    def mask(self, size: Size, *, rectangles_are_masks: bool = True) -> Bool[np.ndarray, "h w"]:
        """Return its mask over the upright image of `size`. The mask may be empty.

        Raises:
            UnusableRegion: its kind is no mask (a keypoint is a prompt), its values cannot be read, or it was drawn on
                an image of another shape; also on an image of another size, if its values are pixels.
        """
        if not isinstance(self.json.get("value"), Mapping):
            raise UnusableRegion("it has no value")
        if self.shape is not None and self.shape.is_box and not rectangles_are_masks:
            raise UnusableRegion("a rectangle is a box, not a mask")
        if self.shape is None or self.shape.read is None:
            raise UnusableRegion(f"a region of type {self.kind[:40]} is not a mask")
        _check_frame(self.json, size, is_scalable=self.shape.is_scalable)
        try:
            return self.shape.read(self.value, size)
        except UnusableRegion:
            raise
        except BadInput as fault:
            raise UnusableRegion(str(fault)) from fault


def region_of(result: Mapping[str, Any]) -> Region:
    """Return one of Label Studio's results as a region.

    As in the editor, the value says what a region draws, whatever its `type` is: with "Keep label selected" the editor
    saves an accepted mask a second time, under the type of the prompt; and files from converters mix the types up.
    """
    given, value = result.get("type"), result.get("value")
    kind = str(given).lower()  # some converters write a tag's name, such as PolygonLabels
    shape = shape_of_kind(kind)
    if isinstance(value, Mapping) and (shape is not None or given is None or kind == _LABELS):
        shape = shape_of_value(value, named=shape)
    if given is None and shape is not None:
        kind = shape.name
    return Region(kind=kind, shape=shape, json=result)


def regions_of(results: object) -> Iterator[Region]:
    """Yield every region of a `result` once. Items that are not objects are skipped.

    Label Studio may write one region as several results with the same id: the drawing; a `labels` result, if a <Labels>
    tag stands beside the control; the same mask again under a second control. We join them to one region with a label.
    A `labels` result that stands alone is the region itself, as in the editor.
    """
    rows = [row for row in results if isinstance(row, Mapping)] if isinstance(results, list | tuple) else []
    groups: dict[object, list[Region]] = {}
    for number, row in enumerate(rows):
        # A result without an id is a region of its own.
        groups.setdefault(_read_id(row) or number, []).append(region_of(row))
    for group in groups.values():
        drawn = [region for region in group if not _is_beside(region, group)]
        if not any(region.shape is not None for region in drawn):
            drawn += [region for region in group if region.kind == _LABELS and region.shape is not None][:1]
        beside = next((region for region in group if region not in drawn and _is_labelled(region)), None)
        for region in drawn:
            yield replace(region, beside=beside)


def _read_id(result: Mapping[str, Any]) -> str | None:
    """A result's id as text; None for none. Converters write numbers, which the editor takes for text."""
    given = result.get("id")
    if isinstance(given, float) and given.is_integer():
        given = int(given)  # JavaScript's 7.0 is 7
    return str(given) or None if isinstance(given, str | int) else None


def _is_beside(region: Region, group: Sequence[Region]) -> bool:
    """Whether this result only describes another result with its id, and draws nothing itself."""
    if region.kind == _LABELS:
        return True
    is_misnamed = region.shape is not None and region.shape is not shape_of_kind(region.kind)
    return is_misnamed and any(
        other.shape is region.shape and shape_of_kind(other.kind) is other.shape for other in group
    )


def _is_labelled(region: Region) -> bool:
    try:
        return region.label is not None
    except UnusableRegion:
        return False


def mask_of_region(
    region: object, *, height_px: int, width_px: int, rectangles_are_masks: bool = False
) -> Bool[np.ndarray, "{height_px} {width_px}"]:
    """Return the mask of a brush, bitmask, polygon or ellipse region. The mask may be empty.

    Args:
        region: Label Studio's JSON.
        height_px: of the upright image, which is the mask's frame.
        width_px: of the upright image.
        rectangles_are_masks: whether a rectangle's inside counts as a mask.

    Raises:
        UnusableRegion: as `Region.mask` does, and if the region is not an object.
    """
    if not isinstance(region, Mapping):
        raise UnusableRegion("it has no value")
    return region_of(region).mask(Size(height_px, width_px), rectangles_are_masks=rectangles_are_masks)


def _read_label(label: object) -> str:
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label)
    if not isinstance(label, str):
        raise UnusableRegion(f"a region's label is {type(label).__name__}, not text")
    return label


def _read_side(side: object) -> float | None:
    """A side of an image in px; None for none or 0, as of an image that was not read; NaN for what is no number.

    Tables that files pass through write NaN, or its text, for none.
    """
    is_nan = isinstance(side, float) and math.isnan(side)
    if side is None or is_nan or (isinstance(side, str) and side.strip().lower() in _NOTHING):
        return None
    if isinstance(side, bool) or not isinstance(side, int | float | str):
        return math.nan
    try:
        return float(side) or None  # some converters write text
    except (ValueError, OverflowError):
        return math.nan


def _check_frame(region: Mapping[str, Any], size: Size, *, is_scalable: bool) -> None:
    """Refuse a region that was drawn on another image.

    Values in per cent fit the image in any size, but not in another shape, such as that before EXIF rotation. Values in
    pixels fit only the exact size. An unknown size refuses nothing. `image_rotation` says how the annotator had turned
    the view; the values stay in the frame of the unturned image (measured in Label Studio 1.23.2).
    """
    given = region.get("original_width"), region.get("original_height")
    width, height = (_read_side(side) for side in given)
    if width is None or height is None or (width, height) == (size.width_px, size.height_px):
        return
    if is_scalable and 0 < width < math.inf and 0 < height < math.inf:
        # Either size may be the other, scaled and rounded by up to half a pixel a side.
        slack = max(size.width_px + size.height_px, width + height) / 2
        if abs(width * size.height_px - height * size.width_px) <= slack:
            return
    shown = "x".join(str(side)[:12] if isinstance(side, int | float) else type(side).__name__ for side in given)
    raise UnusableRegion(f"it was drawn on {shown} pixels, but the upright image has {size.width_px}x{size.height_px}")
