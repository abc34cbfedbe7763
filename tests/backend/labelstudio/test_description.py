"""The review page is named once in a description, and nothing else of it changes."""

from hypothesis import given
from hypothesis import strategies as st

from backend.labelstudio.description import with_review_link

URL = "http://samloop.local:9090/review/7"
LINE = f"samloop, what got tighter: {URL}"


def test_the_line_comes_after_what_stands_there() -> None:
    assert with_review_link("Coins on a table.", URL) == f"Coins on a table.\n\n{LINE}"
    assert with_review_link("", URL) == with_review_link(None, URL) == LINE


def test_a_backend_that_moved_replaces_its_line_where_people_put_it() -> None:
    before = f"Read first:\n{LINE}\nThen label <b>every</b> coin.\r\n"
    after = with_review_link(before, "https://new.example/review/7")
    assert after == before.replace(URL, "https://new.example/review/7")


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
