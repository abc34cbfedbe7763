"""Finds the region of a task, drawn or predicted, that a click lies in.

Label Studio's editor sends only the prompts, not the regions that the annotator sees. But its server sends the task
along, with its drafts, annotations and predictions.
"""

from collections.abc import Mapping
from typing import Any

from backend.errors import BadInput
from backend.labelstudio.controls.regions import Region, regions_of
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.prompts.marks import Drawn, draws_a_mask
from backend.labelstudio.values import read_last_change
from backend.masks.prompt import Click

MOST_REGIONS = 256
_MOST_PIXELS = 1 << 30


def existing_under(task: Mapping[str, Any], *, click: Click, label: str | None, size: Size) -> Drawn | None:
    """Return the newest brush, bitmask or polygon region that a click lies in; None if it lies in none.

    The regions are those of the newest draft, which the annotator sees; without a draft, of the newest annotation; else
    of the newest prediction. The search ends after 256 regions, or fewer on a large image. It skips regions that cannot
    be read.

    Args:
        task: Label Studio's JSON.
        click: in image px.
        label: the label that the region must carry; None for any.
        size: of the upright image.
    """
    most = max(1, min(MOST_REGIONS, _MOST_PIXELS // (size.height_px * size.width_px)))
    candidates = [region for region in _standing(task) if draws_a_mask(region) and _is_of(region, label)]
    row, column = min(int(click.y_px), size.height_px - 1), min(int(click.x_px), size.width_px - 1)
    for region in candidates[: -most - 1 : -1]:
        existing = Drawn(region, size)
        try:
            if existing.mask()[row, column]:
                return existing
        except BadInput:
            continue
    return None


def _standing(task: Mapping[str, Any]) -> list[Region]:
    for source in ("drafts", "annotations", "predictions"):
        rows = task.get(source)
        holders = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
        if holders:
            newest = max(holders, key=read_last_change)
            return list(regions_of(newest.get("result")))
    return []


def _is_of(region: Region, label: str | None) -> bool:
    try:
        return region.label == label or label is None
    except BadInput:
        return False
