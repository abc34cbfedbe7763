"""Whose page a request is from is told by scheme, host and port together."""

import pytest

from backend.http.hosts import KnownHosts, host_name, is_own_page, origin_of

KNOWN = KnownHosts.of(["http://127.0.0.1:9090", "https://Samloop.lab.example", None])


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Samloop.lab.example/x", "https://samloop.lab.example:443"),
        ("http://127.0.0.1:9090", "http://127.0.0.1:9090"),
        ("http://[", ""),
        ("null", ""),
        ("", ""),
    ],
)
def test_an_origin_has_a_scheme_a_host_and_a_port(url: str, origin: str) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    ("origin", "is_own"),
    [
        ("http://127.0.0.1:9090", True),
        ("https://samloop.lab.example", True),
        ("http://127.0.0.1:8080", False),
        ("http://samloop.lab.example", False),
    ],
)
def test_another_port_of_the_same_host_is_another_site(origin: str, is_own: bool) -> None:
    """Label Studio answers on another port of this very machine, with pages that anybody may have uploaded."""
    assert is_own_page({"host": "inside:1", "origin": origin}, known=KNOWN) is is_own


def test_a_host_is_compared_without_its_port_and_in_small_letters() -> None:
    assert (host_name("LOCALHOST:1"), host_name("[::1]:9"), host_name("[::1")) == ("localhost", "::1", "")
    assert KNOWN.names == {"127.0.0.1", "samloop.lab.example"}
