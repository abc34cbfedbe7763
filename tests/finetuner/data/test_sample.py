"""A sample in a view shows what is left of its objects, and never nothing."""

import numpy as np

from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.data.views import View


def test_a_window_that_shows_no_object_is_not_looked_through() -> None:
    mask = np.zeros((20, 20), bool)
    mask[18:, 18:] = True
    sample = Sample(image_sha256="0" * 64, height_px=20, width_px=20, objects=(LabelledMask.of(mask, label=None),))
    assert sample.viewed(View(quarter_turns=2, extent=0.8)).view.extent == 0.8
    assert sample.viewed(View(is_mirrored=True, extent=0.8)).view == View(is_mirrored=True)


def test_a_view_from_the_side_swaps_height_and_width_and_keeps_where_it_came_from() -> None:
    mask = np.zeros((20, 30), bool)
    mask[2:6, 3:9] = True
    item = LabelledMask.of(mask, label="Disc")
    sample = Sample(image_sha256="0" * 64, height_px=20, width_px=30, objects=(item,), task_id=7)
    seen = sample.viewed(View(quarter_turns=1))
    assert (seen.height_px, seen.width_px, seen.task_id) == (30, 20, 7)
    assert seen.objects[0].area_px == item.area_px
    assert seen.objects[0].label == "Disc"
