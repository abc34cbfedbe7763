"""Simulates annotators' prompts: slightly wrong boxes, points inside the object, and clicks where the mask is wrong.

Frame: pixels of the upright image, where the middle of the pixel in row r and column c is at x = c + 0.5, y = r + 0.5.
Functions that use the decoder's grid say so. Training draws prompts at random; evaluation's depend on the mask alone.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

from backend.masks.bounds import find_deepest_pixel, measure_depth
from backend.masks.prompt import Box, Click, Prompt
from backend.sam.frame import Frame
from finetuner.config import TrainConfig
from finetuner.data.objects import LabelledMask, grid_coverage
from finetuner.data.sample import Sample
from finetuner.data.views import View

_SURE = 10.0  # logits of a mask prompt, the same as in serving (backend.sam.mask_prompt)
_DRAWS = 8  # for a pixel of the background, before the prompt goes without
_THINNED_PX = 256  # distances only weight the draw, so a larger object is sampled at every k-th pixel


def first_prompts(
    objects: Sequence[LabelledMask], *, config: TrainConfig, frame: Frame, rng: np.random.Generator
) -> tuple[Prompt, ...]:
    """Draw one prompt per object, a box or a point, as SAM's training does (Kirillov et al. 2023, appendix A).

    Args:
        objects: the objects, on one image.
        config: the share `box_share` of the prompts are boxes, on average, for uniformly drawn objects.
        frame: the base's frame; the jitter of boxes is limited in px of its canvas.
        rng: the source of randomness.

    Returns:
        The prompts in the order of the objects, in image px.
    """
    boxes = int(np.floor(config.box_share * len(objects) + rng.random()))
    is_box = rng.permutation(np.arange(len(objects)) < boxes)
    return tuple(
        Prompt(box=jitter_box(item, config=config, frame=frame, rng=rng))
        if box
        else _point_prompt(item, config=config, rng=rng)
        for item, box in zip(objects, is_box, strict=True)
    )


def mask_prompts(
    objects: Sequence[LabelledMask], *, config: TrainConfig, frame: Frame, rng: np.random.Generator
) -> tuple[tuple[Prompt, ...], Float32[np.ndarray, "n g g"]]:
    """Draw prompts that refine a mask, as in serving: a jittered box, clicks where the mask is wrong, and the mask.

    A mask is the true one shifted by up to 2 % of its larger side plus one cell, smoothed, and cut at a random level.

    Args:
        objects: the objects, on one image.
        config: limits the jitter of the boxes.
        frame: the base's frame, with the decoder's grid.
        rng: the source of randomness.

    Returns:
        The prompts in the order of the objects, in image px, and the masks' logits: (n, g, g) float32, -10 or 10, on
        the whole grid of the decoder. Cells that the image does not reach are background.
    """
    prompts, shown = [], np.full((len(objects), frame.grid, frame.grid), -_SURE, np.float32)
    for logits, item in zip(shown, objects, strict=True):
        truth = grid_coverage(item, frame=frame)
        rows, columns = truth.shape
        size_px = {"height_px": item.height_px, "width_px": item.width_px}
        side = float(np.max(np.divide(item.crop_shape, frame.image_px_per_cell(**size_px))))
        reach = 0.02 * side + 1
        moved = ndimage.shift(truth, rng.uniform(-reach, reach, 2), order=1)
        level = rng.uniform(0.3, 0.7)
        wrong = ndimage.gaussian_filter(moved, rng.uniform(0.5, 1 + 0.05 * side)) > level
        logits[:rows, :columns] = np.where(wrong, _SURE, -_SURE)
        box = Prompt(box=jitter_box(item, config=config, frame=frame, rng=rng))
        prompts.append(correct(box, predicted=wrong, truth=truth > 0.5, frame=frame, rng=rng, **size_px))
    return tuple(prompts), shown


def jitter_box(item: LabelledMask, *, config: TrainConfig, frame: Frame, rng: np.random.Generator) -> Box:
    """Move every edge of the object's box by a random distance.

    SAM's training adds normal noise of 10 % of the side, at most 20 px (Kirillov et al. 2023, appendix A, "Training
    algorithm"). Here the distance is uniform within these limits.

    Args:
        item: the object.
        config: the limits `box_jitter`, a share of the side, and `box_jitter_max_px`, in canvas px.
        frame: the base's frame, which relates canvas px to image px.
        rng: the source of randomness.

    Returns:
        The box in image px, inside the image, with sides of at least 1 px.
    """
    box = item.box
    width, height = box.x1_px - box.x0_px, box.y1_px - box.y0_px
    down, across = frame.image_px_per_canvas_px(item.height_px, item.width_px)
    reach_x = min(config.box_jitter * width, config.box_jitter_max_px * across)
    reach_y = min(config.box_jitter * height, config.box_jitter_max_px * down)
    left, right = rng.uniform(-reach_x, reach_x, 2)
    top, bottom = rng.uniform(-reach_y, reach_y, 2)
    x0, x1 = _order(box.x0_px + left, box.x1_px + right, item.width_px)
    y0, y1 = _order(box.y0_px + top, box.y1_px + bottom, item.height_px)
    return Box(x0, y0, x1, y1)


def inner_point(item: LabelledMask, *, prefers_centre: bool, rng: np.random.Generator) -> Click:
    """Draw a click at the centre of a pixel inside the object.

    Args:
        item: the object.
        prefers_centre: weight pixels by the square of their distance to the edge, because people click in the middle;
            otherwise draw uniformly, as SAM's training does (Kirillov et al. 2023, appendix A).
        rng: the source of randomness.

    Returns:
        A positive click in image px. In an object with a side above 256 px, only every k-th pixel is a candidate.
    """
    crop = item.crop
    step = max(1, -(-max(crop.shape) // _THINNED_PX))
    inside = crop[::step, ::step]
    if not inside.any():  # an object thinner than the step
        step, inside = 1, crop
    weights = np.square(measure_depth(inside)) if prefers_centre else inside.astype(float)
    flat = weights.ravel()
    row, column = divmod(int(rng.choice(flat.size, p=flat / flat.sum())), inside.shape[1])
    return Click(item.bounds.x0_px + column * step + 0.5, item.bounds.y0_px + row * step + 0.5)


def background_click(item: LabelledMask, *, rng: np.random.Generator) -> Click | None:
    """Draw a negative click outside the object, within its box extended by half its sides, inside the image.

    Args:
        item: the object.
        rng: the source of randomness.

    Returns:
        The click in image px; None if eight draws in a row hit the object.
    """
    (height, width), bounds = item.crop_shape, item.bounds
    y0, x0 = max(0, bounds.y0_px - height // 2 - 1), max(0, bounds.x0_px - width // 2 - 1)
    y1 = min(item.height_px, bounds.y1_px + height // 2 + 1)
    x1 = min(item.width_px, bounds.x1_px + width // 2 + 1)
    for _ in range(_DRAWS):  # an object that fills the area has no background
        y, x = int(rng.integers(y0, y1)), int(rng.integers(x0, x1))
        if not _covers(item, y=y, x=x):
            return Click(x + 0.5, y + 0.5, is_foreground=False)
    return None


def absent_prompts(sample: Sample, *, view: View, count: int, rng: np.random.Generator) -> tuple[Prompt, ...]:
    """Draw single clicks on the background, far from every object: a decoder's object score learns absence from them.

    Args:
        sample: the whole image with all its objects. A view may hide an object, of which a part stays visible.
        view: the view of the image that the clicks are for.
        count: the number of clicks.
        rng: the source of randomness.

    Returns:
        At most `count` prompts with one positive click, in px of the view. A click is farther than `Sample.band_px`
        from every object, in rows or in columns. It is left out if eight draws in a row hit no such pixel, or if the
        view does not show the pixel.
    """
    drawn = (_draw_background(sample, rng=rng) for _ in range(count))
    seen = (view.item(pixel) for pixel in drawn if pixel is not None)
    return tuple(Prompt(clicks=(farthest_inner_point(pixel),)) for pixel in seen if pixel is not None)


def farthest_point(mask: Bool[np.ndarray, "h w"]) -> Click:
    """Find the pixel centre farthest from the mask's edge: the click of benchmarks (Sofiiuk et al. 2021, RITM).

    Args:
        mask: the mask; the array's border counts as an edge.

    Returns:
        A positive click in px of the array; among equals the first, row by row.

    Raises:
        ValueError: the mask is empty.
    """
    deepest = find_deepest_pixel(mask)
    if deepest is None:
        raise ValueError(f"an empty mask of {mask.shape} has no inner point: leave it out")
    return deepest.centre


def farthest_inner_point(item: LabelledMask) -> Click:
    """Find the pixel centre inside the object farthest from its edge, as `farthest_point` does.

    Args:
        item: the object; the border of its box counts as an edge.

    Returns:
        A positive click in image px.
    """
    click = farthest_point(item.crop)
    return Click(click.x_px + item.bounds.x0_px, click.y_px + item.bounds.y0_px)


def corrective_click(predicted: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> Click | None:
    """Place the next click of a careful annotator: at the deepest point of the error.

    Source: RITM's evaluation clicks (Sofiiuk et al. 2021), the point farthest from the edge of the larger error.

    Args:
        predicted: the current mask.
        truth: the object's mask, of the same shape.

    Returns:
        The click in px of the masks, positive where the mask is missing and negative where it is excess; None if the
        masks are equal.
    """
    missing, excess = find_deepest_pixel(truth & ~predicted), find_deepest_pixel(predicted & ~truth)
    if missing is not None and (excess is None or missing.depth_px >= excess.depth_px):
        return missing.centre
    return None if excess is None else replace(excess.centre, is_foreground=False)


def correct(  # noqa: PLR0913 - all by name
    prompt: Prompt,
    *,
    predicted: Bool[np.ndarray, "rows cols"],
    truth: Bool[np.ndarray, "rows cols"],
    frame: Frame,
    height_px: int,
    width_px: int,
    rng: np.random.Generator,
) -> Prompt:
    """Add a positive click where the mask is missing and a negative one where it is excess, drawn uniformly.

    SAM's training draws one click from the whole error (Kirillov et al. 2023, appendix A). One click per kind of error
    teaches both signs in one round.

    Args:
        prompt: the current prompt.
        predicted: its mask on the cells of the decoder's grid that the image reaches (`Frame.grid_reached`).
        truth: the object's mask on the same cells.
        frame: the frame with that grid.
        height_px: the image's height.
        width_px: the image's width.
        rng: the source of randomness.

    Returns:
        The prompt with up to two more clicks, at the middles of cells, in image px.
    """
    clicks = list(prompt.clicks)
    for wrong, is_foreground in ((truth & ~predicted, True), (predicted & ~truth, False)):
        places = np.flatnonzero(wrong)
        if places.size:
            row, column = divmod(int(rng.choice(places)), wrong.shape[1])
            x_px, y_px = frame.middle_of_cell(row, column, height_px=height_px, width_px=width_px)
            clicks.append(Click(x_px, y_px, is_foreground=is_foreground))
    return replace(prompt, clicks=tuple(clicks))


def _point_prompt(item: LabelledMask, *, config: TrainConfig, rng: np.random.Generator) -> Prompt:
    clicks = [inner_point(item, prefers_centre=bool(rng.random() < config.centre_share), rng=rng)]
    if rng.random() < config.background_share and (outside := background_click(item, rng=rng)):
        clicks.append(outside)
    return Prompt(clicks=tuple(clicks))


def _draw_background(sample: Sample, *, rng: np.random.Generator) -> LabelledMask | None:
    """A pixel farther than the sample's band from every object; None if eight draws in a row hit none."""
    size_px, reach = (sample.height_px, sample.width_px), sample.band_px
    for _ in range(_DRAWS):
        y, x = (int(rng.integers(side)) for side in size_px)
        window = {"height_px": 2 * reach + 1, "width_px": 2 * reach + 1}
        if not any(item.packed.window(y - reach, x - reach, **window).any() for item in sample.objects):
            return LabelledMask.cut(np.ones((1, 1), bool), at=(y, x), size_px=size_px, label=None)
    return None


def _covers(item: LabelledMask, *, y: int, x: int) -> bool:
    row, column = y - item.bounds.y0_px, x - item.bounds.x0_px
    if not (0 <= row < item.crop_shape[0] and 0 <= column < item.crop_shape[1]):
        return False
    bit = row * item.crop_shape[1] + column
    return bool(item.packed.bits[bit >> 3] >> (7 - (bit & 7)) & 1)


def _order(low_px: float, high_px: float, extent_px: int) -> tuple[float, float]:
    low_px = min(max(low_px, 0.0), extent_px - 1.0)
    return low_px, max(min(high_px, float(extent_px)), low_px + 1.0)
