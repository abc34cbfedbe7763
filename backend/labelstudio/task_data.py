"""Where a task's data holds its image: by the path in the labelling config, or by what a value looks like."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlace:
    """One of a task's images: the tag that shows it, its path into the data, and its page, from 0, of a `valueList`."""

    name: str
    key: str
    page: int | None = None

    def holds(self, region: Mapping[str, Any], *, first: "ImagePlace") -> bool:
        """Whether a region was drawn here; without a `to_name` it was on the `first` image, without a page on 0."""
        name, page = region.get("to_name"), region.get("item_index")
        is_page = self.page is None or self.page == (page if isinstance(page, int) else 0)
        return is_page and self.name == (name if isinstance(name, str) else first.name)


def results_at(results: object, place: ImagePlace, *, places: Sequence[ImagePlace]) -> list[Mapping[str, Any]]:
    """Return those of Label Studio's results that were drawn at a place, one of `places`; all where it is the only."""
    rows = [row for row in results if isinstance(row, Mapping)] if isinstance(results, list | tuple) else []
    if len(places) < 2 and place.page is None:
        return rows
    return [row for row in rows if place.holds(row, first=places[0])]


def task_at(task: Mapping[str, Any], place: ImagePlace, *, places: Sequence[ImagePlace]) -> Mapping[str, Any]:
    """Return the task with what was drawn at a place alone, in its drafts, annotations and predictions."""
    if len(places) < 2 and place.page is None:
        return task
    drawn = {
        source: [
            {**row, "result": results_at(row.get("result"), place, places=places)}
            for row in task[source]
            if isinstance(row, Mapping)
        ]
        for source in ("drafts", "annotations", "predictions")
        if isinstance(task.get(source), list)
    }
    return {**task, **drawn}


def pages_at(data: object, path: str) -> list[int]:
    """Return the numbers, from 0, of the pages with an address in the list at a path into a task's data."""
    value: Any = data
    for step in _STEP.findall(path):
        value = _step(value, step)
    pages = value if isinstance(value, list) else []
    return [number for number, _ in enumerate(pages) if image_at(pages, f"[{number}]") is not None]


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


def find_image_places(data: object, *, names: Sequence[str], pages: Iterable[int] = ()) -> list[ImagePlace]:
    """Return the images that regions on these tags (`names`, in their order) and pages were drawn on.

    For where no labelling config tells. Of several tags, those that are called as a key of the data; a list of
    addresses is one image a page. Empty where that is one image at most, as `find_image_key` has it.
    """
    last = max(pages, default=0)
    keys = [name for name in names if isinstance(data, Mapping) and name in data]
    if last and not keys:
        keys = [key for key in (data if isinstance(data, Mapping) else ()) if pages_at(data, key)][:1]
    found: list[ImagePlace] = []
    for key in keys:
        name = key if key in names else names[0] if names else key
        if listed := pages_at(data, key):
            found += [ImagePlace(name=name, key=f"{key}[{page}]", page=page) for page in listed]
        elif image_at(data, key) is not None:
            found.append(ImagePlace(name=name, key=key))
    return found if len(found) > 1 or any(place.page is not None for place in found) else []


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
