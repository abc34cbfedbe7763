"""Which images the trained decoder answers, and which the base: drawn from the project's own images."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.errors import Unavailable
from backend.sam.embeddings.embedding import Embedding
from backend.sam.loading import BaseModel
from backend.sam.predictor import Predictor, base_predictor
from finetuner.data.sample import Sample
from finetuner.measuring import domain as measured
from finetuner.measuring.domain import count_outside, outside_sentences, with_outside

Seen = Callable[[Sample], Embedding]


@pytest.fixture
def plain(tiny_base: BaseModel) -> Predictor:
    return base_predictor(tiny_base)


@pytest.fixture
def trained(plain: Predictor) -> Predictor:
    return replace(plain, version="trained")


@pytest.fixture(autouse=True)
def _others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everyday photographs have one direction: 90 degrees from the first of the project's."""
    monkeypatch.setattr(measured, "everyday_directions", lambda base, **_: at(base, 90)[None])


def at(base: BaseModel, degrees: float) -> torch.Tensor:
    direction = torch.zeros(base.image_positions.shape[1])
    direction[:2] = torch.tensor([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    return direction


@pytest.fixture
def seen(tiny_base: BaseModel) -> Seen:
    """An image's name is its direction, in degrees."""

    def look(sample: Sample) -> Embedding:
        channels = at(tiny_base, float(sample.image_sha256))
        features = channels[None, :, None, None].expand_as(tiny_base.image_positions)
        return Embedding(features=features, height_px=64, width_px=64)

    return look


def images(*degrees: float) -> list[Sample]:
    return [Sample(image_sha256=f"{value:g}", height_px=64, width_px=64, objects=()) for value in degrees]


def test_images_like_those_learnt_from_and_a_little_farther_are_the_projects(
    trained: Predictor, plain: Predictor, seen: Seen, tmp_path: Path
) -> None:
    """They are 30 degrees apart at most: so far the trained decoder answers."""
    found = with_outside(trained, images(0, 10, 20, 50), plain=plain, embedding=seen, folder=tmp_path)
    answers = {degrees: found.choose_for(seen(*images(degrees))).version for degrees in (0, 60, 79, 82, 120, 300)}
    assert answers == {
        0: "trained",
        60: "trained",
        79: "trained",
        82: plain.version,
        120: plain.version,
        300: "trained",  # nearer to the project than to everyday photographs
    }
    assert count_outside(found, images(0, 88, 88, 120), embedding=seen) == 2, "images, not samples"
    assert count_outside(trained, images(88), embedding=seen) == 0


def test_an_image_about_as_near_to_the_project_as_to_everyday_photographs_is_the_projects(
    trained: Predictor, plain: Predictor, seen: Seen, tmp_path: Path
) -> None:
    found = with_outside(trained, images(0, 1, 2, 3), plain=plain, embedding=seen, folder=tmp_path)
    answers = {degrees: found.choose_for(seen(*images(degrees))).version for degrees in (40, 47, 60)}
    assert answers == {40: "trained", 47: "trained", 60: plain.version}


def test_an_image_unlike_the_rest_does_not_move_the_border(
    trained: Predictor, plain: Predictor, seen: Seen, tmp_path: Path
) -> None:
    """Fails where the largest distance is the radius: one odd image, and photographs pass for the project's."""
    learnt = images(*range(11), 40)
    found = with_outside(trained, learnt, plain=plain, embedding=seen, folder=tmp_path)
    assert count_outside(found, learnt, embedding=seen) == 0, "what was learnt from lies inside"
    assert count_outside(found, images(68, 69), embedding=seen) == 2


@pytest.mark.parametrize(
    "case", [pytest.param("few", id="three images do not tell"), pytest.param("nowhere", id="no folder to keep them")]
)
def test_without_enough_to_tell_by_the_trained_decoder_answers_all(
    trained: Predictor, plain: Predictor, seen: Seen, tmp_path: Path, case: str
) -> None:
    learnt = images(0, 1, 2) if case == "few" else images(0, 1, 2, 3)
    folder = None if case == "nowhere" else tmp_path
    assert with_outside(trained, learnt, plain=plain, embedding=seen, folder=folder) is trained


def test_with_an_adapter_the_border_is_drawn_by_its_own_encoder_which_no_later_training_has(
    trained: Predictor, plain: Predictor, seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def look(base: BaseModel, *, folder: Path | None) -> torch.Tensor:
        asked.append((base.encoder_fingerprint, folder))
        return at(base, 90)[None]

    monkeypatch.setattr(measured, "everyday_directions", look)
    adapted = replace(trained, base=replace(trained.base, encoder_fingerprint="adapted"))
    for predictor in (trained, adapted):
        found = with_outside(predictor, images(0, 1, 2, 3), plain=plain, embedding=seen, folder=tmp_path)
        assert found.choose_for(seen(*images(1))).version == "trained"
        assert found.choose_for(seen(*images(90))) is plain
    assert asked == [(plain.base.encoder_fingerprint, tmp_path), ("adapted", None)]


@pytest.fixture
def _no_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_base: BaseModel, **_: Path) -> torch.Tensor:
        raise Unavailable("they come with scikit-image")

    monkeypatch.setattr(measured, "everyday_directions", fail)


@pytest.mark.usefixtures("_no_photographs")
def test_without_the_photographs_the_training_goes_on_and_the_log_says_so(
    trained: Predictor, plain: Predictor, seen: Seen, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert with_outside(trained, images(0, 1, 2, 3), plain=plain, embedding=seen, folder=tmp_path) is trained
    assert caplog.messages == ["the trained decoder answers all images: they come with scikit-image"]


def test_a_verdict_says_how_many_held_out_images_the_base_answered() -> None:
    (sentence,) = outside_sentences(2, of=9)
    assert sentence.startswith("the base answers 2 of 9 held-out images")
    assert outside_sentences(0, of=9) == ()
