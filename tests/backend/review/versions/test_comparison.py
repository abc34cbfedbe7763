"""Two models are compared on common objects alone, and a difference that chance explains is called none."""

import numpy as np
import pytest

from backend.masks.packed import KeptMask
from backend.registry.review_file import DrawnMask, ReviewedObject
from backend.review.versions.comparison import Difference, compare, drawings_of


def objects(gains: list[float], *, first: int = 0, images: int = 4) -> list[ReviewedObject]:
    """Objects in turn on so many images; the version is better than the base by a gain an object."""
    return [item(number + first, gain, image=number % images) for number, gain in enumerate(gains)]


def item(number: int, gain: float, *, image: int) -> ReviewedObject:
    mask = KeptMask.of(np.ones((4, 4), bool))

    def drawn(iou: float, over_px: int) -> DrawnMask:
        return DrawnMask(
            iou=iou, boundary_iou=iou, over_px=over_px, under_px=0, score=iou, predicted_iou=iou, mask=mask
        )

    models = {"base": drawn(0.7, 10), "candidate": drawn(0.7 + gain, 10 - round(100 * gain))}
    return ReviewedObject(
        key=f"{number:020x}",
        task_id=number,
        image_uri=None,
        image_sha256=f"{image:064x}",
        label="Cell",
        window=(0, 0, 4, 4),
        human=mask,
        drawn={(prompt, model): mask_of for prompt in ("box", "point") for model, mask_of in models.items()},
    )


def by_title(differences: tuple[Difference, ...]) -> dict[str, Difference]:
    return {difference.title: difference for difference in differences if difference.prompt == "box"}


def test_a_gain_on_every_image_is_better_and_less_beyond_the_edge_is_too() -> None:
    found = objects([0.1, 0.12, 0.09, 0.11])
    comparison = compare(drawings_of(found, model="base"), drawings_of(found))
    assert (comparison.objects, comparison.images) == (4, 4)
    rows = by_title(comparison.differences)
    assert rows["IoU"].mean == pytest.approx(0.105)
    assert rows["IoU"].interval is not None
    assert 0.09 <= rows["IoU"].interval.low < 0.105 < rows["IoU"].interval.high <= 0.12
    assert rows["IoU"].is_better is rows["over, px"].is_better is True
    assert rows["over, px"].mean < 0
    backwards = by_title(compare(drawings_of(found), drawings_of(found, model="base")).differences)
    assert backwards["IoU"].is_better is False, "the base may stand on either side"


@pytest.mark.parametrize("gains", [[0.0, 0.0, 0.0, 0.0], [0.2, -0.2, 0.15, -0.14]])
def test_zero_and_what_chance_explains_are_neither_better_nor_worse(gains: list[float]) -> None:
    found = objects(gains)
    rows = by_title(compare(drawings_of(found, model="base"), drawings_of(found)).differences)
    assert rows["IoU"].is_better is None


def test_only_objects_count_on_which_both_were_measured() -> None:
    comparison = compare(drawings_of(objects([0.5] * 4)), drawings_of(objects([0.1] * 4, first=2)))
    assert comparison.objects == 2
    nothing = compare(drawings_of(objects([0.5])), drawings_of(objects([0.1], first=7)))
    assert (nothing.objects, nothing.images, nothing.differences) == (0, 0, ())


def test_objects_of_one_image_give_no_interval() -> None:
    found = objects([0.1, 0.2, 0.3], images=1)
    row = by_title(compare(drawings_of(found, model="base"), drawings_of(found)).differences)["IoU"]
    assert (row.interval, row.is_better) == (None, None)
