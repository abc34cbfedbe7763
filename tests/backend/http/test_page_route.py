"""Only our own pages change anything, and nobody reads them under a name of his own."""

import pytest

from backend.errors import ForeignPage
from backend.http.hosts import KnownHosts
from backend.http.page_route import Gate

OPEN = Gate(is_open=True, known=KnownHosts.of(["https://samloop.lab.example"]))
LOCKED = Gate(is_open=False, known=KnownHosts.of([]))


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9090", "localhost", "LOCALHOST:1", "[::1]:9090", "10.0.0.7", "samloop.lab.example:443"]
)
def test_without_credentials_addresses_and_known_names_are_answered(host: str) -> None:
    OPEN.check("GET", {"host": host})


@pytest.mark.parametrize("host", ["", "evil.example", "127.0.0.1.evil.example:9090", "localhost.evil.example", "[::1"])
def test_without_credentials_a_name_that_may_be_anybodys_is_not(host: str) -> None:
    with pytest.raises(ForeignPage, match="is not one of ours"):
        OPEN.check("GET", {"host": host})
    LOCKED.check("GET", {"host": host})


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "same-origin", "origin": "https://behind.a.proxy.example"},
        {"origin": "http://10.0.0.7:9090"},
    ],
)
def test_a_form_of_our_own_page_is_taken(headers: dict[str, str]) -> None:
    for gate in (OPEN, LOCKED):
        gate.check("POST", {"host": "10.0.0.7:9090", **headers})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"origin": "http://10.0.0.7"},
        {"origin": "http://10.0.0.7:9091"},
        {"sec-fetch-site": "cross-site", "origin": "http://10.0.0.7:9090"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
    ],
)
def test_a_form_of_another_sites_page_is_not(headers: dict[str, str]) -> None:
    for gate in (OPEN, LOCKED):
        with pytest.raises(ForeignPage, match="did not come from one of samloop's own pages"):
            gate.check("POST", {"host": "10.0.0.7:9090", **headers})
