"""What a `save_pretrained` folder says of its class."""

from pathlib import Path

import pytest

from backend.sam.families.pretrained import read_architectures


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ('{"architectures": ["SamModel"]}', ("SamModel",)),
        ('{"architectures": ["SamModel", 3, "Other"]}', ("SamModel", "Other")),
        ('{"architectures": "SamModel"}', ()),
        ("{}", ()),
        ("[]", ()),
        ("no JSON", ()),
    ],
)
def test_the_names_in_a_config_are_read_as_far_as_they_are_names(
    tmp_path: Path, content: str, names: tuple[str, ...]
) -> None:
    (tmp_path / "config.json").write_text(content)
    assert read_architectures(tmp_path) == names


def test_a_folder_without_a_config_names_no_class(tmp_path: Path) -> None:
    assert read_architectures(tmp_path) == ()
