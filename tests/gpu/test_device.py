"""On a GPU a click gives the masks that it gives on a processor; skipped where there is none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from support.small_base import VITS
from transformers import SamConfig, SamModel

from backend.masks.metrics import iou
from backend.masks.prompt import Box, Click, Prompt
from backend.sam.loading import BaseModel, decoder_of, load_base
from backend.sam.predictor import Predictor, encode

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

COFFEE = Image.fromarray(data.coffee())
PROMPTS = [
    *(Prompt(clicks=(Click(40.0 + 35 * i, 60.0 + 20 * i),)) for i in range(14)),
    *(Prompt(box=Box(60.0 + 20 * i, 40.0 + 10 * i, 260.0 + 20 * i, 240.0 + 10 * i)) for i in range(14)),
]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[BaseModel, BaseModel]:
    """ViT-B with random weights, on the processor and on the GPU, both in float32."""
    torch.manual_seed(0)
    folder: Path = tmp_path_factory.mktemp("base")
    SamModel(SamConfig(vision_config=dict(VITS["base"]))).save_pretrained(folder)
    on_cpu, on_gpu = (load_base(str(folder), cache_dir=folder, device=d, dtype="float32") for d in ("cpu", "cuda"))
    return on_cpu, on_gpu


def test_masks_are_those_of_the_processor(bases: tuple[BaseModel, BaseModel]) -> None:
    expected, ours = (
        Predictor(base, decoder_of(base, None), version="base").decode(encode(base, COFFEE), PROMPTS) for base in bases
    )

    ious = [iou(one.mask, other.mask) for one, other in zip(expected, ours, strict=True)]
    assert np.mean(ious) >= 0.995
    assert [mask.score for mask in ours] == pytest.approx([mask.score for mask in expected], abs=0.02)


def test_what_a_prompt_gets_does_not_depend_on_its_company(bases: tuple[BaseModel, BaseModel]) -> None:
    _, base = bases
    predictor, seen = Predictor(base, decoder_of(base, None), version="base"), encode(base, COFFEE)

    together = predictor.decode(seen, PROMPTS)

    for prompt, mask in zip(PROMPTS[::7], together[::7], strict=True):
        (alone,) = predictor.decode(seen, (prompt,))
        assert iou(alone.mask, mask.mask) >= 0.999


def test_an_embedding_from_the_cache_gives_the_same_masks(bases: tuple[BaseModel, BaseModel]) -> None:
    _, base = bases
    predictor, seen = Predictor(base, decoder_of(base, None), version="base"), encode(base, COFFEE)
    cached = replace(seen, features=seen.features.half().cpu())

    for one, other in zip(predictor.decode(seen, PROMPTS), predictor.decode(cached, PROMPTS), strict=True):
        assert iou(one.mask, other.mask) >= 0.98
