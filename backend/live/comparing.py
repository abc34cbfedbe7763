"""Compares a submitted annotation with the masks that it began with.

Ids tell which regions belong together: Label Studio's editor keeps the id of a region that a person changes, and the id
of the suggestion or prediction that a region came from.
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
    """A region that we gave, and the version that drew it. `shown`: it stood on the canvas unasked, as predictions do.

    A suggestion missing from the annotation was perhaps never accepted, so it tells nothing. A missing prediction was
    deleted.
    """

    region: Region
    version: str
    shown: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What became of our masks in one annotation; `unknown` counts masks whose originals we no longer have."""

    masks: tuple[ComparedMask, ...]
    unknown: int


def index_prediction(prediction: payloads.StoredPrediction) -> dict[str, Given]:
    """Return a stored prediction's regions by id; {} for a prediction that is not ours (no `meta.model_version`)."""
    version = str(prediction.get("model_version") or "")[:_LONGEST_NAME]
    return {
        region_id: Given(region=region, version=version, shown=True)
        for region_id, region in _index_regions(prediction.get("result"))
        if region.model_version
    }


def find_version(region: Region) -> str | None:
    """Return the version in `meta.model_version`, which all our regions carry; None for another's region."""
    return region.model_version[:_LONGEST_NAME] if region.model_version else None


def list_region_ids(annotation: payloads.Annotation) -> list[str]:
    """Return the ids of the regions that name a model as their origin."""
    return [region_id for region_id, region in _index_regions(annotation.get("result")) if find_version(region)]


def compare(annotation: payloads.Annotation, given: Mapping[str, Given], *, max_pixels: int) -> Comparison:
    """Compare every mask that we gave with the region that stands in its place.

    Regions that people drew from scratch have no counterpart and do not count.

    Args:
        annotation: Label Studio's annotation, with its `result`.
        given: our regions, by id.
        max_pixels: masks of larger images count as unknown, px.
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
    """Compare two regions; None where either cannot be read as a mask of the same image."""
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
    raise BadInput("a region's original_width and original_height are not an image's size")


def _read_label(region: Region) -> str:
    return (region.label or UNLABELLED)[:_LONGEST_NAME]


def _index_regions(result: object) -> Iterator[tuple[str, Region]]:
    for region in regions_of(result):
        region_id = region.json.get("id")
        if isinstance(region_id, str):
            yield region_id, region
