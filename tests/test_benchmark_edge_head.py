"""The edge head's bench compares it with masks as they are served, and learns where they are uncertain."""

from typing import Any

import numpy as np
import torch
from benchmarks.edge_head import DRAWN, EARLY, Answer, EdgeHead, lose_on_points, mask_of, sharpen, table

from backend.sam.canvas import mask_of_logits
from backend.sam.frame import SAM_FRAME
from finetuner.data.objects import LabelledMask


def _answer() -> Answer:
    mask = np.zeros((90, 120), bool)
    mask[20:60, 30:80] = True
    generator = torch.Generator().manual_seed(0)
    rows, columns = (torch.linspace(-1, 1, SAM_FRAME.grid) for _ in range(2))
    return Answer(
        item=LabelledMask.of(mask, label=None),
        prompt="box",
        logits=3 - 20 * (rows[:, None].square() + columns.square()),
        drawn=torch.randn(DRAWN, SAM_FRAME.grid, SAM_FRAME.grid, generator=generator),
        early=torch.randn(EARLY, SAM_FRAME.grid, SAM_FRAME.grid, generator=generator),
    )


def test_masks_without_the_head_and_by_an_untrained_head_are_those_that_are_served() -> None:
    answer = _answer()
    served = mask_of_logits(answer.logits, frame=SAM_FRAME, height_px=90, width_px=120)
    assert served.any()
    assert not served.all()
    np.testing.assert_array_equal(mask_of(answer.logits, item=answer.item), served)
    np.testing.assert_array_equal(mask_of(answer.logits, sharpen(EdgeHead(), answer), item=answer.item), served)


def test_a_head_changes_only_uncertain_cells_around_the_answer() -> None:
    answer, head = _answer(), EdgeHead()
    torch.nn.init.constant_(head.last.bias, 1.0)
    change = sharpen(head, answer)
    finer = torch.nn.functional.interpolate(answer.logits[None, None], scale_factor=2, mode="bilinear")[0, 0]
    assert float(change[finer.abs() < 0.5].min()) > 0.9
    assert float(change[finer.abs() > 12].abs().max()) < 0.01


def test_the_loss_falls_with_the_error_at_the_edge() -> None:
    truth = torch.zeros(1, 1, 192, 192)
    truth[..., :96] = 1
    across = torch.arange(96).float()[None, None, None].expand(1, 1, 96, 96)
    torch.manual_seed(0)
    near, far = (float(lose_on_points(edge - across, truth, extent=torch.tensor([[48, 48]]))) for edge in (47.5, 40.0))
    assert near < far / 2


def test_the_table_has_the_difference_that_the_head_makes_and_what_a_grid_allows() -> None:
    rows: list[dict[str, Any]] = [
        {"image": image, "prompt": prompt, "none": [0.5, 0.4], "head": [0.5, 0.42], "grid": [1.0, 0.97]}
        for image in ("a", "b")
        for prompt in ("point", "box")
    ]
    text = table([{"set": "nuclei", "rows": rows, "decodes": 0, "commit": "abc1234"}])
    row = text.splitlines()[2]
    assert row.startswith("| nuclei | 2, 2 | the base's | 0.500 (+0.000 [+0.000, +0.000]) |")
    assert row.count("0.400 (+0.020 [+0.020, +0.020])") == 2
    assert row.endswith("| 0.970 |")
