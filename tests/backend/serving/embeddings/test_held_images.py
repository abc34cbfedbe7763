"""Image files that wait for the encoder are bounded in bytes."""

import pytest

from backend.errors import BadInput, Busy
from backend.serving.embeddings.held_images import HeldImages


def test_what_would_go_over_the_bound_is_refused_and_fits_later() -> None:
    held = HeldImages(10)
    with held.holding(6, owner=7):
        with pytest.raises(Busy, match="MiB of images wait for the encoder already: try again"), held.holding(5):
            pass
        with held.holding(4):
            assert held.bytes == 10
    with held.holding(5):
        assert held.bytes == 5


def test_a_project_that_holds_half_of_the_bytes_leaves_the_rest_to_others() -> None:
    held = HeldImages(10)
    with held.holding(5, owner=7):
        with pytest.raises(Busy, match="MiB of images wait"), held.holding(1, owner=7):
            pass
        with held.holding(5, owner=8):
            assert held.bytes == 10
    with held.holding(5, owner=7):
        assert held.bytes == 5


def test_a_lone_image_over_the_bound_is_held_all_the_same() -> None:
    held = HeldImages(1)
    with held.holding(1000):
        assert held.bytes == 1000


def test_what_a_failed_request_held_is_given_back() -> None:
    held = HeldImages(10)
    with pytest.raises(BadInput, match="no image"), held.holding(8):
        raise BadInput("no image")
    assert held.bytes == 0
