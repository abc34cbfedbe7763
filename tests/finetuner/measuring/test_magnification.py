"""Whether a project's prompts are answered in tiles, by what the base gains in them on the project's own objects."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from backend.masks.crop import Tile
from backend.masks.prompt import Prompt
from backend.sam.closer.tiles import COARSE, FINE
from backend.sam.embeddings.embedding import Embedding
from backend.sam.loading import BaseModel, decoder_of
from backend.sam.predictor import PredictedMask, Predictor, encode
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.measuring import magnification
from finetuner.measuring.magnification import choose_magnification

SIDE_PX = 128
NOTHING = Embedding(features=torch.zeros(1, 8, 4, 4), height_px=SIDE_PX, width_px=SIDE_PX)


def dotted(name: str, *, length_px: int) -> Sample:
    """An image with a square object of this length."""
    mask = np.zeros((SIDE_PX, SIDE_PX), np.bool_)
    mask[20 : 20 + length_px, 30 : 30 + length_px] = True
    objects = (LabelledMask.of(mask, label="Dot"),)
    return Sample(image_sha256=name, height_px=SIDE_PX, width_px=SIDE_PX, objects=objects)


@pytest.fixture(scope="module")
def plain(tiny_base: BaseModel) -> Predictor:
    return Predictor(tiny_base, decoder_of(tiny_base, None), version="tiny")


def embed_nothing(sample: Sample) -> Embedding:
    pytest.fail(f"{sample.image_sha256} was embedded")


@pytest.mark.parametrize(
    "samples",
    [
        [dotted("a", length_px=40), dotted("b", length_px=11)],
        [dotted("a", length_px=8)],
        [dotted("a", length_px=8), dotted("b", length_px=8), *(dotted(f"c{n}", length_px=40) for n in range(7))],
    ],
    ids=["large objects", "one image", "few small objects"],
)
def test_large_objects_and_a_lone_image_keep_the_whole_image_without_an_encoding(
    plain: Predictor, samples: list[Sample]
) -> None:
    assert choose_magnification(plain, samples, embedding=embed_nothing) is None


@pytest.mark.parametrize(("gain", "chosen"), [(0.01, FINE), (0.0, None), (-0.01, None)])
def test_tiles_are_chosen_for_a_gain(
    plain: Predictor, gain: float, chosen: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [dotted(name, length_px=8) for name in "ab"]
    monkeypatch.setattr(magnification, "_gain", lambda *_, **__: gain)
    assert choose_magnification(plain, samples, embedding=lambda _: NOTHING) == chosen


def test_clicks_and_boxes_are_decoded_in_the_image_and_in_its_tiles(
    plain: Predictor, tiny_base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[float | None, int]] = []
    tiles: list[Tile] = []

    def decode(self: Predictor, embedding: Embedding, prompts: Sequence[Prompt]) -> tuple[PredictedMask, ...]:
        asked.append((self.magnification, len(prompts)))
        return original(self, embedding, prompts)

    original = Predictor.decode
    monkeypatch.setattr(Predictor, "decode", decode)
    features = np.random.default_rng(0)

    def embed(sample: Sample) -> Embedding:
        whole = _noise(tiny_base, features)
        return replace(whole, encode_tile=lambda tile: _cut_to(tile, whole, tiles))

    choose_magnification(plain, [dotted(name, length_px=8) for name in "ab"], embedding=embed)
    assert asked == [(FINE, 2), (None, 2)] * 2
    assert {tile.magnification for tile in tiles} <= {COARSE, FINE}
    assert COARSE in {tile.magnification for tile in tiles}


def _noise(base: BaseModel, rng: np.random.Generator) -> Embedding:
    return encode(base, Image.fromarray(rng.integers(0, 255, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)))


def _cut_to(tile: Tile, whole: Embedding, tiles: list[Tile]) -> Embedding:
    tiles.append(tile)
    crop = tile.crop(SIDE_PX, SIDE_PX)
    return replace(whole, height_px=crop.y1_px - crop.y0_px, width_px=crop.x1_px - crop.x0_px, encode_tile=None)
