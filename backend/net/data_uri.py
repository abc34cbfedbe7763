"""Decodes data: URIs, which hold an image or a mask themselves."""

import base64
import binascii
from urllib.parse import unquote, unquote_to_bytes

from backend.errors import BadInput


def decode_data_uri(uri: str) -> bytes:
    """Decode the bytes of a data: URI as browsers do (RFC 2397): base64 or percent-encoded.

    White space within base64 and missing padding are forgiven.

    Raises:
        BadInput: the URI has no comma, or its base64 cannot be decoded.
    """
    head, comma, body = uri.strip().partition(",")
    if not comma:
        raise BadInput("the image's data: URI has no data: write data:image/png;base64,...")
    if not head.lower().rstrip().endswith(";base64"):
        return unquote_to_bytes(body)
    text = "".join(unquote(body).split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as fault:
        raise BadInput("the image's data: URI is not valid base64") from fault
