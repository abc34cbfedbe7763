"""`/data/local-files/?d=...`: reads files below the folders that the user named, and no others."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qsl

from backend.errors import BadInput, ForbiddenUrl, NotFound
from backend.net.url_policy import check_path

PATH = "/data/local-files/"


def parse_path(query: str) -> str:
    """Return the relative path in a query such as "d=folder/image.png".

    Backslashes, which Label Studio writes on Windows, become slashes. Slashes at the start are left out, as Label
    Studio does: every path is below its root.

    Raises:
        BadInput: the query has no `d`, or more than one.
        ForbiddenUrl: the path climbs, in any encoding, or contains a NUL.
    """
    try:
        named = [value for key, value in parse_qsl(query, keep_blank_values=True, max_num_fields=10) if key == "d"]
    except ValueError as fault:
        raise BadInput(f"the query of {PATH} has too many fields") from fault
    if len(named) != 1 or not named[0]:
        raise BadInput(f"{PATH} needs exactly one d=path, and this address has {len(named)}")
    check_path(named[0])
    return named[0].replace("\\", "/").lstrip("/")


def read_file(relative: str, *, roots: Sequence[Path], max_bytes: int) -> bytes:
    """Read the file at a path below the first of `roots` that has the file.

    Raises:
        ForbiddenUrl: the path leads out of its root, through a link or because it is absolute.
        NotFound: the file does not exist, or is not a plain file.
        BadInput: the file is larger than `max_bytes` bytes.
    """
    for root in roots:
        real_root = Path(os.path.realpath(root))
        real = Path(os.path.realpath(real_root / relative))
        if not real.is_relative_to(real_root):
            raise ForbiddenUrl(
                f"{relative[:80]!r} leads out of {root}; name its folder in SAMLOOP_LOCAL_FILES_ROOT to allow it"
            )
        if os.path.isfile(real):  # noqa: PTH113 - Path.is_file() raises for a name that is too long
            return _read(real, relative, max_bytes)
    raise NotFound(f"there is no file {relative[:80]!r} below {', '.join(str(root) for root in roots)}")


def _read(real: Path, relative: str, max_bytes: int) -> bytes:
    try:
        # realpath() resolved every link, so a link here is new: do not follow it. A pipe must not block us.
        handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as fault:
        raise NotFound(f"the file {relative[:80]!r} cannot be read ({fault.strerror}): may we read it?") from fault
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise NotFound(f"{relative[:80]!r} is not a plain file")
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise BadInput(
            f"the file {relative[:80]!r} has more than {max_bytes} bytes; SAMLOOP_IMAGE_MIB raises the limit"
        )
    return data
