"""What each cell of an image is, for the head to learn."""

import numpy as np
import pytest

from backend.sam.frame import SAM_FRAME
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.semantic.targets import class_weights, classes_of, labels_of, target_of


def square(y0: int, x0: int, side: int, label: str | None) -> LabelledMask:
    mask = np.zeros((256, 256), bool)
    mask[y0 : y0 + side, x0 : x0 + side] = True
    return LabelledMask.of(mask, label=label)


def sample(*objects: LabelledMask) -> Sample:
    return Sample(image_sha256="0" * 64, height_px=256, width_px=256, objects=objects)


def test_a_cell_is_the_label_that_covers_it_and_ground_where_nobody_drew() -> None:
    target = target_of(sample(square(10, 10, 20, "a"), square(100, 100, 8, "b")), labels=("a", "b"), frame=SAM_FRAME)
    assert target.shares.shape == (3, 256, 256)
    assert np.allclose(target.shares.sum(0), 1)
    assert target.shares[:, 15, 15].tolist() == [0, 1, 0]
    assert target.shares[:, 103, 103].tolist() == [0, 0, 1]
    assert target.shares[:, 200, 200].tolist() == [1, 0, 0]
    assert target.known.all()


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_labels_on_a_pixel_the_smaller_object_wins_in_whatever_order_they_were_drawn(turned: bool) -> None:
    drawn = [square(0, 0, 100, "large"), square(40, 40, 10, "small")]
    both = sample(*(reversed(drawn) if turned else drawn))
    target = target_of(both, labels=("large", "small"), frame=SAM_FRAME)
    classes = classes_of(both, labels=("large", "small"))
    assert target.shares[:, 45, 45].tolist() == [0, 0, 1]
    assert (classes[45, 45], classes[5, 5], classes[200, 200]) == (2, 1, 0)


def test_an_edge_cell_is_shared_as_far_as_the_object_covers_it() -> None:
    fine = np.zeros((512, 512), bool)
    fine[:101, :200] = True  # half of the cells of row 50, two pixels a cell
    target = target_of(
        Sample(image_sha256="0", height_px=512, width_px=512, objects=(LabelledMask.of(fine, label="a"),)),
        labels=("a",),
        frame=SAM_FRAME,
    )
    assert target.shares[:, 50, 30].tolist() == [0.5, 0.5]


def test_an_object_without_a_label_beside_labelled_ones_is_neither_ground_nor_a_class() -> None:
    mixed = sample(square(0, 0, 20, "a"), square(100, 100, 20, None))
    assert labels_of([mixed]) == ("a",)
    target = target_of(mixed, labels=("a",), frame=SAM_FRAME)
    assert not target.known[105, 105]
    assert target.known[5, 5]
    assert target.known[200, 200]
    assert classes_of(mixed, labels=("a",))[105, 105] == -1


def test_objects_none_of_which_has_a_label_are_one_class() -> None:
    bare = sample(square(0, 0, 20, None))
    assert labels_of([bare]) == (None,)
    assert target_of(bare, labels=(None,), frame=SAM_FRAME).shares[1, 5, 5] == 1


def test_of_over_a_hundred_labels_the_most_frequent_count() -> None:
    many = sample(
        *(square(0, 2 * n, 2, f"label {n:03}") for n in range(105)), *(square(50, 2 * n, 2, "often") for n in range(3))
    )
    assert len(labels_of([many])) == 100
    assert "often" in labels_of([many])


def test_where_images_are_not_annotated_in_full_only_a_band_around_objects_is_known_ground() -> None:
    target = target_of(sample(square(100, 100, 20, "a")), labels=("a",), unlabelled="unknown", frame=SAM_FRAME)
    assert target.known[110, 110]
    assert target.known[97, 110]
    assert not target.known[60, 110]


def test_rare_labels_weigh_more_and_never_over_the_bound() -> None:
    target = target_of(
        sample(square(0, 0, 120, "common"), square(200, 200, 2, "rare")), labels=("common", "rare"), frame=SAM_FRAME
    )
    ground, common, rare = class_weights([target], most=5.0)
    assert ground == common == 1
    assert rare == 5
