"""Reads addresses as browsers do (WHATWG's URL standard): a task's address is right if its annotator sees the image."""

import re

_URL = re.compile(r"(https?):[/\\]+", re.IGNORECASE)
_DROPPED = str.maketrans("", "", "\t\r\n")
_ON_A_DISK = re.compile(r"[a-zA-Z]:[/\\]|\\\\|file:", re.IGNORECASE)


def read_address(text: str) -> str:
    """Return an address without the blanks around it, and an http(s) URL or a path as browsers read it.

    In an http(s) URL or a path, tabs and line ends are dropped. Backslashes before the query become slashes, and the
    host of a URL may follow any number of slashes. Backslashes in the query are encoded. Every other address comes back
    as it is: in the key of an object in a bucket, all characters count.
    """
    text = text.strip()
    url = _URL.match(text)
    if url is None and (not text.startswith(("/", "\\")) or is_on_a_disk(text)):
        return text
    start = "" if url is None else f"{url[1].lower()}://"
    text = text[0 if url is None else url.end() :].translate(_DROPPED)
    cut = min((at for at in (text.find("?"), text.find("#")) if at >= 0), default=len(text))
    return start + text[:cut].replace("\\", "/") + text[cut:].replace("\\", "%5C")


def is_on_a_disk(address: str) -> bool:
    """Whether an address is a path on somebody's disk, such as C:/a.png, or of a share of Windows."""
    return _ON_A_DISK.match(address) is not None
