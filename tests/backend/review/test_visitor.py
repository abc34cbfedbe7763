"""Who looks, and what is wanted, read from requests that anybody may send."""

import pytest
from fastapi import Request, Response
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadInput
from backend.review.visitor import MasksQuery, clean_text, query_of, remember_analyst, visitor_of


def request(query: str = "", *, cookie: str = "", root: str = "") -> Request:
    return Request(
        {
            "type": "http",
            "headers": [(b"cookie", cookie.encode())] if cookie else [],
            "query_string": query.encode(),
            "root_path": root,
        }
    )


def test_an_analyst_is_known_again_by_the_cookie() -> None:
    response = Response()
    remember_analyst(response, "Zoë\n Ångström", is_secure=True)
    cookie = response.headers["set-cookie"]
    assert "secure" in cookie.lower()
    assert "httponly" in cookie.lower()
    assert visitor_of(request(cookie=cookie.split(";")[0], root="/proxy/")).analyst == "Zoë Ångström"


def test_a_visitor_without_a_name_is_an_analyst_below_the_proxys_path() -> None:
    visitor = visitor_of(request(root="/proxy/"))
    assert (visitor.analyst, visitor.root) == ("analyst", "/proxy")


def test_a_query_takes_the_fields_of_the_form_and_ignores_others() -> None:
    query = query_of(request("version=v3&prompt=point&page=2&utm_source=mail&label="))
    assert query == MasksQuery(version="v3", prompt="point", page=2)


@pytest.mark.parametrize("text", ["page=0", "page=-1", "page=1e3", "page=1234567", "label=" + "x" * 1001])
def test_a_query_beyond_the_bounds_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"is not a whole number from 1|has more than 1000"):
        query_of(request(text))


def test_an_address_leads_back_to_the_same_query() -> None:
    query = MasksQuery(version="v3", against="v2", label="a&b", page=3)
    assert query_of(request(query.address())) == query
    assert query_of(request(query.address(page=1, label=""))) == MasksQuery(version="v3", against="v2")


@given(st.text(max_size=300))
def test_a_text_becomes_one_printable_line(text: str) -> None:
    line = clean_text(text, longest=50)
    assert len(line) <= 50
    assert line == line.strip()
    assert "\n" not in line
    assert all(sign.isprintable() for sign in line)
