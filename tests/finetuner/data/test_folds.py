"""On which held-out images a comparison with what is served is fair."""

import pytest

from finetuner.config import TrainConfig
from finetuner.data.folds import Training, fair_images, unseen_images
from finetuner.data.sample import Sample


def _samples(*pictures: str) -> list[Sample]:
    """An image for every digest, named by its place."""
    return [
        Sample(image_sha256=str(place), height_px=1, width_px=1, objects=(), picture=picture)
        for place, picture in enumerate(pictures)
    ]


def test_a_near_duplicate_of_what_was_learnt_is_not_unseen() -> None:
    """A project of three was cross-validated; then a copy of one of them came, and it outgrew that."""
    samples = _samples("lake", "lake", "hill", "wood")
    assert unseen_images(samples, learnt={"0", "gone"}) == {"2", "3"}
    assert fair_images(samples, served="v1", learnt={"0"}) == (
        frozenset({"2", "3"}),
        ("compared with v1 on the 2 images that it has not learnt from",),
    )
    images, (told,) = fair_images(samples[:3], served="v1", learnt={"0"})
    assert len(images) == 3
    assert told == "v1 has learnt from the images of this comparison, which favours it"


def test_pictures_that_are_not_known_are_unlike_any_other() -> None:
    samples = _samples("", "", "")
    assert unseen_images(samples, learnt={"1"}) == {"0", "2"}
    assert fair_images(samples, served="v1", learnt=frozenset()) == (frozenset("012"), ())


def test_a_training_tells_how_far_all_of_a_cross_validation_are() -> None:
    """The second of four is half done after 10 s: 10 s are left of it, and two of 20 s come after it."""
    training = Training(number=2, count=4, train=(), held_out=(), config=TrainConfig())
    assert training.how_far(done=0.5, seconds=10.0) == pytest.approx({"share": 1.5 / 4, "left_s": 50.0})
    alone = Training(number=1, count=1, train=(), held_out=(), config=TrainConfig())
    assert alone.how_far(done=1.0, seconds=10.0) == pytest.approx({"share": 1.0, "left_s": 0.0})
