"""A labelling interface is read as the editor reads it."""

import pytest

from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.tags import parse_tags, read_kind

IMAGE = '<Image name="image" value="$image"/>'
BRUSH = '<BrushLabels name="tag"><Label value="A"/></BrushLabels>'


def to_names(xml: str) -> dict[str, str | None]:
    return {tag.get("name", ""): tag.get("toname") for tag in parse_tags(xml).iter() if read_kind(tag) == "brushlabels"}


def test_attributes_are_known_in_any_letters() -> None:
    config = parse_label_config(
        '<View><IMAGE Name="image" VALUE="$image"/><brushLabels NAME="tag" toname="image" Smart="FALSE">'
        '<Label Value="A" ALIAS="a"/></brushLabels></View>'
    )
    (control,) = config.controls
    assert (config.image_key, control.from_name, control.labels, control.is_smart) == ("image", "tag", ("a",), False)


def test_a_control_without_an_object_is_on_the_only_one() -> None:
    assert to_names(f"<View>{IMAGE}{BRUSH}</View>") == {"tag": "image"}
    (control,) = parse_label_config(f"<View>{IMAGE}{BRUSH}</View>").controls
    assert control.to_name == "image"


@pytest.mark.parametrize("other", ['<Image name="second" value="$b"/>', '<Text name="words" value="$text"/>'])
def test_beside_a_second_object_it_is_on_none(other: str) -> None:
    assert to_names(f"<View>{IMAGE}{other}{BRUSH}</View>") == {"tag": None}


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (" $image ", "image"),
        ("https://host/images/$file", "https://host/images/$file"),
        ("/data/local-files/?d=set/$file", "/data/local-files/?d=set/$file"),
    ],
)
def test_an_image_may_be_named_by_a_text_around_a_variable(value: str, key: str) -> None:
    assert parse_label_config(f'<View><Image name="image" value="{value}"/>{BRUSH}</View>').image_key == key
