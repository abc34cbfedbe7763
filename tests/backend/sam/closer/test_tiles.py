"""Prompts answered in the tiles around them, and in the whole image where a tile cannot answer."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from backend.masks.bounds import find_bounds
from backend.masks.crop import Tile, list_tiles
from backend.masks.metrics import iou
from backend.masks.prompt import Box, Click, Prompt
from backend.sam.closer.tiles import COARSE, FINE, SMALL, TINY, decode_in_tiles, list_first_tiles
from backend.sam.embeddings.embedding import Embedding
from backend.sam.loading import BaseModel, decoder_of
from backend.sam.predictor import PredictedMask, Predictor, encode

HEIGHT_PX, WIDTH_PX = 240, 300


class Drawing:
    """Fills a prompt's box, scored by the height of what was embedded, and notes the sizes of the images decoded."""

    def __init__(self, *, empty_in_tiles: bool = False) -> None:
        self.seen: list[tuple[int, int, int]] = []
        self._empty_in_tiles = empty_in_tiles

    def __call__(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[PredictedMask]:
        self.seen.append((embedding.height_px, embedding.width_px, len(prompts)))
        return [self._draw(embedding, prompt) for prompt in prompts]

    def _draw(self, embedding: Embedding, prompt: Prompt) -> PredictedMask:
        mask = np.zeros((embedding.height_px, embedding.width_px), np.bool_)
        assert prompt.box is not None
        if not (self._empty_in_tiles and embedding.height_px < HEIGHT_PX):
            box = prompt.box
            mask[round(box.y0_px) : round(box.y1_px), round(box.x0_px) : round(box.x1_px)] = True
        score = embedding.height_px / 1000
        return PredictedMask(mask=mask, score=score, low_res_logits=np.zeros((4, 4), np.float32), predicted_iou=score)


def size_of(height_px: int, width_px: int) -> Embedding:
    return Embedding(features=torch.zeros(1, 8, 4, 4), height_px=height_px, width_px=width_px)


def embed(tile: Tile) -> Embedding:
    crop = tile.crop(HEIGHT_PX, WIDTH_PX)
    return size_of(crop.y1_px - crop.y0_px, crop.x1_px - crop.x0_px)


def answer(boxes: Sequence[Box], drawing: Drawing, *, magnification: float = COARSE) -> tuple[PredictedMask, ...]:
    return decode_in_tiles(
        size_of(HEIGHT_PX, WIDTH_PX),
        [Prompt(box=box) for box in boxes],
        magnification=magnification,
        decode=drawing,
        encode_tile=embed,
    )


def test_every_prompt_is_answered_in_its_tile_and_its_mask_lies_where_it_points() -> None:
    boxes = [Box(10.0, 10.0, 30.0, 34.0), Box(250.0, 200.0, 270.0, 220.0), Box(40.0, 15.0, 50.0, 20.0)]
    drawing = Drawing()
    answers = answer(boxes, drawing)
    assert [mask.mask.shape for mask in answers] == [(HEIGHT_PX, WIDTH_PX)] * 3
    bounds = [found.box for mask in answers if (found := find_bounds(mask.mask)) is not None]
    assert bounds == boxes
    assert drawing.seen == [(160, 200, 2), (160, 200, 1)], "prompts of one tile are decoded together"


@pytest.mark.parametrize(
    ("box", "empty_in_tiles"),
    [
        (Box(10.0, 10.0, 290.0, 40.0), False),
        (Box(10.0, 10.0, 40.0, 20.0), False),
        (Box(10.0, 10.0, 30.0, 30.0), True),
    ],
    ids=["a prompt that no tile contains", "an object too long", "an empty mask"],
)
def test_the_whole_image_answers_what_a_tile_cannot(box: Box, empty_in_tiles: bool) -> None:
    small = Box(250.0, 200.0, 270.0, 220.0)
    first, second = answer([box, small], drawing := Drawing(empty_in_tiles=empty_in_tiles))
    assert first.score == HEIGHT_PX / 1000
    assert drawing.seen[-1] == (HEIGHT_PX, WIDTH_PX, 2 if empty_in_tiles else 1)
    assert (second.score == HEIGHT_PX / 1000) is empty_in_tiles
    assert find_bounds(first.mask) is not None
    assert answer([], Drawing()) == ()


def test_a_tiny_object_is_answered_in_a_fine_tile_and_a_small_one_in_a_coarse_tile() -> None:
    tiny, small = Box(20.0, 20.0, 32.0, 31.0), Box(250.0, 200.0, 270.0, 220.0)
    assert TINY * WIDTH_PX == 12
    answers = answer([tiny, small], drawing := Drawing(), magnification=FINE)
    assert [found.box for mask in answers if (found := find_bounds(mask.mask)) is not None] == [tiny, small]
    assert [mask.score for mask in answers] == [0.120, 0.160]
    assert drawing.seen == [(160, 200, 1), (160, 200, 1), (120, 150, 1)]


@pytest.mark.parametrize("empty_in", ["no tile", "fine tiles"])
def test_the_coarse_tile_answers_what_no_fine_tile_can(empty_in: str) -> None:
    """A fine tile misses a prompt that is long although its mask is short, and may draw an empty mask."""
    prompt = Prompt(clicks=(Click(10.0, 100.0), Click(180.0, 100.0, is_foreground=False)))
    if empty_in == "fine tiles":
        prompt = Prompt(clicks=(Click(10.0, 100.0),))

    def draw(embedding: Embedding, prompts: Sequence[Prompt]) -> list[PredictedMask]:
        mask = np.zeros((embedding.height_px, embedding.width_px), np.bool_)
        mask[50:53, 8:11] = empty_in == "no tile" or embedding.height_px > HEIGHT_PX / FINE
        score = embedding.height_px / 1000
        logits = np.zeros((4, 4), np.float32)
        return [PredictedMask(mask=mask, score=score, low_res_logits=logits, predicted_iou=score) for _ in prompts]

    (mask,) = decode_in_tiles(
        size_of(HEIGHT_PX, WIDTH_PX), [prompt], magnification=FINE, decode=draw, encode_tile=embed
    )
    assert mask.score == 0.160
    assert mask.mask.any()


def test_prompts_are_decoded_first_in_coarse_tiles() -> None:
    assert list_first_tiles(FINE) == list_first_tiles(COARSE) == list_tiles(COARSE)


def test_a_predictor_with_a_magnification_answers_as_it_would_on_the_tile_alone(tiny_base: BaseModel) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    plain = Predictor(tiny_base, decoder_of(tiny_base, None), version="tiny")
    magnified = replace(plain, magnification=1.5)
    prompts = [Prompt(clicks=(Click(40.0, 50.0),)), Prompt(box=Box(230.0, 170.0, 270.0, 200.0))]

    def encode_tile(tile: Tile) -> Embedding:
        return encode(tiny_base, image.crop(tile.crop(HEIGHT_PX, WIDTH_PX).corners_px))

    whole = replace(encode(tiny_base, image), encode_tile=encode_tile)
    answers = magnified.decode(whole, prompts)
    assert all(
        np.array_equal(first.mask, second.mask)
        for first, second in zip(magnified.decode_whole(whole, prompts), plain.decode(whole, prompts), strict=True)
    )
    tiles = list_tiles(1.5)
    for prompt, mask, tile in zip(prompts, answers, (tiles[0], tiles[-1]), strict=True):
        crop = tile.crop(HEIGHT_PX, WIDTH_PX)
        (alone,) = plain.decode(encode_tile(tile), [crop.prompt(prompt)])
        (of_whole,) = plain.decode(whole, [prompt])
        bounds = find_bounds(alone.mask)
        if bounds is not None and max(bounds.height_px, bounds.width_px) <= SMALL * WIDTH_PX:
            assert np.array_equal(crop.cut(mask.mask), alone.mask)
            assert mask.score == pytest.approx(alone.score)
        else:
            assert iou(mask.mask, of_whole.mask) == 1
