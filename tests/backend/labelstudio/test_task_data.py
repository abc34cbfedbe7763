"""An image is found where the labelling config or the look of a value says, and nowhere else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadInput
from backend.labelstudio.task_data import (
    ImagePlace,
    find_address,
    find_image_key,
    find_image_places,
    image_at,
    read_variable,
    replace_at,
)

UPLOAD = "/data/upload/1/0123abcd-a0.png"


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"image": UPLOAD}, "image"),
        ({"meta": {"url": UPLOAD}}, "meta.url"),
        ({"images": [UPLOAD, "/other.png"]}, "images[0]"),
        ({"document": [{}, {"page": UPLOAD}]}, "document[1].page"),
        ({"meta.url": UPLOAD, "meta": {"url": "/nested.png"}}, "meta.url"),
        ({"image": f" {UPLOAD}\n"}, "image"),
        ({"images": [UPLOAD, "/other.png"]}, "images"),
        ({"images": UPLOAD}, "images[0]"),
        ({"file": "0123abcd-a0.png"}, "/data/upload/1/$file"),
        ({"at": {"folder": "upload"}, "ids": [1]}, "/data/$at.folder/$ids[0]/0123abcd-a0.png"),
        ({"$undefined$": UPLOAD}, "$undefined$"),
        ({"$undefined$": UPLOAD}, "image"),  # a list of addresses was imported, and an ML backend gets it so
    ],
)
def test_a_path_into_the_data_leads_to_the_address(data: Any, path: str) -> None:
    assert image_at(data, path) == UPLOAD


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (None, "image"),
        ([UPLOAD], "image"),
        ({"image": 5}, "image"),
        ({"image": "  "}, "image"),
        ({"images": [UPLOAD]}, "images[1]"),
        ({"$undefined$": UPLOAD, "image": None}, "image"),
        ({"$undefined$": UPLOAD}, "meta.url"),
        ({"images": UPLOAD}, "images[1]"),
        ({"images": [UPLOAD]}, "images[99999999999]"),
        ({"images": []}, "images"),
        ({"images": [[UPLOAD]]}, "images"),
        ({"meta": UPLOAD}, "meta.url"),
        ({"file": None}, "/data/upload/1/$file"),
        ({"file": {"name": "a.png"}}, "/data/upload/1/$file"),
        ({"file": "a.png"}, "$"),
    ],
)
def test_a_path_that_leads_to_no_text_gives_nothing(data: Any, path: str) -> None:
    assert image_at(data, path) is None


@given(st.recursive(st.none() | st.text(max_size=9), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_data_may_be_asked(data: Any) -> None:
    for path in ("image", "a.b", "a[0]", "[", "", "/x/$a"):
        found = image_at(data, path)
        assert found is None or found == found.strip() != ""
    find_image_key(data)


@pytest.mark.parametrize(
    "address",
    [
        UPLOAD,
        "s3://b/scan #1.png",
        "gs://b/why?.png",
        "https://host/a.JPG?X-Signature=1",
        "/data/local-files/?d=set/a.tiff",
        "data:image/png;base64,AAAA",
        "a.gif",
        "a.avif",
        "a.jfif",
        " a.webp ",
    ],
)
def test_an_address_of_an_image_is_known_by_its_look(address: str) -> None:
    assert find_image_key({"text": "no image", "picture": address}) == "picture"


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"meta": {"url": UPLOAD}}, "meta.url"),
        ({"images": [UPLOAD]}, "images[0]"),
        ({"text": "none", "frames": [{"note": "b"}, {"src": UPLOAD}]}, "frames[1].src"),
        ({"thumbs": ["/t.png"], "zoomed": UPLOAD}, "zoomed"),  # of the task itself first
        ({"note": "b.txt", "photo": "s3://bucket/5678"}, "photo"),
        ({"photo": "https://host/image?id=5", "count": 3}, "photo"),
    ],
)
def test_an_image_is_looked_for_within_the_data_and_without_an_ending(data: Any, key: str) -> None:
    assert find_image_key(data) == key
    assert image_at(data, key) is not None


def test_of_two_addresses_without_an_ending_neither_is_guessed() -> None:
    assert find_image_key({"one": "s3://bucket/1", "two": "s3://bucket/2"}) is None


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["page_1"], ["document[1].page"]),
        (["page_2", "page_0"], ["document[2].page", "document[0].page"]),
        (["page_3"], []),  # the list is shorter
        (["page"], []),
        (["page_1", "cover"], []),
    ],
)
def test_a_tag_of_a_repeater_is_the_item_of_its_number(names: list[str], keys: list[str]) -> None:
    data = {"title": "x", "document": [{"page": f"/{page}.png"} for page in range(3)]}
    found = find_image_places(data, names=names)
    assert found == [ImagePlace(name=name, key=key) for name, key in zip(names, keys, strict=False)]


@pytest.mark.parametrize(
    ("data", "path", "replaced"),
    [
        ({"image": "a", "text": "b"}, "image", {"image": "new", "text": "b"}),
        (
            {"pages": [{"url": "a"}, {"url": "b", "n": 1}]},
            "pages[1].url",
            {"pages": [{"url": "a"}, {"url": "new", "n": 1}]},
        ),
        ({"a.b": "c", "a": {"b": "d"}}, "a.b", {"a.b": "new", "a": {"b": "d"}}),
        ({"images": ["a", "b"]}, "images", {"images": ["new", "b"]}),
        ({"images": "a"}, "images[0]", {"images": "new"}),
        ({"$undefined$": "a"}, "image", {"$undefined$": "new"}),
    ],
)
def test_an_address_is_replaced_where_the_path_leads_and_nowhere_else(data: Any, path: str, replaced: Any) -> None:
    before = repr(data)
    assert replace_at(data, path, "new") == replaced
    assert repr(data) == before


def test_an_address_of_which_the_data_hold_a_part_is_not_replaced() -> None:
    with pytest.raises(BadInput, match="builds the address as '/x/\\$file'; the data hold only parts of it"):
        replace_at({"file": "a.png"}, "/x/$file", "new")


@pytest.mark.parametrize(
    ("value", "path"),
    [("$image", "image"), ("$pages[0].url", "pages[0].url"), ("https://host/$file", "https://host/$file"), ("$", "")],
)
def test_a_tag_s_value_is_a_path_or_a_text_around_paths(value: str, path: str) -> None:
    assert read_variable(value) == path


@pytest.mark.parametrize("data", [None, [], {}, {"a": "b.txt"}, {"a": "data:text/plain,a.png"}, {"a": 5}])
def test_without_one_there_is_no_key(data: Any) -> None:
    assert find_image_key(data) is None


def test_the_tag_that_regions_name_goes_before_a_file_beside_the_image() -> None:
    """PostgreSQL sorts keys by length, so that "mask" stands before "image" in every export from there."""
    data = {"mask": "/data/upload/1/mask.png", "image": UPLOAD}
    assert find_image_key(data, names=["image"]) == "image"
    assert find_image_key(data, names=["mask"]) == "mask"


@pytest.mark.parametrize(
    ("keys", "names", "key"),
    [
        (["mask", "image"], ["img"], "image"),
        (["thumb_url", "image_url"], ["image"], "image_url"),
        (["overlay", "photo"], ["img-1"], "photo"),
        (["gt", "img_path"], [], "img_path"),
        (["imageMask", "slide"], ["image"], "slide"),
        (["image_2", "page"], ["page_view"], "page"),
        (["first", "second"], ["img"], "first"),
        (["mask", "gt"], ["img"], "mask"),
    ],
)
def test_of_several_images_the_words_of_the_key_decide(keys: list[str], names: list[str], key: str) -> None:
    assert find_image_key({name: f"/data/upload/1/{name}.png" for name in keys}, names=names) == key


def test_an_address_goes_before_a_text_that_names_a_file() -> None:
    assert find_image_key({"text": "photo of a2.png", "image": UPLOAD}) == "image"
    assert find_image_key({"text": "a2.png", "more": "b.png"}) == "text"


def test_a_nested_address_under_the_tag_s_name_goes_before_the_name_of_a_file() -> None:
    data = {"name": "a0.png", "media": {"image": UPLOAD, "mask": "/data/upload/1/mask.png"}}
    assert find_image_key(data, names=["image"]) == "media.image"
    assert find_image_key(data, names=["img"]) == "name"
    assert find_image_key({**data, "picture": "/data/upload/1/b.png"}, names=["image"]) == "picture"


def test_pages_in_a_nested_list_are_told_apart_by_the_pages_of_the_regions() -> None:
    data = {"icon": "/i.png", "doc": {"title": "a.png", "pages": ["/0.png", "/1.png"]}}
    assert find_image_places(data, names=["image"], pages=[0, 1]) == [
        ImagePlace(name="image", key=f"doc.pages[{page}]", page=page) for page in (0, 1)
    ]
    assert find_image_places({"doc": {"page": "/0.png"}}, names=["image"], pages=[0, 1]) == []


def test_the_whole_address_is_known_by_what_is_shown_of_it() -> None:
    data = {"text": "no image", "pages": [{"url": " https://host/a.png?sig=1 "}, {"url": "https://host/b.png?sig=2"}]}
    assert find_address(data, "https://host/b.png?sig=***") == "https://host/b.png?sig=2"
    assert find_address(data, "https://host/a.png?sig=***") == "https://host/a.png?sig=1"
    assert find_address(data, "https://host/c.png?sig=***") is None
