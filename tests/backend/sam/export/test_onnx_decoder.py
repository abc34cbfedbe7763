"""The graph's decoder computes what the predictor that serves computes, whatever it is asked."""

import numpy as np
import pytest
import torch
from support.pictures import draw_greys

from backend.masks.prompt import Box, Click, Prompt
from backend.sam.embeddings.embedding import Embedding
from backend.sam.export.onnx_decoder import PromptedDecoder
from backend.sam.loading import BaseModel, decoder_of
from backend.sam.predictor import Predictor, encode
from backend.sam.prompts import prompt_tensors

TOLERANCE = 1e-3  # logits, which reach tens; both sides compute in float32, in other orders


@pytest.fixture(scope="module")
def embedding(tiny_base: BaseModel) -> Embedding:
    return encode(tiny_base, draw_greys(96, 60))


@pytest.mark.parametrize(
    ("prompt", "points"),
    [
        (Prompt(clicks=(Click(40.0, 30.0),)), [(40.0, 30.0, 1.0), (0.0, 0.0, -1.0)]),
        (
            Prompt(clicks=(Click(40.0, 30.0), Click(5.0, 5.0, is_foreground=False))),
            [(40.0, 30.0, 1.0), (5.0, 5.0, 0.0), (0.0, 0.0, -1.0)],
        ),
        (Prompt(box=Box(10.0, 8.0, 70.0, 50.0)), [(10.0, 8.0, 2.0), (70.0, 50.0, 3.0)]),
    ],
    ids=["click", "click and background click", "box"],
)
def test_it_gives_the_four_masks_of_the_predictor(
    tiny_base: BaseModel, embedding: Embedding, prompt: Prompt, points: list[tuple[float, float, float]]
) -> None:
    frame = tiny_base.frame
    grid, scale = frame.grid, frame.canvas_px / 96
    asked = torch.tensor(points)[None]
    with torch.inference_mode():
        masks, ious, low_res = PromptedDecoder(tiny_base.model, family=tiny_base.family).eval()(
            embedding.features.float(),
            asked[..., :2] * scale,
            asked[..., 2],
            torch.zeros(1, 1, grid, grid),
            torch.zeros(1),
            torch.tensor([60.0, 96.0]),
        )
        predictor = Predictor(tiny_base, decoder_of(tiny_base, None), version="x")
        expected, predicted = predictor.four_masks(embedding, prompt_tensors([prompt], embedding, frame=frame))
    assert masks.shape == (1, 4, 60, 96)
    assert np.abs(low_res.numpy() - expected.numpy()).max() < TOLERANCE
    assert np.abs(ious.numpy() - predicted.numpy()).max() < TOLERANCE
