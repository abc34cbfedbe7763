"""The guide names what people need while they click, and where they are."""

import pytest

from backend.cli.demo.guide import Guide


@pytest.fixture
def text() -> str:
    return Guide(
        label_studio="http://127.0.0.1:8080",
        backend="http://127.0.0.1:9090",
        project=7,
        user="demo@example.com",
        password="secret",
        waiting=6,
        object_noun="a nucleus",
    ).text()


@pytest.mark.parametrize(
    "phrase",
    [
        "http://127.0.0.1:8080/projects/7/data",
        "http://127.0.0.1:8080/projects/7/settings/ml",
        "http://127.0.0.1:9090/review/7",
        "Log in  demo@example.com   password  secret",
        "one of the 6 images that have no annotation yet",
        "Keep label selected after creating a region",
        "Auto-Accept",
        "Press M",
        "CTRL + ALT",
        "If a version is not promoted",
        "Click on a nucleus",
    ],
)
def test_the_guide_says(phrase: str, text: str) -> None:
    assert phrase in text


def test_its_lines_fit_a_terminal(text: str) -> None:
    assert max(map(len, text.splitlines())) <= 120
