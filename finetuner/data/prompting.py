"""Prompts as people give them: boxes a little off, points anywhere inside, and clicks where the mask is wrong.

Frame: pixels of the upright image; the middle of the pixel in row r and column c is at x = c + 0.5, y = r + 0.5. What
lies on the decoder's grid says so. Training draws with a generator; the mask alone decides evaluation's prompts.
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

_SURE = 10.0  # logits of a mask that is shown, as serving shows one (backend.sam.mask_prompt)
_THINNED_PX = 256  # distances are only weights while training: a large object is looked at every k-th pixel


def first_prompts(
    objects: Sequence[LabelledMask], *, config: TrainConfig, frame: Frame, rng: np.random.Generator
) -> tuple[Prompt, ...]:
    """Draw one prompt an object: a box or a point, as SAM's training does (Kirillov et al. 2023, appendix A).

    Args:
        objects: of one image.
        config: `box_share` of the prompts are boxes, on average; the objects that get one are drawn evenly.
        frame: how the base lays images out: the jitter is bounded in px of its canvas.
        rng: what is drawn comes from it.

    Returns:
        Prompts in the order of the objects, in px of the image.
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
    """A mask to refine, as serving gives it: a jittered box, clicks where the mask is wrong, and the mask's logits.

    The masks are the truth smoothed, shifted by up to 2 % of the object's box plus a cell, and cut at another level.

    Args:
        objects: of one image.
        config: bounds of the box's jitter.
        frame: whose grid the masks are on.
        rng: what is drawn comes from it.

    Returns:
        Prompts in the order of the objects, in px of the image; and logits of -10 or 10 on the whole of the decoder's
        grid, float32: what the image does not reach is background.
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
    """Move every edge of the object's box a little either way, evenly.

    SAM's training moves edges by noise of 10 % of the side, at most 20 px (Kirillov et al. 2023, appendix A, "Training
    algorithm"); here these are the bounds of an even draw.

    Args:
        item: the object.
        config: `box_jitter`, a share of the side, and `box_jitter_max_px`, in px of the canvas.
        frame: how large a px of the canvas is on this image.
        rng: what is drawn comes from it.

    Returns:
        The box in px of the image, within it, with sides of at least 1 px.
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
    """Draw a pixel's centre inside the object.

    Args:
        item: the object.
        prefers_centre: draw with probability as the square of the distance to the edge, since people click in the
            middle; else evenly, as SAM's training does (Kirillov et al. 2023, appendix A).
        rng: what is drawn comes from it.

    Returns:
        A positive click, in px of the image. Of an object of more than 256 px every k-th pixel alone is drawn from.
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
    """Draw a negative click outside the object, within its box widened by half its side and within the image.

    Returns:
        The click in px of the image; None where eight draws met the object.
    """
    (height, width), bounds = item.crop_shape, item.bounds
    y0, x0 = max(0, bounds.y0_px - height // 2 - 1), max(0, bounds.x0_px - width // 2 - 1)
    y1 = min(item.height_px, bounds.y1_px + height // 2 + 1)
    x1 = min(item.width_px, bounds.x1_px + width // 2 + 1)
    for _ in range(8):  # an object that fills its surroundings has none; then the click is simply left out
        y, x = int(rng.integers(y0, y1)), int(rng.integers(x0, x1))
        if not _covers(item, y=y, x=x):
            return Click(x + 0.5, y + 0.5, is_foreground=False)
    return None


def farthest_point(mask: Bool[np.ndarray, "h w"]) -> Click:
    """Find the pixel's centre farthest from the mask's edge: the click of benchmarks (Sofiiuk et al. 2021).

    Returns:
        A positive click in px of the array, whose border counts as an edge; of equals the first one row by row.

    Raises:
        ValueError: the mask is empty.
    """
    deepest = find_deepest_pixel(mask)
    if deepest is None:
        raise ValueError(f"an empty mask of {mask.shape} has no inner point: leave it out")
    return deepest.centre


def farthest_inner_point(item: LabelledMask) -> Click:
    """Find `farthest_point` of the object, in px of its image."""
    click = farthest_point(item.crop)
    return Click(click.x_px + item.bounds.x0_px, click.y_px + item.bounds.y0_px)


def corrective_click(predicted: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> Click | None:
    """Make the click that a careful annotator would make next: at the deepest point of what is wrong.

    RITM's clicks for evaluation (Sofiiuk et al. 2021): the farthest point from the edge of the larger error.

    Args:
        predicted: the mask so far.
        truth: the object, of the same shape.

    Returns:
        The click in px of the masks: positive where something is missing, negative where there is too much; None where
        nothing is wrong.
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
    """Add a positive click where something is missing and a negative one where there is too much, drawn evenly.

    SAM's training draws one click from the whole error (Kirillov et al. 2023, appendix A); one on either side teaches
    both signs in one round.

    Args:
        prompt: what was asked so far.
        predicted: its answer, a value for every cell of the decoder's grid that the image reaches
            (`Frame.grid_reached`).
        truth: the object on the same cells.
        frame: whose grid that is.
        height_px: of the image.
        width_px: of the image.
        rng: what is drawn comes from it.

    Returns:
        The prompt with up to two clicks more, on the middles of cells, in px of the image.
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


def _covers(item: LabelledMask, *, y: int, x: int) -> bool:
    row, column = y - item.bounds.y0_px, x - item.bounds.x0_px
    if not (0 <= row < item.crop_shape[0] and 0 <= column < item.crop_shape[1]):
        return False
    bit = row * item.crop_shape[1] + column
    return bool(item.packed.bits[bit >> 3] >> (7 - (bit & 7)) & 1)


def _order(low_px: float, high_px: float, extent_px: int) -> tuple[float, float]:
    low_px = min(max(low_px, 0.0), extent_px - 1.0)
    return low_px, max(min(high_px, float(extent_px)), low_px + 1.0)
