"""A prompt is one value: two that say the same are equal, whatever mask they carry, and none can be changed."""

import dataclasses

import numpy as np
import pytest

from backend.masks.prompt import Box, Click, Prompt

CLICK, BOX = Click(3.5, 2.5), Box(0.0, 1.0, 8.0, 9.0)


def test_a_click_is_positive_unless_it_says_otherwise() -> None:
    assert CLICK.is_foreground
    assert Click(3.5, 2.5, is_foreground=False) != CLICK


def test_prompts_that_say_the_same_are_one_key() -> None:
    """Answers are looked up by the prompt: its mask, which is large, takes no part."""
    mask = np.eye(4, dtype=bool)
    first, again = Prompt(clicks=(CLICK,), box=BOX, mask=mask), Prompt(clicks=(CLICK,), box=BOX, mask=~mask)
    assert first == again
    assert hash(first) == hash(again)
    assert len({first, again, Prompt(clicks=(CLICK,))}) == 2


def test_a_mask_is_not_written_out_with_its_prompt() -> None:
    assert "mask" not in repr(Prompt(box=BOX, mask=np.ones((4, 4), bool)))


@pytest.mark.parametrize("value", [CLICK, BOX, Prompt(clicks=(CLICK,))])
def test_what_a_person_points_at_cannot_be_changed(value: Click | Box | Prompt) -> None:
    (name, *_) = [field.name for field in dataclasses.fields(value)]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, None)
