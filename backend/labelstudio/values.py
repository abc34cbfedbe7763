"""Reads numbers from Label Studio's JSON, which may hold anything a client wrote: NaN, 1e999, 5,000 digits, text."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from backend.errors import BadInput

_ID = re.compile(r"[1-9][0-9]{0,14}", re.ASCII)
# No per cent, pixel or degree is larger, and a float represents every whole number up to here.
_LARGEST = 1e9
_LATEST_S = 1e12


def finite_number(value: Mapping[str, Any], key: str, *, default: float | None = None) -> float:
    """Return `value[key]` as a float; `default`, if given, for a key that is absent or null.

    Raises:
        BadInput: the number is absent, not a number, not finite, or beyond ±1e9.
    """
    number = value.get(key)
    if number is None and default is not None:
        return default
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise BadInput(f"{key} is {type(number).__name__}, not a number")
    if not abs(number) <= _LARGEST:
        raise BadInput(f"{key} is not a finite number of at most {_LARGEST:g}")
    return float(number)


def read_id(value: object) -> int | None:
    """Return the id of a task, as a number or as its decimal digits, which scripts send; None for anything else."""
    if isinstance(value, str) and _ID.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_last_change(row: Mapping[str, Any]) -> tuple[float, str]:
    """Return a sort key of when an annotation, a draft or a prediction was changed last, or else created.

    Returns:
        Seconds since 1970 in UTC, minus infinity for what is no time; and the time as it is written.
    """
    given = row.get("updated_at") or row.get("created_at") or ""
    return _read_seconds(given), str(given)


def _read_seconds(given: object) -> float:
    if isinstance(given, int | float):  # as Label Studio before 1.0 wrote them
        return float(given) if abs(given) <= _LATEST_S else -math.inf
    try:
        time = datetime.fromisoformat(str(given))
    except ValueError:
        return -math.inf
    return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()
