"""Finds the image in a task's data: by the path in the labelling interface, or by the look of a value."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import BadInput
from backend.redaction import redact_address

# The endings of files that Label Studio's editor shows as images.
_ENDINGS = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif")
_DEEPEST, _MOST_ITEMS = 4, 1000  # how far into a task's data we search for an image
_LAST_NUMBER, _ITEM = re.compile(r"(?:0|[1-9][0-9]{0,4})$"), re.compile(r"\[[0-9]+\]")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")  # of names like image_url and imageUrl
_IMAGE_WORDS = frozenset({"frame", "image", "img", "photo", "photograph", "pic", "picture", "scan", "slide"})
# Words of keys beside the image: what is made of it, or shown for comparison.
_BESIDE = frozenset(
    {
        "annotation",
        "depth",
        "ground",
        "gt",
        "heatmap",
        "icon",
        "label",
        "logo",
        "mask",
        "overlay",
        "preview",
        "ref",
        "reference",
        "seg",
        "segmentation",
        "thumb",
        "thumbnail",
    }
)
_UNDEFINED = "$undefined$"  # the key of data that were imported without one, as a list of addresses is
_LONGEST_NUMBER = 6  # digits of an item's number, and one more
_STEP = re.compile(r"[^.\[\]]+")
_VARIABLE = re.compile(r"\$([\w\[\].{}]+)")  # as in Label Studio's parseValue (web/libs/editor/src/utils/data.js)


def read_variable(value: str) -> str:
    """Return the path for `image_at` of a tag's value: "image" of "$image".

    Of a text around variables, such as "https://host/$file", the path is the whole text.
    """
    return value[1:] if value.startswith("$") and "$" not in value[1:] else value


def image_at(data: object, path: str) -> str | None:
    """Return the address at a path into a task's data, such as "image", "meta.url" or "images[0]"; None if no text.

    A key that equals the whole path goes first; a task of a bare list of addresses has no key (`$undefined$`). In a
    path with `$`, values replace the variables, as the editor does (`read_variable`). Of a list, the editor shows the
    first address. Blanks around the address, which lists and CSV files leave there, are cut off, as browsers do.
    """
    path = _key_in(data, path)
    value = _value_at(data, path)
    if value is None and "$" in path:
        return _fill(data, path)
    if isinstance(value, list) and value:
        value = value[0]
    return (value.strip() or None) if isinstance(value, str) else None


def replace_at(data: object, path: str, address: str) -> object:
    """Return a copy of the data with another address at a path at which `image_at` finds an address.

    Raises:
        BadInput: the path is a text with variables, so the data hold only parts of the address.
    """
    path = _key_in(data, path)
    if "$" in path and _value_at(data, path) is None:
        raise BadInput(f"the labelling interface builds the address as {path[:80]!r}; the data hold only parts of it")
    steps = [path] if isinstance(data, Mapping) and path in data else _STEP.findall(path)
    return _replace_step(data, steps, address)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlace:
    """One of a task's images: the tag that shows it, its path into the data, and its page, from 0, in a `valueList`."""

    name: str
    key: str
    page: int | None = None

    def holds(self, region: Mapping[str, Any], *, first: "ImagePlace") -> bool:
        """Whether a region was drawn here. No `to_name` means the `first` image; no page means page 0."""
        name = read_to_name(region)
        is_page = self.page is None or self.page == (read_page(region) or 0)
        return is_page and self.name == (first.name if name is None else name)


def read_page(region: Mapping[str, Any]) -> int | None:
    """The page, from 0, that a region was drawn on; None where it does not say. Programs write 1.0 or "1" for 1."""
    page = region.get("item_index")
    if isinstance(page, str) and page.isdecimal() and len(page) < _LONGEST_NUMBER:
        return int(page)
    return int(page) if isinstance(page, int) or (isinstance(page, float) and page.is_integer()) else None


def read_to_name(region: Mapping[str, Any]) -> str | None:
    """The name of the tag that a region was drawn on, where a list holds it too; None where it does not say."""
    name = region.get("to_name")
    if isinstance(name, list) and name:
        name = name[0]
    return name if isinstance(name, str) else None


def results_at(results: object, place: ImagePlace, *, places: Sequence[ImagePlace]) -> list[Mapping[str, Any]]:
    """Return those of Label Studio's results that were drawn at `place`; all of them if `places` has no other."""
    rows = [row for row in results if isinstance(row, Mapping)] if isinstance(results, list | tuple) else []
    if len(places) < 2 and place.page is None:
        return rows
    return [row for row in rows if place.holds(row, first=places[0])]


