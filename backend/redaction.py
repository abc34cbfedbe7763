"""Takes the secrets out of addresses: whatever is shown, stored or logged passes here first.

A presigned URL carries its signature in the query, a Redis its password before the host. Errors pass by themselves
(`SamloopError`), and so do lines of the log (`backend.cli.console`) and failures that RQ keeps (`finetuner.worker`).
"""

import re

HIDDEN = "***"

_WORD = re.compile(r"[^\s'\"<>]+")
_VALUE = re.compile(r"([?&;#][^=&;?#]{0,200}=)[^&;#]*")
_LOCAL_FILES = "/data/local-files"
_OF_LOCAL_FILES = re.compile(r"(?<=[?&]d=)[^&;#]*")


def redact(text: str) -> str:
    """Return the text with the secrets of all addresses in it hidden: see `redact_address`."""
    return _WORD.sub(lambda word: redact_address(word[0]), text)


def redact_address(address: str) -> str:
    """Return the address with `***` for its user-info and for all values of its query and fragment.

    The path stays, and so does `d` of Label Studio's local files, which is a path. An address without any of these
    comes back as it is, and so does a word that is no address.
    """
    start = address.find("://")
    if start < 0 and "/" not in address:
        return address
    if start >= 0:
        address = _without_user_info(address, start + len("://"))
    cut = min((at for at in (address.find("?"), address.find("#")) if at >= 0), default=len(address))
    place, query = address[:cut], address[cut:]
    kept = _OF_LOCAL_FILES.search(query) if place.rstrip("/").endswith(_LOCAL_FILES) else None
    hidden = _VALUE.sub(rf"\g<1>{HIDDEN}", query)
    if start >= 0 and len(query) > 1 and "=" not in query:
        hidden = query[0] + HIDDEN  # a token alone
    if kept is not None:
        hidden = _OF_LOCAL_FILES.sub(lambda _: kept[0], hidden)
    return place + hidden


def _without_user_info(address: str, begin: int) -> str:
    """`begin`: where the host, or what stands before it, begins."""
    if re.search(r"(redis|rediss|unix)://$", address[:begin]):
        end = len(address)  # a password that nobody encoded may hold any of / ? and #
    else:
        end = next((at for at in range(begin, len(address)) if address[at] in "/?#"), len(address))
    at = address.rfind("@", begin, end)
    return address if at < 0 else f"{address[:begin]}{HIDDEN}{address[at:]}"
