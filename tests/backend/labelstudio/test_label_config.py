"""A project's label config becomes typed controls; hostile or ambiguous XML is refused with one sentence."""

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.payloads import COINS

from backend.errors import BadInput
from backend.labelstudio.label_config import Control, parse_label_config

IMAGE = '<Image name="image" value="$image"/>'


def test_a_recorded_project_has_its_three_controls() -> None:
    config = parse_label_config(COINS)
    assert (config.image_name, config.image_key) == ("image", "image")
    assert [control.kind for control in config.controls] == ["brushlabels", "keypointlabels", "rectanglelabels"]
    assert Control("brushlabels", "brush", "image", ("Coin", "Other")) in config.controls
    assert "polygonlabels" not in {control.kind for control in config.controls}


def test_a_control_on_another_object_or_without_a_name_is_left_out() -> None:
    config = parse_label_config(
        f'<View>{IMAGE}<Text name="text" value="$text"/><BrushLabels name="a" toName="text"/>'
        '<BrushLabels toName="image"/><Choices name="c" toName="image"><Choice value="x"/></Choices>'
        '<BrushLabels name="b" toName="image,text"><Label value="Cell" alias="cell"/><Label/></BrushLabels></View>'
    )
    assert config.controls == (Control("brushlabels", "b", "image", ("cell",), other_names=(("Cell", "cell"),)),)


def test_a_brush_without_labels_is_a_control_without_labels() -> None:
    config = parse_label_config(f'<View>{IMAGE}<Brush name="b" toName="image"/></View>')
    assert config.controls == (Control("brush", "b", "image"),)


def controls_of(tags: str) -> tuple[Control, ...]:
    return parse_label_config(f"<View>{IMAGE}{tags}</View>").controls


def test_any_label_is_possible_where_the_tasks_name_labels_too() -> None:
    config = f'<View>{IMAGE}<BrushLabels name="b" toName="image"><Label value="Coin"/></BrushLabels></View>'
    assert parse_label_config(config).labels == {"Coin"}
    assert parse_label_config(config.replace('name="b"', 'name="b" value="$more"')).labels == frozenset()


def test_the_attributes_for_models_are_read() -> None:
    (control,) = controls_of(
        '<PolygonLabels name="p" toName="image" smart="false" model_skip="1" model_score_threshold="0.25"'
        ' model_polygon_tolerance_px="2"><Label value="Car" predicted_values="jeep, cab,,truck"/></PolygonLabels>'
    )
    assert (control.is_smart, control.is_skipped, control.score_threshold) == (False, True, 0.25)
    assert control.polygon_tolerance_px == 2
    assert control.predicted == (("jeep", "Car"), ("cab", "Car"), ("truck", "Car"))
    assert (control.shape.name, control.has_labels) == ("polygon", True)


def test_the_older_name_of_the_threshold_is_read_too() -> None:
    (control,) = controls_of('<Brush name="b" toName="image" score_threshold="0.1"/>')
    assert control.score_threshold == 0.1


@pytest.mark.parametrize(("attribute", "smart"), [("", True), ('smart="false"', False), ('smartOnly="true"', True)])
def test_a_control_is_smart_unless_it_says_no(attribute: str, smart: bool) -> None:
    (control,) = controls_of(f'<Brush name="b" toName="image" {attribute}/>')
    assert control.is_smart is smart


BESIDE = '<Labels name="l" toName="image">' + "".join(f'<Label value="{n}"/>' for n in range(510)) + "</Labels>"
MANY_NAMES = f"""<View>{IMAGE}{BESIDE}{'<Brush name="b" toName="image"/>' * 100}</View>"""
LAUGHS = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><View>&b;</View>'
XXE = '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><View>&a;</View>'


