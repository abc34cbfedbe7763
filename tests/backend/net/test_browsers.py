"""Addresses are read as browsers read them."""

import pytest

from backend.net.browsers import is_on_a_disk, read_address


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("http://host/a.png", "http://host/a.png"),
        (" \u00a0http://host/a.png\n", "http://host/a.png"),
        ("HTTP:\\\\host\\x\\a.png", "http://host/x/a.png"),
        ("https:/host/a.png", "https://host/a.png"),
        ("http://host/a\n b\t.png", "http://host/a b.png"),
        ("http://host/data/local-files/?d=set\\w1.png", "http://host/data/local-files/?d=set%5Cw1.png"),
        ("\\data\\upload\\1\\a.png", "/data/upload/1/a.png"),
        ("/data/local-files/?d=set\\w1.png#a\\b", "/data/local-files/?d=set%5Cw1.png#a%5Cb"),
        ("//host\\a.png", "//host/a.png"),
        ("http://good.example\\@evil.example/", "http://good.example/@evil.example/"),
    ],
)
def test_a_url_or_a_path_is_read_as_browsers_read_it(written: str, read: str) -> None:
    assert read_address(written) == read
    assert read_address(read) == read


@pytest.mark.parametrize(
    "address",
    ["s3://bucket/a\\b\tc.png", "C:\\set\\a.png", "\\\\server\\share\\a.png", "data:image/png;base64,YQ==", ""],
)
def test_every_other_address_stays_as_it_is(address: str) -> None:
    assert read_address(f" {address} ") == address


@pytest.mark.parametrize("address", ["C:\\set\\a.png", "d:/a.png", "\\\\server\\share\\a.png", "file:///home/a.png"])
def test_a_path_on_a_disk_is_known(address: str) -> None:
    assert is_on_a_disk(address)


@pytest.mark.parametrize("address", ["/a.png", "\\a.png", "//host/a.png", "s3://b/a.png", "http://c:80/a.png", "a.png"])
def test_other_addresses_are_on_no_disk(address: str) -> None:
    assert not is_on_a_disk(address)
