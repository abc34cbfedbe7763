"""The trend over versions: on the same objects, or not at all."""

import pytest
from support.checkpoints import make_manifest
from support.review_objects import draw_square, review_object

from backend.registry.checkpoint import Manifest
from backend.registry.review_file import ReviewedObject
from backend.review.versions.trend import Trend, follow_trend


def _held_out(images: str, *, iou: float) -> list[ReviewedObject]:
    """An object an image; images are named by letters."""
    return [
        review_object(name, base=0.5, candidate=iou + place / 100, image_sha256=name * 64)
        for place, name in enumerate(images)
    ]


def _follow(*versions: list[ReviewedObject]) -> Trend | None:
    kept = {f"tiny-p1-v{number}-0a1b2c": objects for number, objects in enumerate(versions, start=1)}
    return follow_trend([_manifest(name) for name in kept], objects=lambda version: kept[version])


def _manifest(name: str) -> Manifest:
    return make_manifest(version=name, project_id=1, base_fingerprint="0" * 64)


def test_versions_are_compared_on_the_images_that_were_held_out_from_all_of_them() -> None:
    trend = _follow(_held_out("abc", iou=0.6), _held_out("abcd", iou=0.7))
    assert trend is not None
    assert (trend.objects, trend.images, trend.left_out) == (3, 3, ())
    box, base, *_ = trend.chart.lines
    assert [len(line.dots) for line in trend.chart.lines] == [2, 2, 2, 2]
    assert box.dots[1].y < box.dots[0].y, "better is higher"
    assert base.dots[1].y == pytest.approx(base.dots[0].y), "the base on the same objects is the same"
    assert (box.whiskers.count("M"), base.whiskers) == (2, "")


def test_a_version_that_was_measured_on_other_images_is_left_out_and_named() -> None:
    trend = _follow(_held_out("xy", iou=0.9), _held_out("abcx", iou=0.6), _held_out("abc", iou=0.7))
    assert trend is not None
    assert (trend.images, trend.left_out) == (3, ("v1-0a1b2c",))
    assert [len(line.dots) for line in trend.chart.lines] == [2, 2, 2, 2]


def test_a_single_image_gives_no_interval() -> None:
    trend = _follow(_held_out("a", iou=0.7))
    assert trend is not None
    assert {line.whiskers for line in trend.chart.lines} == {""}


def test_versions_without_masks_have_no_trend() -> None:
    assert _follow([], []) is None
    assert _follow() is None


def test_the_same_object_may_lie_elsewhere_without_being_the_same() -> None:
    moved = [review_object("z", base=0.5, candidate=0.5, human_mask=draw_square(0, 0, 9), image_sha256="a" * 64)]
    trend = _follow(_held_out("ab", iou=0.6), moved)
    assert trend is not None
    assert (trend.objects, trend.left_out) == (1, ("v1-0a1b2c",))
