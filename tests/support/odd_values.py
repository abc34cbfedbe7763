"""Puts odd values into JSON: where a value stands, and a copy with another value there."""

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

ODD = [None, True, -1, 0, 1e308, 10**30, "", "x" * 5000, "<View>", "\u0000", [], {}, [[]], {"id": None}, [None]]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
Place = tuple[str | int, ...]


def list_places(value: Any, *, most: int | None = None, place: Place = ()) -> Iterator[Place]:
    """Yield the places of all values within; of a list, those of its first `most`."""
    if place:
        yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value[:most]) if isinstance(value, list) else ()
    for name, part in inner:
        yield from list_places(part, most=most, place=(*place, name))


def put(value: Any, place: Place, odd: object) -> Any:
    """Return a copy that holds the odd value at this place."""
    changed = copy.deepcopy(value)
    *outer, last = place
    at = changed
    for name in outer:
        at = at[name]
    at[last] = odd
    return changed