def task_at(task: Mapping[str, Any], place: ImagePlace, *, places: Sequence[ImagePlace]) -> Mapping[str, Any]:
    """Return the task without the regions of other places in its drafts, annotations and predictions."""
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


def _key_in(data: object, path: str) -> str:
    """Return the key for a lone image's path: Label Studio takes an address without a key for the interface's first."""
    is_unnamed = isinstance(data, Mapping) and _UNDEFINED in data and path.isidentifier() and path not in data
    return _UNDEFINED if is_unnamed else path


def _value_at(data: object, path: str) -> object:
    value: Any = data.get(path) if isinstance(data, Mapping) else None
    if value is None:
        value = data
        for step in _STEP.findall(path):
            value = _step(value, step)
    return value


def _fill(data: object, text: str) -> str | None:
    """Return the text with values in place of its variables; None if a value is neither text nor a whole number."""
    values = {name: _value_at(data, name) for name in _VARIABLE.findall(text)}
    if not values or not all(isinstance(value, str | int) for value in values.values()):
        return None
    return _VARIABLE.sub(lambda variable: str(values[variable[1]]).strip(), text).strip()


def pages_at(data: object, path: str) -> list[int]:
    """Return the numbers, from 0, of the pages that have an address, in the list at a path into a task's data."""
    pages = _list_at(data, path)
    return [number for number, _ in enumerate(pages) if image_at(pages, f"[{number}]") is not None]


def count_items(data: object, path: str) -> int:
    """Return how many items the list at a path into a task's data has; 0 if there is no list."""
    return len(_list_at(data, path))


def _list_at(data: object, path: str) -> list[Any]:
    value: Any = data
    for step in _STEP.findall(path):
        value = _step(value, step)
    return value if isinstance(value, list) else []


def find_image_key(data: object, *, names: Sequence[str] = ()) -> str | None:
    """Find an image's path, such as "images[0]", in a task's data without a labelling interface; None if there is none.

    The choice goes by, in this order:
    1. A key that is one of `names`: most projects give the image tag and the key the same name.
    2. A value that looks like the address of an image, and then like the name of an image's file. Values of the task
       itself go before values nested in them; only a nested address under the name of a tag goes before the name of
       a file. Of several, the words of the key decide (`_rank_key`).
    3. The only address in the data.
    The order of the keys says nothing: Label Studio's database does not preserve it.

    Args:
        data: the task's data.
        names: the image tags that the regions name.
    """
    if not isinstance(data, Mapping):
        return None
    for name in names:
        if isinstance(data.get(name), str) and image_at(data, name) is not None:
            return name
    texts = sorted(_list_texts(data), key=lambda text: text[0])
    named = [path for _, path, value in texts if _is_image(value) and _is_address(value) and _ends_in(path, names)]
    for depth in sorted({depth for depth, _, _ in texts}):
        images = [(path, value) for level, path, value in texts if level == depth and _is_image(value)]
        addresses = [path for path, value in images if _is_address(value)]
        if found := addresses or (named if images else []) or [path for path, _ in images]:
            return min(found, key=lambda path: _rank_key(path, names=names))
    unnamed = [path for _, path, value in texts if _is_address(value) and not value.lower().startswith("data:")]
    return unnamed[0] if len(unnamed) == 1 else None


def names_an_image(path: str) -> bool:
    """Whether a path or an address ends like a file that Label Studio's editor shows as an image."""
    return path.strip().lower().endswith(_ENDINGS)


def find_address(data: object, shown: str) -> str | None:
    """Return the address in a task's data, at any depth, that `redact_address` turns into `shown`; None if none is."""
    if isinstance(data, str):
        return data.strip() if redact_address(data.strip()) == shown else None
    values = data.values() if isinstance(data, Mapping) else data if isinstance(data, list) else ()
    return next((address for value in values if (address := find_address(value, shown)) is not None), None)


