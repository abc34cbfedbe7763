"""Which images lie in a domain: those near what was learnt from, and those nearer to it than to other things."""

import math

import safetensors.torch
import torch

from backend.sam.embeddings.domain import Domain, direction_of, distances, with_domain
from backend.sam.embeddings.embedding import Embedding
from backend.sam.frame import SAM_FRAME


def at(degrees: float) -> torch.Tensor:
    return torch.tensor([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])


def domain(radius: float) -> Domain:
    """It has learnt from directions at 0 and 10 degrees; other things are at 60."""
    return Domain(learnt=torch.stack([at(0), at(10)]), others=at(60)[None], radius=radius)


def test_what_is_nearer_to_other_things_than_to_all_that_was_learnt_from_lies_outside() -> None:
    assert [degrees for degrees in range(0, 90, 10) if domain(0.0).holds(at(degrees))] == [0, 10, 20, 30]


def test_within_the_radius_an_image_lies_inside_however_near_other_things_are() -> None:
    wide = domain(1 - math.cos(math.radians(41)))
    assert [degrees for degrees in range(0, 90, 10) if wide.holds(at(degrees))] == [0, 10, 20, 30, 40, 50]


def test_what_is_far_from_everything_stays_the_projects() -> None:
    assert domain(0.0).holds(at(-100))


def test_a_direction_is_that_of_the_image_and_not_of_the_padding_around_it() -> None:
    features = torch.full((1, 2, 64, 64), 9.0)
    features[0, 0, :32, :] = 3.0  # of an image of 200 x 400 px the canvas shows half
    features[0, 1, :32, :] = 4.0
    seen = Embedding(features=features.half(), height_px=200, width_px=400)
    direction = direction_of(seen, frame=SAM_FRAME)
    assert direction.dtype == torch.float32
    torch.testing.assert_close(direction, torch.tensor([0.6, 0.8]))


def test_distances_are_from_0_to_2() -> None:
    torch.testing.assert_close(
        distances(torch.stack([at(0), at(90)]), torch.stack([at(0), at(180)])),
        torch.tensor([[0.0, 2.0], [1.0, 1.0]]),
        atol=1e-6,
        rtol=0,
    )


def test_a_domain_lies_beside_the_weights_of_its_checkpoint() -> None:
    weights = safetensors.torch.save({"mask_decoder.a": torch.ones(3)})
    state = safetensors.torch.load(with_domain(weights, domain(0.1)))
    assert set(state) == {"mask_decoder.a", "domain.learnt", "domain.others"}
    assert torch.equal(state["domain.learnt"], domain(0.1).learnt)
