"""From per cent of the image, as Label Studio writes places, to pixels of the upright image."""

from backend.errors import BadInput
from backend.labelstudio.controls.shape import Size, Value
from backend.labelstudio.values import finite_number
from backend.masks.prompt import Box

# Label Studio's front end lets a prompt stick out of the image by a rounding, never by a per cent.
_SLACK_PERCENT = 1.0


def place_px(value: Value, size: Size) -> tuple[float, float]:
    """Return `x` and `y` in pixels, within the image: a rounding beyond its edge is cut off.

    Raises:
        BadInput: a number that is not finite, or outside of the image.
    """
    return _percent(value, "x") * size.width_px / 100, _percent(value, "y") * size.height_px / 100


def lengths_px(value: Value, across: str, down: str, *, size: Size, what: str) -> tuple[float, float]:
    """Return two lengths in pixels, one along the image's width and one along its height.

    Raises:
        BadInput: a number that is not finite, 0 or less, or larger than the image.
    """
    lengths = finite_number(value, across), finite_number(value, down)
    if not all(0 < length <= 100 + _SLACK_PERCENT for length in lengths):
        raise BadInput(
            f"a {what} of {across} {lengths[0]:g} % and {down} {lengths[1]:g} % is empty or larger than the image; "
            "draw it again"
        )
    return lengths[0] * size.width_px / 100, lengths[1] * size.height_px / 100


def box_in_image(box_xyxy: tuple[float, float, float, float], *, size: Size, what: str) -> Box:
    """Return the part of a box that lies in the image; all in pixels.

    Raises:
        BadInput: no part does; `what`, such as "a rectangle", is what the error calls it.
    """
    x0_px, y0_px, x1_px, y1_px = box_xyxy
    box = Box(
        _within(x0_px, size.width_px),
        _within(y0_px, size.height_px),
        _within(x1_px, size.width_px),
        _within(y1_px, size.height_px),
    )
    if box.x0_px >= box.x1_px or box.y0_px >= box.y1_px:
        raise BadInput(f"{what} lies outside of the image; draw it again")
    return box


def _percent(value: Value, key: str) -> float:
    number = finite_number(value, key)
    if not -_SLACK_PERCENT <= number <= 100 + _SLACK_PERCENT:
        raise BadInput(f"{key} is {number:g} %, outside of the image: it goes from 0 to 100")
    return _within(number, 100)


def _within(number: float, most: int) -> float:
    return min(max(number, 0.0), float(most))