@pytest.mark.parametrize(
    ("xml", "complaint"),
    [
        ("", "not well-formed"),
        ("<View>", "not well-formed"),
        ("hello", "not well-formed"),
        ("<View>\0</View>", "not well-formed"),
        (LAUGHS, "document type or entities"),
        (XXE, "document type or entities"),
        ('<!DOCTYPE html SYSTEM "x.dtd"><View/>', "document type or entities"),
        ("<View>" + " " * 10_000_000 + "</View>", "10000013 bytes; at most 1048576 are allowed"),
        ("<View/>", 'has no <Image> tag, and samloop masks images alone: add <Image name="image" '),
        (f"<View>{IMAGE}{IMAGE}</View>", "has 2 <Image> tags"),
        ('<View><Image value="$image"/></View>', "write name="),
        ('<View><Image name="image" value="image"/></View>', "write name="),
        ('<View><Image name="image" value="$"/></View>', "write name="),
        (f"<View>{IMAGE}{'<Brush/>' * 300}</View>", "300 controls"),
        (f"""<View>{IMAGE}{'<Labels name="l" toName="image"/>' * 300}</View>""", "300 <Labels> tags"),
        (MANY_NAMES, "names labels 51000 times over all controls; at most 50000 are allowed"),
        (
            f'<View>{IMAGE}<Brush name="b" toName="image" model_score_threshold="high"/></View>',
            'model_score_threshold="high" of <Brush> is not a number from 0 to 1',
        ),
        (
            f'<View>{IMAGE}<Polygon name="b" toName="image" model_polygon_tolerance_px="-1"/></View>',
            'model_polygon_tolerance_px="-1" of <Polygon> is not a number from 0 to 100',
        ),
        (
            f'<View>{IMAGE}<Brush name="b" toName="image" model_score_threshold="nan"/></View>',
            "is not a number from 0 to 1",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(xml: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        parse_label_config(xml)


def test_depth_does_not_break_the_reader() -> None:
    with pytest.raises(BadInput, match="has no <Image> tag"):
        parse_label_config("<a>" * 100_000 + "</a>" * 100_000)


def test_a_thousand_labels_are_found_on_250_controls_in_a_moment() -> None:
    """Half a megabyte of labels took ten prompts 31 s: every look-up built its table anew."""
    labels = "".join(f'<Label value="Part {n}"/>' for n in range(150))
    tags = "".join(f'<BrushLabels name="b{n}" toName="image">{labels}</BrushLabels>' for n in range(250))
    config = parse_label_config(f"<View>{IMAGE}{tags}</View>")
    began_s = time.process_time()
    for number in range(1000):
        assert all(control.label_for(f"part {number}") is None for control in config.controls) is (number >= 150)
    assert time.process_time() - began_s < 5, "0.1 s, and 60 s with a table a look-up"


_TAGS = ["View", "Image", "BrushLabels", "Brush", "KeyPointLabels", "Labels", "Label", "Repeater", "Choices"]
_NAMES = ["name", "toName", "value", "valueList", "alias", "smart", "on", "indexFlag", "background"]
_VALUES = ["image", "b", "$image", "$", "$a[{{i}}].b", "{{i}}", "", " ", "true", "1e999", "-1", "x" * 300, "&lt;", ","]


def write_tag(tag: str, attributes: dict[str, str], within: list[str]) -> str:
    written = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    return f"<{tag} {written}>{''.join(within)}</{tag}>"


def nest(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    attributes = st.dictionaries(st.sampled_from(_NAMES), st.sampled_from(_VALUES), max_size=4)
    return st.builds(write_tag, st.sampled_from(_TAGS), attributes, st.lists(inner, max_size=4))


TREES = st.recursive(st.just(""), nest, max_leaves=12)


@settings(max_examples=200)
@given(xml=TREES.map(lambda tree: f"<View>{IMAGE}{tree}</View>") | st.text(max_size=60))
def test_any_tree_of_tags_is_a_config_or_refused(xml: str) -> None:
    with contextlib.suppress(BadInput):
        config = parse_label_config(xml)
        assert config.image_name
        assert all(control.to_name and control.from_name for control in config.controls)
