"""Where a task's data holds its image: by the path in the labelling config, or by what a value looks like."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from backend.redaction import redact_address

# What Label Studio's editor shows, by the ends of names.
_ENDINGS = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif")
_STEP = re.compile(r"[^.\[\]]+")


def image_at(data: object, path: str) -> str | None:
    """Return the address at a path into a task's data, such as "image", "meta.url" or "images[0]".

    A key that holds the whole path goes first. Blanks around the address, as lists and CSV files leave them, are cut
    off, as browsers do. None where there is no text.
    """
    value: Any = data.get(path) if isinstance(data, Mapping) else None
    if value is None:
        value = data
        for step in _STEP.findall(path):
            value = _step(value, step)
    return (value.strip() or None) if isinstance(value, str) else None


def find_image_key(data: object, *, names: Iterable[str] = ()) -> str | None:
    """Return the key of the image in a task's data, where no labelling config tells.

    One of `names`, the image tags that regions say they were drawn on, goes first: most projects call tag and key
    alike. Else it is the first value that looks like the address of an image, else like the name of its file; Label
    Studio's database does not keep the order of the keys, and a mask or a remark may stand first. None for none.
    """
    if not isinstance(data, Mapping):
        return None
    for name in names:
        if image_at(data, name) is not None and name in data:
            return name
    images = [(str(key), value.strip()) for key, value in data.items() if isinstance(value, str) and _is_image(value)]
    addresses = [key for key, value in images if value.startswith(("/", "data:")) or "://" in value]
    return next(iter([*addresses, *(key for key, _ in images)]), None)


def find_address(data: object, shown: str) -> str | None:
    """Return the whole address in a task's data, at any depth, that `redact_address` shows so; None for none."""
    if isinstance(data, str):
        return data.strip() if redact_address(data.strip()) == shown else None
    values = data.values() if isinstance(data, Mapping) else data if isinstance(data, list) else ()
    return next((address for value in values if (address := find_address(value, shown)) is not None), None)


def _step(value: object, step: str) -> object:
    if isinstance(value, Mapping):
        return value.get(step)
    if isinstance(value, list) and step.isdecimal() and len(step) < 6 and int(step) < len(value):
        return value[int(step)]
    return None


def _is_image(value: str) -> bool:
    text = value.strip().lower()
    if text.startswith("data:"):
        return text.startswith("data:image/")
    # "?d=folder/a.png" holds the path in its query; "a.png?signature" a path before it; a bucket's key may end so.
    return any(part.endswith(_ENDINGS) for part in (text, text.split("?d=")[-1].split("?")[0].split("&")[0]))
