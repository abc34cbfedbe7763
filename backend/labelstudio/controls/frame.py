"""From per cent of the image, as Label Studio writes places, to pixels of the upright image."""

from backend.errors import BadInput
from backend.labelstudio.controls.shape import Size, Value
from backend.labelstudio.values import finite_number
from backend.masks.prompt import Box

# Label Studio's front end lets a prompt stick out of the image by a rounding, never by a per cent.
_SLACK_PERCENT = 1.0


def place_px(value: Value, size: Size) -> tuple[float, float]:
    """Return the place of a click, `x` and `y`, in pixels within the image: a rounding beyond its edge is cut off.

    Raises:
        BadInput: a number that is not finite, or outside of the image.
    """
    return _percent(value, "x") * size.width_px / 100, _percent(value, "y") * size.height_px / 100


def scale_px(value: Value, across: str, down: str, *, size: Size) -> tuple[float, float]:
    """Return two numbers of a value, in per cent of the image's width and of its height, in pixels.

    They may lie outside of the image. A length is in per cent of the side that it runs along at rotation 0, however far
    it is turned, so on a tall image one of 600 % of the width may fit.

    Raises:
        BadInput: a number that is not finite.
    """
    return finite_number(value, across) * size.width_px / 100, finite_number(value, down) * size.height_px / 100


def box_in_image(box_xyxy: tuple[float, float, float, float], *, size: Size, what: str) -> Box:
    """Return the part of a box that lies in the image; all in pixels.

    Raises:
        BadInput: it has no area there; `what`, such as "a rectangle", is what the error calls it.
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
