"""A data: URI holds its bytes, as browsers read them."""

import pytest

from backend.errors import BadInput
from backend.net.data_uri import decode_data_uri


@pytest.mark.parametrize(
    ("uri", "data"),
    [
        ("data:image/png;base64,YWI=", b"ab"),
        (" DATA:image/png;BASE64,YW\nI ", b"ab"),
        ("data:image/png;base64,YWI%3D", b"ab"),
        ("data:image/svg+xml,%3Csvg/%3E", b"<svg/>"),
        ("data:,", b""),
    ],
)
def test_it_is_decoded_as_browsers_do(uri: str, data: bytes) -> None:
    assert decode_data_uri(uri) == data


@pytest.mark.parametrize(("uri", "says"), [("data:image/png", "has no data"), ("data:;base64,@", "not valid base64")])
def test_a_damaged_one_is_refused(uri: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        decode_data_uri(uri)
