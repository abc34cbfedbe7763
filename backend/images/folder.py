"""Images in a folder on this machine, looked up by the addresses in an export's tasks."""

import base64
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from backend.errors import NotFound
from backend.images.local_files import PATH as LOCAL_FILES
from backend.labelstudio.task_data import names_an_image
from backend.net.data_uri import decode_data_uri

# Label Studio puts eight hexadecimal digits before the name of an uploaded file; before 1.0 it put six.
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{6}(?:[0-9a-f]{2})?-")
_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+):(?=/|\\)")  # two letters at least: a single letter is a Windows drive
_RESOLVED = re.compile(r"/(?:tasks|projects)/[0-9]+/(?:resolve|presign)/?$")
_URLS = frozenset({"http", "https", "file"})
# What Label Studio (Django's get_valid_filename) drops from the name of an upload; spaces become underscores before.
_DROPPED_FROM_UPLOADS = re.compile(r"[^-\w.]")
_MOST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class _Place:
    """A file that an address may name. `folders` are the address's leading parts that no folder on disk confirms.

    `matched` counts the trailing parts that match the file's path in the folder.
    """

    path: Path
    folders: tuple[str, ...]
    matched: int

    @property
    def proof(self) -> tuple[int, bool]:
        """How well the address matches; compares greater for the better match. A full match beats a partial one."""
        return self.matched, not self.folders


class ImageFolder:
    """The images of one export. An address names the file whose path is the address's longest matching ending.

    Where no file has exactly that path, it names the only file whose path differs in no more than upper case, the
    form of composed letters, and what Label Studio changes in the names of uploads. Folders of uploads say nothing, so
    an upload may also be the only file of its name in any subfolder.

    Args:
        folder: the folder of the images, flat or with subfolders as in the addresses.
        uris: the addresses of all tasks. A file that two addresses claim from different folders belongs to neither.
    """

    def __init__(self, folder: Path, uris: Iterable[str] = ()) -> None:
        self._folder = folder
        self._claims: dict[Path, dict[tuple[str, ...], tuple[int, bool]]] = {}
        for uri in uris:
            if not _is_data(uri) and (place := self._find_place(uri)) is not None:
                self._claims.setdefault(place.path, {})[place.folders] = place.proof

    def read(self, uri: str) -> bytes:
        """Return the bytes of the image that an address names, or that a data: URI contains.

        Raises:
            NotFound: the file does not exist, or several addresses claim it.
            BadInput: a data: URI is damaged.
        """
        return decode_data_uri(uri) if _is_data(uri) else self.path(uri).read_bytes()

    def path(self, uri: str) -> Path:
        """Return the file that an address names, with or without the prefix that Label Studio gives to uploads.

        Raises:
            NotFound: the file does not exist, several addresses claim it, or the address is a data: URI.
        """
        if _is_data(uri):
            raise NotFound("the task contains its image as a data: URI, so there is no file to name")
        place = self._find_place(uri)
        if place is None:
            name = next((parts[-1] for path in _list_paths(uri.strip()) if (parts := _split_path(path))), "")
            raise NotFound(f"no file {name[:_MOST_SHOWN]!r} in {self._folder}")
        claims = self._claims.get(place.path, {})
        best = max(claims.values(), default=place.proof)
        if place.proof < best or sum(proof == best for proof in claims.values()) > 1:
            raise NotFound(
                f"{place.path.name[:_MOST_SHOWN]!r} in {self._folder} is one file, but tasks name {len(claims)} of "
                "that name in several folders or uploads, so its task is not known; keep the images in their folders"
            )
        return place.path

    def place(self, uri: str) -> str:
        """Return the path of an address's file within the folder, with forward slashes. Raises as `path` does."""
        return self.path(uri).relative_to(self._folder).as_posix()

    def _find_place(self, uri: str) -> _Place | None:
        """Return the file whose path in the folder is the address's longest ending; None where no file matches."""
        readings = [] if _is_data(uri) else [_split_path(path) for path in _list_paths(uri.strip())]
        exact = (_find_exact(self._folder, parts) for parts in readings)
        alike = (self._find_alike(parts) for parts in readings)
        below = (self._find_below(parts) for parts in readings)
        return next((place for places in (exact, alike, below) for place in places if place is not None), None)

    def _find_alike(self, parts: Sequence[str]) -> _Place | None:
        for start, ending, prefix in _list_endings(parts):
            paths = self._paths_by_form.get(tuple(_plain_form(part) for part in ending), [])
            if len(paths) == 1:
                return _Place(paths[0], folders=(*parts[:start], *prefix), matched=len(parts) - start)
        return None

    def _find_below(self, parts: Sequence[str]) -> _Place | None:
        if ("data", "upload") not in (tuple(parts[-4:-2]), tuple(parts[-3:-1])):
            return None
        for _, ending, prefix in _list_endings(parts[-1:]):
            paths = self._paths_by_name.get(_plain_form(ending[-1]), [])
            if len(paths) == 1:
                return _Place(paths[0], folders=(*parts[:-1], *prefix), matched=1)
        return None

    @cached_property
    def _paths_by_form(self) -> dict[tuple[str, ...], list[Path]]:
        """All files of the folder, by the plain forms of the parts of their paths; read when first needed."""
        paths: dict[tuple[str, ...], list[Path]] = {}
        for path in sorted(path for path in self._folder.rglob("*") if path.is_file()):
            form = tuple(_plain_form(part) for part in path.relative_to(self._folder).parts)
            paths.setdefault(form, []).append(path)
        return paths

    @cached_property
    def _paths_by_name(self) -> dict[str, list[Path]]:
        """All files of the folder, by the plain form of their name alone; read when first needed."""
        paths: dict[str, list[Path]] = {}
        for form, found in self._paths_by_form.items():
            paths.setdefault(form[-1], []).extend(found)
        return paths


