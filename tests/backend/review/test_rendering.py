"""Figures on pages read as people write them, and nothing that is shown can become markup."""

from typing import Any

import pytest
from jinja2 import UndefinedError

from backend.errors import BadInput
from backend.review.rendering import Renderer, _figure, _format_signed, _moment, _tone
from backend.review.visitor import Visitor

VISITOR = Visitor(analyst="ada", root="/proxy")


class NoStudio:
    def label_studio(self, project_id: int) -> None:
        """None is known."""


@pytest.fixture
def renderer() -> Renderer:
    connections: Any = NoStudio()
    return Renderer(connections=connections, base_version=lambda: "mobile-sam-base", recall=lambda _: None)


def test_a_figure_has_three_digits_and_a_dash_where_nothing_was_measured() -> None:
    assert (_figure(0.12345), _figure(2.0, 1), _figure(None)) == ("0.123", "2.0", "\N{EN DASH}")


def test_a_difference_has_its_sign() -> None:
    assert (_format_signed(-0.0004), _format_signed(0.0004), _format_signed(-3.04, 1)) == (
        "0.000",
        "0.000",
        "\N{MINUS SIGN}3.0",
    )
    assert [_tone(gain) for gain in (0.0004, -0.0004, None, 0.002, -0.002)] == ["", "", "", "better", "worse"]
    assert (_format_signed(0.0214), _format_signed(-0.5), _format_signed(None)) == (
        "+0.021",
        "\N{MINUS SIGN}0.500",
        "\N{EN DASH}",
    )


def test_a_moment_is_told_in_utc_and_says_so_and_holds_what_a_script_needs_to_tell_it_in_the_readers_time() -> None:
    shown = _moment("2026-01-05T09:30:12+00:00")
    assert shown == '<time datetime="2026-01-05T09:30:12+00:00">2026-01-05 09:30 UTC</time>'
    assert "<b>" not in _moment("<b>")


def test_what_is_shown_stays_text(renderer: Renderer) -> None:
    page = renderer.render("failure.html", 7, VISITOR, fault=BadInput("<script>alert(1)</script>"))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "/proxy/review/static/" in page


def test_a_template_that_lacks_a_value_fails_instead_of_showing_nothing(renderer: Renderer) -> None:
    with pytest.raises(UndefinedError):
        renderer.render("sent.html", 7, VISITOR)
