"""A mask without specks keeps its score and its logits, and a predictor cleans by what was clicked on."""

from collections.abc import Sequence

import numpy as np
import torch

from backend.masks.prompt import Box, Click, Prompt
from backend.sam.cleaning import Cleaned, clean_mask
from backend.sam.predictor import Embedding, PredictedMask

MASK = np.zeros((20, 30), bool)
MASK[5:15, 5:15] = True
SPECKLED = MASK.copy()
SPECKLED[18, 27] = True
ON_SPECK = Click(27.5, 18.5)


def predicted() -> PredictedMask:
    return PredictedMask(mask=SPECKLED, score=0.7, low_res_logits=np.ones((8, 8), np.float32), predicted_iou=0.8)


class Speckling:
    """Answers every prompt with the same mask."""

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> tuple[PredictedMask, ...]:
        return tuple(predicted() for _ in prompts)


def test_specks_go_and_what_the_decoder_said_stays() -> None:
    answer = predicted()
    clean = clean_mask(answer, specks_px=2)
    assert np.array_equal(clean.mask, MASK)
    assert (clean.score, clean.predicted_iou) == (answer.score, answer.predicted_iou)
    assert clean.low_res_logits is answer.low_res_logits
    assert np.array_equal(clean_mask(answer, specks_px=0).mask, SPECKLED)


def test_a_prompt_keeps_the_island_that_it_clicks_on() -> None:
    embedding = Embedding(features=torch.zeros(1, 1, 1, 1), height_px=20, width_px=30)
    prompts = [Prompt(box=Box(5.0, 5.0, 15.0, 15.0)), Prompt(clicks=(ON_SPECK,))]
    by_box, by_click = Cleaned(Speckling(), 2).decode(embedding, prompts)
    assert np.array_equal(by_box.mask, MASK)
    assert np.array_equal(by_click.mask, SPECKLED)
