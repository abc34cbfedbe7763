"""One submitted annotation against the masks that it began with.

Regions are known again by their ids: Label Studio's editor keeps the id of a region that it changes, and that of the
suggestion or the prediction that it came from.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from backend.errors import BadInput
from backend.labelstudio import payloads
from backend.labelstudio.controls.regions import Region, regions_of
from backend.labelstudio.controls.shape import Size
from backend.live.lines import ComparedMask
from backend.masks.metrics import boundary_iou, iou

UNLABELLED = "(none)"
_LONGEST_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A region that we gave, and the version that made it; `shown`: it stood on the canvas unasked, as predictions do.

    Of a suggestion that was never accepted nothing is known; of a prediction that is gone, that it was thrown away.
    """

    region: Region
    version: str
    shown: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What became of our masks in one annotation, and of how many it is not known any more what we had given."""

    masks: tuple[ComparedMask, ...]
    unknown: int


def index_prediction(prediction: payloads.StoredPrediction) -> dict[str, Given]:
    """The regions of a stored prediction, by id; of one that is not ours (no `meta.model_version`), none."""
    version = str(prediction.get("model_version") or "")[:_LONGEST_NAME]
    return {
        region_id: Given(region=region, version=version, shown=True)
        for region_id, region in _index_regions(prediction.get("result"))
        if region.model_version
    }


def find_version(region: Region) -> str | None:
    """The version in `meta.model_version`, which every region of ours carries."""
    return region.model_version[:_LONGEST_NAME] if region.model_version else None


def list_region_ids(annotation: payloads.Annotation) -> list[str]:
    """The ids of the regions that say that a model made them."""
    return [region_id for region_id, region in _index_regions(annotation.get("result")) if find_version(region)]


def compare(annotation: payloads.Annotation, given: Mapping[str, Given], *, max_pixels: int) -> Comparison:
    """Compare every mask that we gave with what stands in its place.

    What people drew by themselves has nothing to be compared with, and does not count.

    Args:
        annotation: Label Studio's, with its `result`.
        given: our regions, by id.
        max_pixels: masks of larger images count as unknown.
    """
    submitted = dict(_index_regions(annotation.get("result")))
    pairs = [(region, submitted.get(region_id)) for region_id, region in given.items()]
    masks = [
        _compare_pair(ours, theirs, max_pixels=max_pixels) for ours, theirs in pairs if theirs is not None or ours.shown
    ]
    foreign = sum(
        region_id not in given and find_version(region) is not None for region_id, region in submitted.items()
    )
    return Comparison(
        masks=tuple(mask for mask in masks if mask is not None),
        unknown=foreign + masks.count(None),
    )


def _compare_pair(given: Given, submitted: Region | None, *, max_pixels: int) -> ComparedMask | None:
    """None where one of the two cannot be read as a mask of the same image."""
    try:
        label = _read_label(given.region)
        if submitted is None:
            return ComparedMask(version=given.version, label=label, iou=0.0, boundary_iou=0.0, untouched=False)
        height_px, width_px = _read_size(given.region, max_pixels=max_pixels)
        size = Size(height_px, width_px)
        ours, theirs = given.region.mask(size), submitted.mask(size)
        submitted_label = _read_label(submitted)
        return ComparedMask(
            version=given.version,
            label=submitted_label,
            iou=iou(ours, theirs),
            boundary_iou=boundary_iou(ours, theirs),
            untouched=bool((ours == theirs).all()) and submitted_label == label,
        )
    except BadInput:
        return None


def _read_size(region: Region, *, max_pixels: int) -> tuple[int, int]:
    sides = region.json.get("original_height"), region.json.get("original_width")
    match sides:
        case (int(height_px), int(width_px)) if min(sides) > 0 and height_px * width_px <= max_pixels:
            return height_px, width_px
    raise BadInput("a region's original_width and original_height are no image's")


def _read_label(region: Region) -> str:
    return (region.label or UNLABELLED)[:_LONGEST_NAME]


def _index_regions(result: object) -> Iterator[tuple[str, Region]]:
    for region in regions_of(result):
        region_id = region.json.get("id")
        if isinstance(region_id, str):
            yield region_id, region
