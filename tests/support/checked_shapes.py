"""Shapes and types are checked while tests run: at the first thousand calls of every test.

A check takes a tenth of a millisecond, and a training passes through the same functions a hundred thousand times:
checked throughout, it takes half as long again.
"""

import functools
from collections.abc import Callable, Generator
from typing import Any

import jaxtyping
import pytest
from beartype import beartype

CALLS = 1000
_CHECKS_OF_A_CALL = 2  # of its arguments, and of them together with what it returns
_left = 0


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `beartype.beartype`, until the test has used up its checks."""
    checked = beartype(function)

    @functools.wraps(checked)
    def counted(*args: Any, **kwargs: Any) -> Any:
        global _left  # noqa: PLW0603 - of this process, as jaxtyping's switch is
        _left -= 1
        if _left <= 0:  # threads may skip a number
            jaxtyping.config.update("jaxtyping_disable", True)
        return checked(*args, **kwargs)

    return counted


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Begin to count before the fixtures of the test do."""
    global _left  # noqa: PLW0603 - see above
    _left = CALLS * _CHECKS_OF_A_CALL
    jaxtyping.config.update("jaxtyping_disable", False)
    return (yield)
