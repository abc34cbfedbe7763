"""Puts odd values into JSON: where a value stands, and a copy with another value there."""

import copy
from collections.abc import Iterator
from typing import Any

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
