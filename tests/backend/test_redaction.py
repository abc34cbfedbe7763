"""No signature, password or token of an address is shown, and what people need to find the image is."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import RedirectedElsewhere, Unavailable, Upstream
from backend.redaction import redact, redact_address

SIGNED = "https://bucket.s3.example/a/b.png?X-Amz-Expires=3600&X-Amz-Signature=SECRET"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (SIGNED, "https://bucket.s3.example/a/b.png?X-Amz-Expires=***&X-Amz-Signature=***"),
        ("https://blob.example/a.png?sv=1;sig=SECRET", "https://blob.example/a.png?sv=***;sig=***"),
        ("https://host/a.png?SECRET", "https://host/a.png?***"),
        ("https://host/a.png#token=SECRET", "https://host/a.png#token=***"),
        ("https://user:SECRET@host/a@2x.png", "https://***@host/a@2x.png"),
        ("redis://:SECRET@host:6379/0", "redis://***@host:6379/0"),
        ("rediss://user:SEC/RE#T@host:6379/0", "rediss://***@host:6379/0"),
        ("redis://host:6379/0?password=SECRET", "redis://host:6379/0?password=***"),
        ("/data/upload/1/a.png?token=SECRET", "/data/upload/1/a.png?token=***"),
        ("https://host/a b.png?sig=SECRET SECRET", "https://host/a b.png?sig=***"),
    ],
)
def test_secrets_are_hidden(address: str, shown: str) -> None:
    assert redact_address(address) == shown


@pytest.mark.parametrize(
    "address",
    [
        "/data/upload/1/a.png",
        "/data/local-files/?d=folder/a.png",
        "https://host/data/local-files/?d=folder/a.png",
        "s3://bucket/a@2x.png",
        "https://host:8080/a.png",
        "data:image/png;base64,AAAA==",
        "is it up? see docs/operation.md",
        "a=b?c=d",
    ],
)
def test_what_holds_no_secret_stays(address: str) -> None:
    assert redact(address) == address


def test_a_path_of_local_files_hides_its_other_values() -> None:
    assert redact_address("/data/local-files/?t=SECRET&d=a.png") == "/data/local-files/?t=***&d=a.png"


def test_addresses_inside_of_a_sentence_are_redacted() -> None:
    sentence = f"'{SIGNED}' is gone (Max retries exceeded with url: /b.png?X-Amz-Signature=SECRET (Caused by x))"
    assert "SECRET" not in redact(sentence)
    assert "bucket.s3.example/a/b.png" in redact(sentence)


@given(st.text(st.characters(exclude_characters=" \t\n'\"<>")))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = redact_address("https://host/" + text)
    assert redact_address(once) == once


def test_a_long_line_takes_no_time() -> None:
    began = time.monotonic()
    for text in ("/?" * 200_000, "://@" * 100_000, "a" * 400_000 + "?x=1", "?=" * 200_000):
        redact(text)
    assert time.monotonic() - began < 5


def test_errors_show_no_secret_wherever_they_are_made() -> None:
    # Protected by SamloopError's constructor.
    assert all("SECRET" not in str(fault) for fault in (Upstream(SIGNED), Unavailable(SIGNED)))


def test_a_redirect_is_followed_with_its_signature_and_told_without() -> None:
    redirect = RedirectedElsewhere(SIGNED)
    assert redirect.location == SIGNED
    assert "SECRET" not in str(redirect)
    assert "SECRET" not in repr(redirect)
