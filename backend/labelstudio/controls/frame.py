"""Turns per cent of the image, in which Label Studio writes places, into pixels of the upright image."""

from backend.errors import BadInput
from backend.labelstudio.controls.shape import Size, Value
from backend.labelstudio.values import finite_number
from backend.masks.prompt import Box

# Label Studio's front end lets a prompt stick out of the image by a rounding error, never by 1 %.
_SLACK_PERCENT = 1.0


def place_px(value: Value, size: Size) -> tuple[float, float]:
    """Return the place of a click, (x, y) in image px. A rounding error beyond the image's edge is cut off.

    Raises:
        BadInput: a number is not finite, or lies outside of the image.
    """
    return _percent(value, "x") * size.width_px / 100, _percent(value, "y") * size.height_px / 100


def scale_px(value: Value, across: str, down: str, *, size: Size) -> tuple[float, float]:
    """Convert two numbers of a value, in per cent of the image's width and of its height, into image px.

    They may lie outside of the image. A length is in per cent of the side along which it runs at rotation 0, however
    far the shape is turned. So a length of 600 % of the width may fit into a tall image.

    Args:
        value: a region's `value`.
        across: the key of the number in per cent of the width.
        down: the key of the number in per cent of the height.
        size: of the upright image.

    Raises:
        BadInput: a number is not finite.
    """
    return finite_number(value, across) * size.width_px / 100, finite_number(value, down) * size.height_px / 100


def box_in_image(box_xyxy: tuple[float, float, float, float], *, size: Size, what: str) -> Box:
    """Return the part of a box that lies in the image, in image px.

    Args:
        box_xyxy: left, top, right, bottom, in image px.
        size: of the upright image.
        what: what an error calls the box, such as "a rectangle".

    Raises:
        BadInput: the box has no area in the image.
    """
    x0_px, y0_px, x1_px, y1_px = box_xyxy
    box = Box(
        _within(x0_px, size.width_px),
        _within(y0_px, size.height_px),
        _within(x1_px, size.width_px),
        _within(y1_px, size.height_px),
    )
    if box.x0_px >= box.x1_px or box.y0_px >= box.y1_px:
        raise BadInput(f"{what} has no area in the image; draw it again")
    return box


def _percent(value: Value, key: str) -> float:
    number = finite_number(value, key)
    if not -_SLACK_PERCENT <= number <= 100 + _SLACK_PERCENT:
        raise BadInput(f"{key} is {number:g} %, outside of the image: it goes from 0 to 100")
    return _within(number, 100)


def _within(number: float, most: int) -> float:
    return min(max(number, 0.0), float(most))
