"""The notebook's way is what it is compared as: the decoder alone moves, and its loss falls."""

from pathlib import Path

import numpy as np
import torch
from benchmarks.notebook import Lesson, Notebook, _dice_ce
from transformers import SamModel

from finetuner.data.objects import LabelledMask


def test_the_notebooks_loop_moves_the_decoder_alone_and_knows_its_lesson_better(tiny_sam_dir: Path) -> None:
    model = SamModel.from_pretrained(tiny_sam_dir)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    mask = np.zeros((64, 96), bool)
    mask[20:40, 30:60] = True
    loop = Notebook(model, [Lesson(torch.zeros(1, 3, 1024, 1024), LabelledMask.of(mask, label=None))])
    box = torch.tensor([[[30.0, 20.0, 60.0, 40.0]]]) * 1024 / 96
    target = torch.nn.functional.interpolate(torch.from_numpy(mask).float()[None, None], size=(171, 256))[0, 0]

    def loss() -> float:
        with torch.no_grad():
            found = model(pixel_values=torch.zeros(1, 3, 1024, 1024), input_boxes=box, multimask_output=False)
        return float(_dice_ce(found.pred_masks[0, 0, 0, :171], target))

    first = loss()
    assert all(loop.epoch() > 0 for _ in range(3))
    assert loss() < first
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("mask_decoder.") for name in moved)


def test_its_loss_is_dice_plus_cross_entropy() -> None:
    sure = torch.tensor([[40.0, -40.0]])
    right, wrong = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert float(_dice_ce(sure, right)) < 1e-4
    assert abs(float(_dice_ce(sure, wrong)) - 41) < 1e-3  # dice 1, cross-entropy 40
