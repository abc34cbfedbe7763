"""A shape that is not what a signature says fails a test, whatever the function does with it."""

import jaxtyping
import numpy as np
import pytest
from support.checked_shapes import CALLS

from backend.masks.fit import without_specks


def test_a_wrong_shape_fails_at_a_tests_first_calls_and_is_not_looked_at_after_a_thousand() -> None:
    mask = np.zeros((3, 4), bool)
    with pytest.raises(jaxtyping.TypeCheckError, match=r"h w"):
        without_specks(mask[..., None])
    for _ in range(CALLS):
        without_specks(mask)
    assert without_specks(mask[..., None]).shape == (3, 4, 1)


def test_the_next_test_counts_from_the_beginning() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        without_specks(np.zeros((3, 4)))
