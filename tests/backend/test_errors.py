"""The tree of errors is as its module draws it."""

import re

from backend import errors


def test_the_drawing_names_every_error_and_its_status() -> None:
    drawn = dict(re.findall(r"(\w+)\s{2,}(\d{3})\b", errors.__doc__ or ""))
    real = {
        name: str(each.status)
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, errors.SamloopError)
    }
    assert drawn == real
