"""How masks became better from version to version: on the same objects, or not at all."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from backend.charts.chart import Chart, Series, draw_chart
from backend.ids import VersionName, shorten_version
from backend.registry.checkpoint import Manifest
from backend.registry.review_file import PROMPTS, ReviewedObject
from backend.review.versions.comparison import resample_images

_NEWEST = 12  # versions that are looked through: a few MB a version
_LEAST_IMAGES = 2  # fewer give no interval

Objects = Callable[[str], Sequence[ReviewedObject]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """The Boundary IoU of versions on the objects that all of them were measured on.

    Attributes:
        chart: by the versions' numbers, with 95 % intervals over images.
        objects, images: what all of them were measured on.
        left_out: short names of versions that were measured on too few of these images.
    """

    chart: Chart
    objects: int
    images: int
    left_out: tuple[str, ...]


def follow_trend(manifests: Sequence[Manifest], *, objects: Objects) -> Trend | None:
    """Chart the newest twelve versions; None where none kept its masks.

    The newest version says which images count. An older version joins if at least half of the images that count so
    far were held out from it too; from then on only those count.

    Args:
        manifests: the oldest first.
        objects: the held-out objects of a version; none of a version that kept no masks.
    """
    joined: list[tuple[str, dict[str, ReviewedObject]]] = []
    left_out: list[str] = []
    keys: set[str] = set()
    for manifest in reversed(manifests[-_NEWEST:]):
        held_out = {item.key: item for item in objects(manifest.version)}
        shared = keys & held_out.keys() if joined else held_out.keys()
        before = _count_images(held_out[key] for key in shared), _count_images(joined[0][1][key] for key in keys)
        if shared and (not joined or before[0] >= max(_LEAST_IMAGES, before[1] / 2)):
            joined.append((manifest.version, held_out))
            keys = set(shared)
        else:
            left_out.append(shorten_version(manifest.version))
    if not joined:
        return None
    common = sorted(keys)
    title = "Boundary IoU of the same held-out objects, by version"
    chart = draw_chart(title, list(_draw_series(joined[::-1], common)), x_label="version", has_whole_x=True)
    if chart is None:
        return None
    images = _count_images(joined[0][1][key] for key in common)
    return Trend(chart=chart, objects=len(common), images=images, left_out=tuple(left_out[::-1]))


def _draw_series(joined: Sequence[tuple[str, dict[str, ReviewedObject]]], keys: Sequence[str]) -> Iterator[Series]:
    first = joined[0][1]
    images = np.unique([first[key].image_sha256 for key in keys], return_inverse=True)[1]
    for prompt in PROMPTS:
        for model, name in (("candidate", "trained"), ("base", "base model")):
            points, intervals = [], []
            for version, held_out in joined:
                number = float(VersionName.parse(version).number)
                values = np.array([held_out[key].drawn[prompt, model].boundary_iou for key in keys], float)
                points.append((number, float(values.mean())))
                interval = resample_images(values, images)
                if interval is not None and model == "candidate":
                    intervals.append((number, interval.low, interval.high))
            yield Series(
                name=f"{'box' if prompt == 'box' else 'one click'}, {name}",
                style=f"{prompt} {model}",
                has_dots=True,
                points=tuple(points),
                intervals=tuple(intervals),
            )


def _count_images(items: "Iterator[ReviewedObject]") -> int:
    return len({item.image_sha256 for item in items})
