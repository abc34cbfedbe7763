"""Edges at 4000 px, before and after the second look: `python tests/benchmarks/refinement.py [--objects 12]`.

Real images (the nuclei, the demo's photographs) lie side by side at their own scale on 4000x3000 px, so that the
truth is known. Prints the mean IoU and Boundary IoU (band 10 px) of either set, by the true box and by one click. An
object takes two encodings.
"""

import argparse
import io
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from backend.cli.demo.photographs import sample_photographs
from backend.images.folder import find_image
from backend.labelstudio.controls.regions import mask_of_region
from backend.masks.crop import Crop
from backend.masks.metrics import boundary_iou, iou
from backend.masks.prompt import Box, Click, Prompt
from backend.sam.closer.refine import refine_mask
from backend.sam.frame import SAM_FRAME
from backend.sam.loading import BaseModel, decoder_of, load_base
from backend.sam.predictor import Embedding, Predictor, encode
from backend.settings import Settings
from finetuner.data.prompting import farthest_point

NUCLEI = Path(__file__).resolve().parents[3] / "shared" / "data" / "nuclei"

Part = tuple[Image.Image, list[np.ndarray]]
HEIGHT, WIDTH, BAND = 3000, 4000, 0.002


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def nuclei() -> list[Part]:
    parts: list[Part] = []
    for task in json.loads((NUCLEI / "export.json").read_text()):
        picture = Image.open(find_image(NUCLEI / "images", task["data"]["image"])).convert("RGB")
        size = {"height_px": picture.height, "width_px": picture.width}
        regions = [region for annotation in task["annotations"] for region in annotation["result"]]
        parts.append((picture, [mask_of_region(region, **size) for region in regions]))
    return parts


def photographs() -> list[Part]:
    return [
        (Image.open(io.BytesIO(photograph.png)).convert("RGB"), [item.mask for item in photograph.objects])
        for photograph in sample_photographs()
    ]


def mosaic(parts: list[Part]) -> tuple[Image.Image, list[tuple[int, int, np.ndarray]]]:
    """The large image, and the place and mask of every object that is whole on it."""
    large, objects = Image.new("RGB", (WIDTH, HEIGHT)), []
    x = y = tallest = number = 0
    while y < HEIGHT:
        picture, masks = parts[number % len(parts)]
        large.paste(picture, (x, y))
        if x + picture.width <= WIDTH and y + picture.height <= HEIGHT:
            objects += [(y, x, mask) for mask in masks if mask.any()]
        x, tallest, number = x + picture.width, max(tallest, picture.height), number + 1
        if x >= WIDTH:
            x, y, tallest = 0, y + tallest, 0
    return large, objects


def measure_edges(base: BaseModel, parts: list[Part], *, objects: int) -> dict[str, list[tuple[float, ...]]]:
    predictor = Predictor(base, decoder_of(base, None), version="measured")
    large, everything = mosaic(parts)
    embedding = encode(base, large)
    found: dict[str, list[tuple[float, ...]]] = {"box": [], "click": []}

    def encode_crop(crop: Crop) -> Embedding:
        return encode(base, large.crop((crop.x0_px, crop.y0_px, crop.x1_px, crop.y1_px)))

    for index in np.random.default_rng(1).permutation(len(everything))[:objects]:
        y, x, mask = everything[index]
        truth = np.zeros((HEIGHT, WIDTH), np.bool_)
        truth[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        rows, columns = np.nonzero(truth)
        box = Box(*map(float, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)))
        middle = farthest_point(mask)
        click = Click(middle.x_px + x, middle.y_px + y)
        for kind, prompt in (("box", Prompt(box=box)), ("click", Prompt(clicks=(click,)))):
            (first,) = predictor.decode(embedding, (prompt,))
            second = refine_mask(first, prompt, predictor=predictor, frame=SAM_FRAME, encode_crop=encode_crop)
            found[kind].append(
                tuple(
                    measure(answer.mask, truth)
                    for answer in (first, second)
                    for measure in (iou, lambda a, b: boundary_iou(a, b, band=BAND))
                )
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=12, help="of either set")
    settings, objects = Settings.from_env(), parser.parse_args().objects
    base = load_base(
        settings.sam.model, cache_dir=settings.cache.dir, device=settings.sam.device, dtype=settings.sam.dtype
    )
    say("| set, prompt | n | IoU before | after | Boundary IoU before | after |\n| --- | --- | --- | --- | --- | --- |")
    for name, parts in (("coins and bricks", photographs()), ("nuclei", nuclei())):
        for kind, rows in measure_edges(base, parts, objects=objects).items():
            before, edge_before, after, edge_after = np.mean(rows, axis=0)
            say(f"| {name}, {kind} | {len(rows)} | {before:.3f} | {after:.3f} | {edge_before:.3f} | {edge_after:.3f} |")


if __name__ == "__main__":
    main()
