"""Reads from a request who looks at the review pages, and which masks the query asks for."""

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlencode

from fastapi import Request, Response

from backend.errors import BadInput
from backend.review.flags import LONGEST_ANALYST

BASE = "base"
_ANALYST = "samloop_analyst"
_NOBODY = "analyst"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who looks: the analyst's name, and the path that a proxy puts before the pages'."""

    analyst: str
    root: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MasksQuery:
    """The masks that a page asks for; every field as in the form, "" for the default."""

    version: str = ""
    against: str = ""
    prompt: str = "box"
    sort: str = "tightened"
    label: str = ""
    task: str = ""
    size: str = ""
    score: str = ""
    flag: str = ""
    page: int = 1

    def address(self, **changed: object) -> str:
        """Return the query of a URL, with these fields changed."""
        fields = {name: getattr(self, name) for name in self.__slots__} | changed
        return urlencode({name: value for name, value in fields.items() if value})


def visitor_of(request: Request) -> Visitor:
    """Read the analyst's name from the cookie, and the path that a proxy put before ours."""
    name = clean_text(unquote(request.cookies.get(_ANALYST, "")), longest=LONGEST_ANALYST)
    return Visitor(analyst=name or _NOBODY, root=request.scope.get("root_path", "").rstrip("/"))


def remember_analyst(response: Response, name: str, *, is_secure: bool) -> None:
    """Store the analyst's name in a cookie for a year; an empty name becomes "analyst"."""
    response.set_cookie(
        _ANALYST,
        quote(clean_text(name, longest=LONGEST_ANALYST) or _NOBODY),
        max_age=365 * 86400,
        httponly=True,
        samesite="strict",
        secure=is_secure,
    )


def query_of(request: Request) -> MasksQuery:
    """Read the fields of the form above the masks; the last value counts where a field comes twice.

    Raises:
        BadInput: a field has more than 1000 characters, or the page is not a number.
    """
    fields = {name: value for name, value in request.query_params.items() if name in MasksQuery.__slots__ and value}
    page = fields.pop("page", "1")
    if not re.fullmatch("[1-9][0-9]{0,5}", page):
        raise BadInput(f"the page {page[:20]!r} is not a whole number from 1 to 999999")
    if too_long := [name for name, value in fields.items() if len(value) > 1000]:
        raise BadInput(f"{too_long[0]} has more than 1000 characters: no version and no label is that long")
    return MasksQuery(**fields, page=int(page))


def clean_text(text: str, *, longest: int) -> str:
    """Return the printable part of the text on one line, at most `longest` characters."""
    printable = "".join(" " if unicodedata.category(sign).startswith(("C", "Z")) else sign for sign in text)
    return " ".join(printable.split())[:longest].strip()
