"""A semantic head is compared with what answers batches now: another head, or an empty answer."""

import pytest

from finetuner.semantic.judging import EMPTY_ANSWER, HeadVerdict, judge_head
from finetuner.semantic.measuring import LabelOnImage

IMAGES = frozenset({"a", "b", "c"})


def found(
    image: str, *, both: int, over: int = 0, under: int = 0, label: str = "Disc", boundary: float = 0.8
) -> LabelOnImage:
    return LabelOnImage(
        image_sha256=image,
        label=label,
        both_px=both,
        over_px=over,
        under_px=under,
        boundary_iou=boundary,
        hd95_px=1.0,
    )


def judge(
    head: list[LabelOnImage], served: list[LabelOnImage] | None, *, images: frozenset[str] = IMAGES
) -> HeadVerdict:
    return judge_head(head, served, served_name="v1", images=images, rounds=200)


def test_over_an_empty_answer_whatever_is_found_is_a_gain() -> None:
    verdict = judge([found(image, both=90, over=10) for image in "abc"], None)
    assert verdict.against == EMPTY_ANSWER
    assert verdict.differences["iou"] == pytest.approx((0.9, 0.9, 0.9))
    assert verdict.differences["boundary_iou"] == pytest.approx((0.8, 0.8, 0.8))
    assert (verdict.is_gain, verdict.is_worse) == (True, False)
    assert "against an empty answer, which answers batches now: IoU +0.900 [+0.900, +0.900]" in verdict.sentence


def test_where_people_drew_nothing_an_empty_answer_is_right_and_flooding_is_worse() -> None:
    flooding = [found(image, both=0, over=500, boundary=0.0) for image in "bc"]
    verdict = judge([found("a", both=90), *flooding], None)
    assert verdict.differences["iou"].mean == pytest.approx((1 - 1 - 1) / 3)
    assert (verdict.is_gain, verdict.is_worse) == (False, True)
    assert judge([found("a", both=90)], None).differences["iou"].mean == pytest.approx(1 / 3), "silent on b and c"


def test_the_same_head_is_neither_a_gain_nor_worse() -> None:
    head = [found(image, both=70, under=30) for image in "abc"]
    verdict = judge(head, head)
    assert verdict.against == "v1's head"
    assert verdict.differences["iou"] == (0, 0, 0)
    assert (verdict.is_gain, verdict.is_worse) == (False, False)


def test_a_label_that_the_served_head_does_not_know_counts_as_missed() -> None:
    old = [found(image, both=80) for image in "abc"]
    new = [*old, *(found(image, both=60, under=40, label="Ring", boundary=0.6) for image in "abc")]
    verdict = judge(new, old)
    assert verdict.differences["iou"].mean == pytest.approx((1 + 0.6) / 2 - 1 / 2)
    assert verdict.is_gain
    assert judge(old, new).is_worse


def test_a_better_iou_with_worse_edges_is_no_gain() -> None:
    old = [found(image, both=80, under=20, boundary=0.8) for image in "abc"]
    new = [found(image, both=95, under=5, boundary=0.7) for image in "abc"]
    verdict = judge(new, old)
    assert verdict.differences["iou"].mean > 0 > verdict.differences["boundary_iou"].mean
    assert (verdict.is_gain, verdict.is_worse) == (False, True)


def test_one_image_in_three_with_a_gain_is_not_certain() -> None:
    old = [found(image, both=80, under=20) for image in "abc"]
    new = [found("a", both=95, under=5, boundary=0.9), *old[1:]]
    verdict = judge(new, old)
    assert verdict.differences["iou"].mean > 0
    assert not verdict.is_gain