def find_image_places(data: object, *, names: Sequence[str], pages: Iterable[int] = ()) -> list[ImagePlace]:
    """Return the images that regions with these tags and pages were drawn on, without a labelling interface.

    A tag that has the name of a key of the data shows that key's image; if the key holds a list of addresses, every
    page is an image. Tags whose names end in numbers, as a <Repeater> makes them, show the items with these numbers in
    a list.

    Args:
        data: the task's data.
        names: the image tags that the regions name, in order.
        pages: the pages that the regions name.

    Returns:
        The images; nothing if there is at most one and it is no page: `find_image_key` finds that image.
    """
    if items := _find_repeated(data, names=names):
        return items
    last = max(pages, default=0)
    keys = [name for name in names if isinstance(data, Mapping) and name in data]
    if last and not keys:
        keys = [key for key in (data if isinstance(data, Mapping) else ()) if pages_at(data, key)][:1]
        nested = (path for _, path, value in _list_texts(data) if path.endswith("]") and _is_image(value))
        keys = keys or [path.rpartition("[")[0] for path in nested][:1]
    found: list[ImagePlace] = []
    for key in keys:
        name = key if key in names else names[0] if names else key
        if listed := pages_at(data, key):
            found += [ImagePlace(name=name, key=f"{key}[{page}]", page=page) for page in listed]
        elif image_at(data, key) is not None:
            found.append(ImagePlace(name=name, key=key))
    return found if len(found) > 1 or any(place.page is not None for place in found) else []


def _replace_step(value: object, steps: Sequence[str], address: str) -> object:
    if not steps:
        return [address, *value[1:]] if isinstance(value, list) else address
    first, *rest = steps
    if isinstance(value, str):
        return address
    if isinstance(value, list):
        inner = _replace_step(value[int(first)], rest, address)
        return [*value[: int(first)], inner, *value[int(first) + 1 :]]
    if isinstance(value, Mapping):
        return {**value, first: _replace_step(value[first], rest, address)}
    raise KeyError(first)


def _find_repeated(data: object, *, names: Sequence[str]) -> list[ImagePlace]:
    """Return the images at the tags' numbers in the first list that has them all; nothing if no list has."""
    numbers = {name: match[0] for name in names if (match := _LAST_NUMBER.search(name))}
    if not numbers or len(numbers) < len(names) or (isinstance(data, Mapping) and any(name in data for name in names)):
        return []
    images = {path for _, path, value in _list_texts(data) if _is_image(value)}
    for path in sorted(images):
        for item in _ITEM.finditer(path):
            keys = {name: f"{path[: item.start()]}[{number}]{path[item.end() :]}" for name, number in numbers.items()}
            if images.issuperset(keys.values()):
                return [ImagePlace(name=name, key=key) for name, key in keys.items()]
    return []


def _step(value: object, step: str) -> object:
    if isinstance(value, Mapping):
        return value.get(step)
    if isinstance(value, list) and step.isdecimal() and len(step) < _LONGEST_NUMBER and int(step) < len(value):
        return value[int(step)]
    # The editor shows a lone address behind `valueList` as the only page.
    return value if isinstance(value, str) and step == "0" else None


def _list_texts(value: object, path: str = "", depth: int = 0) -> Iterator[tuple[int, str, str]]:
    """Yield every text of a task's data: how deep it lies, its path for `image_at`, and the text without blanks."""
    if isinstance(value, str):
        yield depth, path, value.strip()
    elif depth < _DEEPEST and isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _list_texts(inner, f"{path}.{key}" if path else str(key), depth + 1)
    elif depth < _DEEPEST and isinstance(value, list):
        for number, inner in enumerate(value[:_MOST_ITEMS]):
            yield from _list_texts(inner, f"{path}[{number}]", depth + 1)


def _rank_key(path: str, *, names: Sequence[str]) -> tuple[bool, bool, bool]:
    """Sort keys of images: what is made of an image last; what shares a word with its tag, or names an image, first."""
    words = {word.lower() for word in _WORD.findall(path)}
    tags = {word.lower() for name in names for word in _WORD.findall(name)}
    return not words.isdisjoint(_BESIDE - tags), words.isdisjoint(tags), words.isdisjoint(_IMAGE_WORDS)


def _ends_in(path: str, names: Sequence[str]) -> bool:
    return any(step in names for step in _STEP.findall(path)[-1:])


def _is_address(value: str) -> bool:
    return value.startswith(("/", "data:")) or "://" in value


def _is_image(value: str) -> bool:
    text = value.strip().lower()
    if text.startswith("data:"):
        return text.startswith("data:image/")
    # "?d=folder/a.png" holds the path in the query, "a.png?signature" before it.
    return any(names_an_image(part) for part in (text, text.split("?d=")[-1].split("?")[0].split("&")[0]))
