"""A broken candidate is told by what it draws, not by its average."""

import copy

import pytest
import torch
from support.domains import set_apart

from backend.sam.loading import BaseModel, decoder_of
from backend.sam.predictor import Predictor, base_predictor, encode
from finetuner.deciding.smoke import faults, smoke_picture


@pytest.fixture
def candidate(tiny_base: BaseModel) -> Predictor:
    return Predictor(tiny_base, copy.deepcopy(decoder_of(tiny_base, None)), version="candidate")


def test_the_base_has_no_fault(tiny_base: BaseModel, candidate: Predictor) -> None:
    weights = dict(candidate.decoder.named_parameters())
    assert faults(candidate, base=base_predictor(tiny_base), weights=weights) == ()


def test_weights_that_are_no_numbers_are_named(tiny_base: BaseModel, candidate: Predictor) -> None:
    weights = dict(candidate.decoder.named_parameters())
    with torch.no_grad():
        weights["iou_token.weight"][0, 0] = float("nan")
    (found,) = faults(candidate, base=base_predictor(tiny_base), weights=weights)
    assert found == f"1 of {len(weights)} trained weights have values that are not finite, iou_token.weight first"


def test_finite_weights_that_overflow_are_seen_by_what_they_predict(tiny_base: BaseModel, candidate: Predictor) -> None:
    weights = dict(candidate.decoder.named_parameters())
    with torch.no_grad():
        for weight in weights.values():
            weight.fill_(1e38)
    (found,) = faults(candidate, base=base_predictor(tiny_base), weights=weights)
    assert found == "its decoder predicts values that are not finite on the test image"


def test_a_base_that_answers_drawn_pictures_hides_no_broken_decoder(lively_base: BaseModel) -> None:
    plain, candidate = base_predictor(lively_base), base_predictor(lively_base)
    seen = encode(lively_base, smoke_picture()[0])
    apart = set_apart(candidate, inside=seen.with_maps(torch.neg), elsewhere=seen)
    assert apart.choose_for(seen) is not apart.trained
    with torch.no_grad():
        for weight in candidate.decoder.parameters():
            weight.fill_(1e38)
    (found,) = faults(apart, base=plain, weights={"iou_token.weight": torch.zeros(1)})
    assert found == "its decoder predicts values that are not finite on the test image"


def test_the_shapes_of_the_picture_are_apart_and_whole() -> None:
    picture, shapes = smoke_picture()
    covered = sum(mask.astype(int) for mask in shapes.values())
    assert covered.max() == 1
    for mask in shapes.values():
        assert mask.shape == (picture.height, picture.width)
        assert mask[1:-1, 1:-1].sum() == mask.sum()


@pytest.mark.weights
def test_a_decoder_that_forgot_what_a_plain_shape_is_has_faults() -> None:
    from backend.sam.loading import load_base
    from backend.settings import Settings

    base = load_base("mobile-sam", cache_dir=Settings().cache.dir, device="cpu")
    plain = base_predictor(base)
    broken = Predictor(base, copy.deepcopy(plain.decoder), version="candidate")
    with torch.no_grad():
        for weight in broken.decoder.output_hypernetworks_mlps[0].parameters():
            weight.mul_(-1)
    found = faults(broken, base=plain, weights=dict(broken.decoder.named_parameters()))
    assert found
    assert "with its box falls from IoU 0.9" in found[0]
    assert faults(plain, base=plain, weights={}) == ()
