"""A mask as one image to download: the image with its outlines and its prompt drawn in, and a line of figures below."""

import io

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw, ImageFont

from backend.masks.svg import resize
from backend.review.masks.cards import Card

_LEAST_PX = 640  # of the picture's longer side: smaller parts are enlarged, pixel by pixel
_LINE_PX, _DOT_PX, _FOOT_PX = 2, 5, 30
_HUMAN, _BASE, _CANDIDATE, _PROMPT = (255, 255, 255), (255, 154, 31), (57, 165, 255), (255, 111, 216)  # as on the pages


def draw_picture(card: Card, part: Image.Image, *, opposite: str, version: str) -> bytes:
    """Draw a PNG of the card.

    Args:
        card: whose masks and prompt are drawn.
        part: the part of the image in the object's window, at any scale.
        opposite: the name of the model that the version is compared with.
        version: the version's own name.
    """
    factor = max(1, round(_LEAST_PX / max(part.size)))
    size = part.width * factor, part.height * factor
    picture = part.convert("RGB").resize(size, Image.Resampling.NEAREST)
    y0, x0, height, width = card.item.window
    against = card.against.mask if card.against else None
    masks = ((card.item.human, _HUMAN), (against, _BASE), (card.drawn.mask, _CANDIDATE))
    for mask, colour in masks:
        if mask is not None:
            _trace(picture, resize(mask.window(y0, x0, height_px=height, width_px=width), size), colour)
    lines = card.outlines(longest_px=max(size))
    pen, across = ImageDraw.Draw(picture), size[0] / lines.width_px
    if lines.box:
        left, top, wide, tall = (value * across for value in lines.box)
        pen.rectangle((left, top, left + wide, top + tall), outline=_PROMPT, width=_LINE_PX)
    if lines.click:
        x, y = (value * across for value in lines.click)
        pen.ellipse((x - _DOT_PX, y - _DOT_PX, x + _DOT_PX, y + _DOT_PX), fill=_PROMPT)
    return _encode(_add_foot(picture, card, opposite=opposite, version=version))


def _trace(picture: Image.Image, mask: Bool[np.ndarray, "h w"], colour: tuple[int, int, int]) -> None:
    """Colour the outermost _LINE_PX of the mask."""
    inner = np.pad(mask, 1)
    for _ in range(_LINE_PX):
        inner = inner & np.roll(inner, 1, 0) & np.roll(inner, -1, 0) & np.roll(inner, 1, 1) & np.roll(inner, -1, 1)
    edge = mask & ~inner[1:-1, 1:-1]
    picture.paste(colour, mask=Image.fromarray(edge.view(np.uint8) * np.uint8(255)))


def _add_foot(picture: Image.Image, card: Card, *, opposite: str, version: str) -> Image.Image:
    parts = [("annotator", _HUMAN), (f"{version}: IoU {card.drawn.iou:.3f}", _CANDIDATE)]
    if card.against is not None:
        parts.insert(1, (f"{opposite}: IoU {card.against.iou:.3f}", _BASE))
    font = ImageFont.load_default(size=15)
    wide = max(picture.width, 24 + sum(int(font.getlength(text)) + 24 for text, _ in parts))
    whole = Image.new("RGB", (wide, picture.height + _FOOT_PX))
    whole.paste(picture, ((wide - picture.width) // 2, 0))
    pen, x = ImageDraw.Draw(whole), 12.0
    for text, colour in parts:
        pen.text((x, picture.height + 6), text, fill=colour, font=font)
        x += font.getlength(text) + 24
    return whole


def _encode(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
