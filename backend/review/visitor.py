"""Who looks at the review pages, and what of the masks is wanted: read from a request, bounded."""

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
    """Who looks, and below which path the pages are for him."""

    analyst: str
    root: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MasksQuery:
    """What of the masks is wanted; every field as the form has it, "" for the usual."""

    version: str = ""
    against: str = ""
    prompt: str = "box"
    sort: str = "tightened"
    label: str = ""
    flag: str = ""
    page: int = 1

    def address(self, **changed: object) -> str:
        """As a query of a URL."""
        fields = {name: getattr(self, name) for name in self.__slots__} | changed
        return urlencode({name: value for name, value in fields.items() if value})


def visitor_of(request: Request) -> Visitor:
    """The analyst that the cookie names, and the path that a proxy has put before ours."""
    name = clean_text(unquote(request.cookies.get(_ANALYST, "")), longest=LONGEST_ANALYST)
    return Visitor(analyst=name or _NOBODY, root=request.scope.get("root_path", "").rstrip("/"))


def remember_analyst(response: Response, name: str, *, is_secure: bool) -> None:
    """Keep the name in a cookie for a year; an empty name is nobody's."""
    response.set_cookie(
        _ANALYST,
        quote(clean_text(name, longest=LONGEST_ANALYST) or _NOBODY),
        max_age=365 * 86400,
        httponly=True,
        samesite="strict",
        secure=is_secure,
    )


def query_of(request: Request) -> MasksQuery:
    """The fields of the form above the masks; of a field that comes twice, the last value.

    Raises:
        BadInput: a field is longer than any version or label; the page is no number.
    """
    fields = {name: value for name, value in request.query_params.items() if name in MasksQuery.__slots__ and value}
    page = fields.pop("page", "1")
    if any(len(value) > 1000 for value in fields.values()) or not re.fullmatch("[1-9][0-9]{0,5}", page):
        raise BadInput(f"the query holds a page of {page[:20]!r}, or a field of more than 1000 characters")
    return MasksQuery(**fields, page=int(page))


def clean_text(text: str, *, longest: int) -> str:
    """One line of printable text, at most so long."""
    printable = "".join(" " if unicodedata.category(sign).startswith(("C", "Z")) else sign for sign in text)
    return " ".join(printable.split())[:longest].strip()
