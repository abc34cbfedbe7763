"""Which of the four masks may be a prompt's answer."""

import numpy as np
import pytest

from backend.masks.prompt import Box, Click, Prompt
from backend.sam.policy import SINGLE, SMALL, considered

OBJECT, GROUND = Click(3.0, 4.0), Click(3.0, 4.0, is_foreground=False)


def test_one_click_on_an_object_may_mean_a_part_of_it() -> None:
    assert considered(Prompt(clicks=(OBJECT,))) == (SINGLE, SMALL)


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(clicks=(GROUND,)),
        Prompt(clicks=(OBJECT, OBJECT)),
        Prompt(clicks=(OBJECT, GROUND)),
        Prompt(box=Box(0.0, 0.0, 5.0, 5.0)),
        Prompt(clicks=(OBJECT,), box=Box(0.0, 0.0, 5.0, 5.0)),
        Prompt(clicks=(OBJECT,), mask=np.ones((9, 9), np.bool_)),
    ],
)
def test_any_other_prompt_means_one_thing(prompt: Prompt) -> None:
    assert considered(prompt) == (SINGLE,)
