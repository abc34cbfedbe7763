"""Which annotations are probably wrong."""

from dataclasses import replace

import pytest
from support.review_objects import review_object

from backend.registry.review_file import LabelGuess, ReviewedObject
from backend.review.masks.suspicion import Doubt, doubt_annotation


def _judged(*, box: tuple[float, float], click: tuple[float, float]) -> ReviewedObject:
    """An object; of either prompt the IoU that the model expects, and the IoU that was measured."""
    item = review_object("a", base=0.5, candidate=0.5)
    drawn = dict(item.drawn)
    for prompt, (expected, measured) in (("box", box), ("point", click)):
        drawn[prompt, "candidate"] = replace(drawn[prompt, "candidate"], predicted_iou=expected, iou=measured)
    return replace(item, drawn=drawn)


@pytest.mark.parametrize(
    ("box", "click", "doubt"),
    [
        ((0.9, 0.9), (0.9, 0.9), None),
        ((0.91, 0.91), (0.8, 0.2), None),  # a click that found another object: the box agrees with the annotator
        ((0.9, 0.6), (0.9, 0.9), ("box", 0.3)),
        ((0.75, 0.7), (0.88, 0.4), ("point", 0.48)),  # half an object: its box leads to half a mask, a click does not
        ((0.75, 0.7), (0.84, 0.4), None),  # the click's mask is hardly believed more than the box's
        ((0.8, 0.6), (0.9, 0.7), None),
        ((0.75, 0.5), (0.9, 0.5), ("point", 0.4)),
    ],
)
def test_an_annotation_is_doubted_where_a_believed_mask_is_far_from_it(
    box: tuple[float, float], click: tuple[float, float], doubt: tuple[str, float] | None
) -> None:
    found = doubt_annotation(_judged(box=box, click=click))
    expected = doubt and Doubt(prompt=doubt[0], by=pytest.approx(doubt[1]))  # type: ignore[arg-type]
    assert found == expected


@pytest.mark.parametrize(
    ("lead", "doubt"),
    [
        (0.85, Doubt(prompt="box", by=0.85, looks_like="Brick")),
        (0.75, None),
        (-0.9, None),
    ],
)
def test_a_label_is_doubted_where_another_is_far_more_probable(lead: float, doubt: Doubt | None) -> None:
    item = _judged(box=(0.9, 0.9), click=(0.9, 0.9))
    assert doubt_annotation(replace(item, guess=LabelGuess(label="Brick", lead=lead))) == doubt


def test_a_wrong_label_is_told_before_a_wrong_mask() -> None:
    item = replace(_judged(box=(0.9, 0.3), click=(0.9, 0.9)), guess=LabelGuess(label="Brick", lead=0.85))
    doubt = doubt_annotation(item)
    assert doubt is not None
    assert doubt.looks_like == "Brick"