def find_image(images: Path, uri: str) -> Path:
    """Return the path of the image that a single address names in `images`. Raises as `ImageFolder.path` does."""
    return ImageFolder(images).path(uri)


def _is_data(uri: str) -> bool:
    return uri.lstrip()[:5].lower() == "data:"


def _find_exact(folder: Path, parts: Sequence[str]) -> _Place | None:
    for start, ending, prefix in _list_endings(parts):
        path = folder.joinpath(*ending)
        if os.path.isfile(path):  # noqa: PTH113 - Path.is_file() raises for a name that is too long
            return _Place(path, folders=(*parts[:start], *prefix), matched=len(parts) - start)
    return None


def _list_endings(parts: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...], tuple[str, ...]]]:
    """Yield where an ending of a path begins, the ending, and what an upload's prefix says instead of a folder.

    The longest ending goes first. A name is tried as it stands, then without the prefix that uploads have.
    """
    for start in range(len(parts)):
        *folders, name = parts[start:]
        yield start, (*folders, name), ()
        bare = name
        # Files that moved from one Label Studio to another have several prefixes.
        while (shorter := _UPLOAD_PREFIX.sub("", bare)) not in {"", bare}:
            bare = shorter
            yield start, (*folders, bare), (name,)


def _plain_form(part: str) -> str:
    """Return a name in lower case, composed (macOS decomposes letters), with what uploads change already changed."""
    return _DROPPED_FROM_UPLOADS.sub("", unicodedata.normalize("NFC", part).strip().replace(" ", "_")).casefold()


def _split_path(path: str) -> tuple[str, ...]:
    """Split a path into folders and file name, without anything above its last `..`; () without a file name."""
    parts = path.replace("\\", "/").split("/")
    if "\0" in path or parts[-1] in {"", ".", ".."}:
        return ()
    below = len(parts) - parts[::-1].index("..") if ".." in parts else 0
    return tuple(part for part in parts[below:] if part not in {"", "."})


def _list_paths(uri: str) -> Iterator[str]:
    """Yield the paths that an address may mean, the likeliest first.

    In a bucket's key or a disk path, `#`, `?` and `%20` stand for themselves. A URL is percent-encoded once; where its
    path names no image, its query may.
    """
    scheme = _SCHEME.match(uri)
    if scheme is not None and scheme[1].lower() not in _URLS:
        yield uri[scheme.end() :]
    elif scheme is None and not uri.startswith("/"):
        yield uri
        yield _decode_path(uri)
    else:
        yield _decode_path(uri)
        yield from _list_names_in_query(uri)


def _decode_path(uri: str) -> str:
    try:
        parts = urlsplit(uri)
        named = parse_qs(parts.query, max_num_fields=100)
    except ValueError:
        return uri
    if parts.path.endswith((LOCAL_FILES, LOCAL_FILES.rstrip("/"))) and "d" in named:
        return named["d"][0]
    if _RESOLVED.search(parts.path) and "fileuri" in named:
        return _decode_key(named["fileuri"][0])
    path = unquote(parts.path)
    # Hosts are folders of their own, except for Label Studio, which has several names.
    return path if path.startswith("/data/") or not parts.hostname else f"{parts.hostname}/{path}"


def _list_names_in_query(uri: str) -> list[str]:
    try:
        parts = urlsplit(uri)
        values = [value for named in parse_qs(parts.query, max_num_fields=100).values() for value in named]
    except ValueError:
        return []
    return [] if names_an_image(parts.path) else [value for value in values if names_an_image(value)]


def _decode_key(encoded: str) -> str:
    try:
        key = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (ValueError, UnicodeDecodeError):
        return encoded
    return key.partition("://")[2] or key
