"""The review page is named once in a description, and nothing else of it changes."""

from hypothesis import given
from hypothesis import strategies as st

from backend.labelstudio.description import with_review_link, with_review_link_in_html

URL = "http://samloop.local:9090/review/7"
LINE = f"samloop, what got tighter: {URL}"


def test_the_line_comes_after_what_stands_there() -> None:
    assert with_review_link("Coins on a table.", URL) == f"Coins on a table.\n\n{LINE}"
    assert with_review_link("", URL) == with_review_link(None, URL) == LINE


def test_a_backend_that_moved_replaces_its_line_where_people_put_it() -> None:
    before = f"Read first:\n{LINE}\nThen label <b>every</b> coin.\r\n"
    after = with_review_link(before, "https://new.example/review/7")
    assert after == before.replace(URL, "https://new.example/review/7")


def test_the_instructions_get_one_link_and_keep_all_else() -> None:
    first = with_review_link_in_html("<p>Label <b>every</b> coin.</p>", URL)
    assert first == f'<p>Label <b>every</b> coin.</p><p><a href="{URL}">samloop: what got tighter</a></p>'
    assert with_review_link_in_html(first, URL) == first
    moved = with_review_link_in_html(first, "https://new.example/review/7")
    assert moved == first.replace(URL, "https://new.example/review/7")
    assert with_review_link_in_html(None, URL) == first.removeprefix("<p>Label <b>every</b> coin.</p>")


@given(tail=st.text())
def test_an_address_cannot_break_out_of_its_link(tail: str) -> None:
    link = with_review_link_in_html("", URL + tail)
    assert (link.count("<"), link.count('"')) == (4, 2)


@given(text=st.text())
def test_repeating_changes_nothing_and_loses_nothing(text: str) -> None:
    once = with_review_link(text, URL)
    assert with_review_link(once, URL) == once
    assert once.startswith(text)
    assert once.count(LINE) == 1


@given(tail=st.text())
def test_an_address_can_break_out_of_neither_its_line_nor_of_html(tail: str) -> None:
    after = with_review_link("Coins.", URL + tail)
    assert len(after.split()) == len(with_review_link("Coins.", URL).split())
    assert not set(after) & set("<>\"'")
    assert with_review_link(after, URL) == with_review_link("Coins.", URL)
