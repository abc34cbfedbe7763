"""The names of numbered files are their numbers, and nothing else counts."""

import pytest

from backend.errors import BadCheckpoint
from backend.registry.refs import name_file, parse_content, sort_numbers


def test_a_number_comes_back_from_its_files_name() -> None:
    assert sort_numbers([name_file(12), name_file(3), "4.json", "000000005.json~", "1000000009.json"]) == (3, 12)


@pytest.mark.parametrize("data", [b"", b"[1]", b"null", b"{", b"[" * 100_000])
def test_what_is_no_object_is_refused_by_its_place(data: bytes) -> None:
    with pytest.raises(BadCheckpoint, match=r"here is not (JSON|a pointer)"):
        parse_content(data, where="here")
