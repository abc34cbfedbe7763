"""Images come from public addresses, or from those that the user named; however a private one is dressed up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadInput, ForbiddenUrl, SamloopError, Upstream
from backend.net.url_policy import Target, check_path, check_url, is_same_origin, is_same_site, resolve_host

PUBLIC = "93.184.215.14"


def names(*addresses: str) -> object:
    return lambda _host, _port: addresses


def test_a_public_host_is_allowed_at_the_address_that_was_checked() -> None:
    url = "https://example.org/a.png?x=1"
    assert check_url(url, resolver=names(PUBLIC)) == Target(url, PUBLIC)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "168.63.129.16",
        "192.0.0.8",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "100.100.100.200",
        "0.1.2.3",
        "239.1.1.1",
        "0.0.0.0",
        "100.64.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2002:6440:1::1",
        "::ffff:100.64.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::6440:1",
        "64:ff9b:1::808:808",
        "2001:0:102:304:8000:0:80ff:fffe",  # Teredo of a client at 127.0.0.1
        "2001:2::1",
        "2001:20::1",
        "2001:db8::1",
        "3fff::1",
        "5f00::1",
        "fec0::1",
        "100::1",
        "2606:4700::5efe:7f00:1",
        "2606:4700::200:5efe:10.0.0.1",
        "::127.0.0.1",
        "fd00:ec2::254",
        "nonsense",
    ],
)
def test_an_address_that_is_not_public_is_refused_and_told_how_to_allow(address: str) -> None:
    with pytest.raises(ForbiddenUrl, match=r"name images\.example:80 in SAMLOOP_IMAGE_HOSTS"):
        check_url("http://images.example/a.png", resolver=names(address))  # type: ignore[arg-type]
    with pytest.raises(ForbiddenUrl, match="not a public address"):
        check_url("http://images.example/a.png", resolver=names(PUBLIC, address))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "192.31.196.1", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8"],
)
def test_a_public_address_is_allowed_within_another_too(address: str) -> None:
    assert check_url("http://images.example/a.png", resolver=names(address)).address == address  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",
        "http://0/",
        "http://127.1/",
        "http://0x7f.0.0.1/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://[::1]:8080/",
        "http://017700000001/",
    ],
)
def test_loopback_and_metadata_are_refused_as_the_system_resolves_them(url: str) -> None:
    with pytest.raises((ForbiddenUrl, Upstream), match=r"not a public address|does not exist"):
        check_url(url, resolver=resolve_host)


@pytest.mark.parametrize("allowed", ["localhost", "localhost:8080", "LocalHost:8080"])
def test_a_named_host_is_allowed_although_it_is_private(allowed: str) -> None:
    assert (
        check_url("http://localhost:8080/a", allowed_hosts=[allowed], resolver=names("127.0.0.1")).address
        == "127.0.0.1"
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("allowed", ["localhost:8081", "localhost:80", "notlocalhost", "ocalhost", ""])
def test_another_port_or_name_is_not_allowed_by_it(allowed: str) -> None:
    with pytest.raises(ForbiddenUrl, match="not a public address"):
        check_url("http://localhost:8080/a", allowed_hosts=[allowed], resolver=names("127.0.0.1"))  # type: ignore[arg-type]


def test_an_ipv6_host_is_named_with_its_brackets() -> None:
    assert check_url("http://[::1]:8080/a", allowed_hosts=["[::1]:8080"], resolver=names("::1")).address == "::1"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("file:///etc/passwd", "http or https, not by 'file'"),
        ("ftp://example.org/a", "not by 'ftp'"),
        ("gopher://example.org/a", "not by 'gopher'"),
        ("//example.org/a", "has no scheme: write http://host/path"),
        ("upload/1/a.png", "'upload/1/a.png' has no scheme"),
        ("http://user:secret@example.org/", "user name or password"),
        ("http://user@example.org/", "user name or password"),
        ("http://@example.org/", "user name or password"),
        ("http://localhost:8080@evil.example/", "user name or password"),
        ("http:///a.png", "no valid host"),
        ("http://", "no valid host"),
        ("http://example.org:0/", "no valid host"),
        ("http://[fe80::1%25eth0]/", "no valid host"),
        ("http://example.org:99999/", "is not a URL"),
        ("http://example.org:x/", "is not a URL"),
        ("http://[::1/", "is not a URL"),
        ("http://exa\nmple.org/", "control characters"),
        ("http://exam ple.org/a", "no valid host"),
        ("http://example.org\\@evil.example/", "backslashes"),
        ("http://example.org/\x00", "control characters"),
        ("http://example.org/" + "a" * 9000, "9019 characters, and at most 8192 are allowed"),
    ],
)
def test_what_is_no_plain_http_url_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        check_url(url, resolver=names(PUBLIC))  # type: ignore[arg-type]


def test_a_name_without_an_address_is_told() -> None:
    with pytest.raises(Upstream, match=r"the host 'nowhere\.invalid' does not exist"):
        check_url("http://nowhere.invalid/")
    with pytest.raises(Upstream, match="does not exist"):
        check_url("http://example.org/", resolver=names())  # type: ignore[arg-type]


@given(host=st.text(max_size=30))
def test_no_text_as_a_host_does_anything_but_pass_or_be_refused(host: str) -> None:
    try:
        check_url(f"http://{host}/a.png", resolver=names("127.0.0.1"))  # type: ignore[arg-type]
    except SamloopError:
        return
    pytest.fail("loopback was allowed")


def test_an_origin_is_scheme_host_and_port() -> None:
    assert is_same_origin("http://LS.example/x", "http://ls.example:80")
    assert is_same_origin("https://ls.example:443/x", "https://ls.example.")
    for other in (
        "https://ls.example",
        "http://ls.example:8080",
        "http://ls.example.evil",
        "http://a@ls.example",
        "/x",
    ):
        assert not is_same_origin(other, "http://ls.example")


def test_behind_a_proxy_that_adds_tls_an_address_may_still_say_http() -> None:
    assert is_same_site("http://ls.example/x", "https://ls.example")
    assert is_same_site("https://ls.example:443/x", "http://ls.example:80")
    for name in ("localhost", "127.0.0.1", "[::1]", "0.0.0.0"):
        assert is_same_site(f"http://{name}:8080/data/upload/1/a.png", "http://127.0.0.1:8080")
        assert not is_same_site(f"http://{name}:8081/a.png", "http://127.0.0.1:8080")
        assert not is_same_site(f"http://{name}:8080/a.png", "http://ls.example:8080")
    for other in ("http://ls.example:8080", "https://ls.example:8443", "http://other.example", "ls.example"):
        assert not is_same_site(other, "https://ls.example")


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "/a/../b",
        "a/..",
        "%2e%2e/x",
        "..%2fx",
        "%252e%252e%252fx",
        "..\\x",
        "a\\..\\b",
        "a%5c..%5cb",
        "a%255c..",
        "a\0",
        "a%00b",
    ],
)
def test_a_path_that_climbs_is_refused_however_it_is_encoded(path: str) -> None:
    with pytest.raises(ForbiddenUrl, match="climbs out of its folder"):
        check_path(path)


@pytest.mark.parametrize(
    "path", ["a..b/c...png", "/data/upload/1/x.png", "ä/ö.png", "..a/b", "set\\w1.png", "set%5Cw1.png"]
)
def test_a_plain_path_passes(path: str) -> None:
    check_path(path)
