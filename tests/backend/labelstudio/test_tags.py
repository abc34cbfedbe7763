"""A labelling interface is read as the editor reads it."""

import pytest

from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.tags import parse_tags

BRUSH = '<BrushLabels name="tag" toName="image"><Label value="A"/></BrushLabels>'


def test_attributes_are_known_in_any_letters() -> None:
    config = parse_label_config(
        '<View><IMAGE Name="image" VALUE="$image"/><brushLabels NAME="tag" toname="image" Smart="FALSE">'
        '<Label Value="A" ALIAS="a"/></brushLabels></View>'
    )
    (control,) = config.controls
    assert (config.image_key, control.from_name, control.labels, control.is_smart) == ("image", "tag", ("a",), False)


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


def test_the_names_of_tags_stay_as_they_are_written() -> None:
    root = parse_tags('<View><Image name="image" value="$image" valueType="url"/></View>')
    assert [(tag.tag, tag.attrib) for tag in root] == [
        ("Image", {"name": "image", "value": "$image", "valuetype": "url"})
    ]
