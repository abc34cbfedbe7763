"""Images in a folder on this machine, found by the addresses that the tasks of an export hold."""

import base64
import binascii
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from backend.errors import BadInput, NotFound
from backend.images.local_files import PATH as LOCAL_FILES

# Label Studio puts eight hexadecimal digits before the name of an uploaded file.
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")
_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+):(?=/|\\)")  # two letters and more: one letter is a drive of Windows
_RESOLVED = re.compile(r"/(?:tasks|projects)/[0-9]+/(?:resolve|presign)/$")
_URLS = frozenset({"http", "https", "file"})
_MOST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class _Place:
    """A file that an address may name. `folders` is what the address says beyond the file's place: nothing proves it.

    `matched` counts the parts of the address that are the file's place in the folder.
    """

    path: Path
    folders: tuple[str, ...]
    matched: int

    @property
    def proof(self) -> tuple[int, bool]:
        """How sure it is, the more the greater: an address that says no more than the file's place is surest."""
        return self.matched, not self.folders


class ImageFolder:
    """The images of one export. The longest ending of an address that is a file in the folder is that address's image.

    Args:
        folder: where the images are, in folders as the addresses have them, or all in one.
        uris: the addresses of all tasks: a file that two of them may mean, by different folders, is neither's.
    """

    def __init__(self, folder: Path, uris: Iterable[str] = ()) -> None:
        self._folder = folder
        self._claims: dict[Path, dict[tuple[str, ...], tuple[int, bool]]] = {}
        for uri in uris:
            if not _is_data(uri) and (place := _find(folder, uri)) is not None:
                self._claims.setdefault(place.path, {})[place.folders] = place.proof

    def read(self, uri: str) -> bytes:
        """Return the bytes of the image that an address names; of a data: URI those that it holds.

        Raises:
            NotFound: there is no such file, or nothing tells whose file it is.
            BadInput: a data: URI that is not base64.
        """
        return decode_data_uri(uri) if _is_data(uri) else self.path(uri).read_bytes()

    def path(self, uri: str) -> Path:
        """Return the file that an address names, with or without the prefix that Label Studio gives to uploads.

        Raises:
            NotFound: there is no such file, nothing tells whose file it is, or the address holds the image itself.
        """
        if _is_data(uri):
            raise NotFound("the task holds its image itself, in a data: URI")
        place = _find(self._folder, uri)
        if place is None:
            name = next((parts[-1] for path in _paths(uri.strip()) if (parts := _parts(path))), "")
            raise NotFound(f"no file {name[:_MOST_SHOWN]!r} in {self._folder}")
        claims = self._claims.get(place.path, {})
        best = max(claims.values(), default=place.proof)
        if place.proof < best or sum(proof == best for proof in claims.values()) > 1:
            raise NotFound(
                f"{place.path.name[:_MOST_SHOWN]!r} in {self._folder} is one file, and tasks name {len(claims)} of "
                "that name in several folders or uploads: nothing tells whose it is; keep the images in their folders"
            )
        return place.path

    def place(self, uri: str) -> str:
        """Return where in the folder the file of an address is, with slashes. Raises as `path` does."""
        return self.path(uri).relative_to(self._folder).as_posix()


def image_path(images: Path, uri: str) -> Path:
    """Return the image that one address names in the folder `images`, as `ImageFolder.path` does."""
    return ImageFolder(images).path(uri)


def decode_data_uri(uri: str) -> bytes:
    """Return the bytes in a data: URI.

    Raises:
        BadInput: it is not base64.
    """
    head, comma, body = uri.strip().partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise BadInput("the image's data: URI is not base64: write data:image/png;base64,...")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as fault:
        raise BadInput("the image's data: URI is not valid base64") from fault


def _is_data(uri: str) -> bool:
    return uri.lstrip()[:5].lower() == "data:"


def _find(folder: Path, uri: str) -> _Place | None:
    """The file whose place in the folder is the longest ending of the address."""
    readings = [] if _is_data(uri) else [_parts(path) for path in _paths(uri.strip())]
    for parts in readings:
        for start in range(len(parts)):
            *folders, name = parts[start:]
            for stored, prefix in ((name, ()), (_UPLOAD_PREFIX.sub("", name), (name,))):
                path = folder.joinpath(*folders, stored)
                if stored and os.path.isfile(path):  # noqa: PTH113 - Path.is_file() raises for a name that is too long
                    return _Place(path, folders=(*parts[:start], *prefix), matched=len(parts) - start)
    return None


def _parts(path: str) -> tuple[str, ...]:
    """The folders and the name in a path, below whatever climbs; none where it has no name."""
    parts = path.replace("\\", "/").split("/")
    if "\0" in path or parts[-1] in {"", ".", ".."}:
        return ()
    below = len(parts) - parts[::-1].index("..") if ".." in parts else 0
    return tuple(part for part in parts[below:] if part not in {"", "."})


def _paths(uri: str) -> Iterator[str]:
    """The path in an address, as whoever wrote it may mean it, the likeliest first.

    A bucket's keys, and paths on a disk, are names: `#`, `?` and `%20` stand for themselves. URLs are encoded once.
    """
    scheme = _SCHEME.match(uri)
    if scheme is not None and scheme[1].lower() not in _URLS:
        yield uri[scheme.end() :]
    elif scheme is None and not uri.startswith("/"):
        yield uri
        yield _decoded(uri)
    else:
        yield _decoded(uri)


def _decoded(uri: str) -> str:
    try:
        parts = urlsplit(uri)
        named = parse_qs(parts.query, max_num_fields=100)
    except ValueError:
        return uri
    if parts.path.endswith((LOCAL_FILES, LOCAL_FILES.rstrip("/"))) and "d" in named:
        return named["d"][0]
    if _RESOLVED.search(parts.path) and "fileuri" in named:
        return _decoded_key(named["fileuri"][0])
    path = unquote(parts.path)
    # Two hosts are two folders; Label Studio is known by several names.
    return path if path.startswith("/data/") or not parts.hostname else f"{parts.hostname}/{path}"


def _decoded_key(encoded: str) -> str:
    try:
        key = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (ValueError, UnicodeDecodeError):
        return encoded
    return key.partition("://")[2] or key
