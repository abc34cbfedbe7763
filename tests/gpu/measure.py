"""Prints what encoding, clicks and automatic masks cost on this machine's GPU, beside transformers' own path.

python tests/gpu/measure.py

Weights are random: time does not depend on them.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data
from transformers import SamConfig, SamModel, SamVisionConfig

from backend.masks.prompt import Click, Prompt
from backend.sam.automatic import AutomaticRules, automatic_masks
from backend.sam.canvas import pixels_on_canvas
from backend.sam.frame import SAM_FRAME
from backend.sam.loading import BaseModel, decoder_of, load_base
from backend.sam.predictor import Predictor, encode, prompt_tensors

IMAGE = Image.fromarray(data.coffee()).resize((1024, 768))
SIZES = {
    "ViT-B": SamVisionConfig(),
    "ViT-H": SamVisionConfig(
        hidden_size=1280, num_hidden_layers=32, num_attention_heads=16, global_attn_indexes=[7, 15, 23, 31]
    ),
}


def ms(work: Callable[[], object], *, times: int = 10) -> float:
    """Median of some runs after two to warm up, in ms, the device's work included."""
    taken = []
    for _ in range(times + 2):
        torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[2:]) * 1e3


def clicks(count: int) -> list[Prompt]:
    """Clicks all over the image."""
    chance = np.random.default_rng(0)
    return [Prompt(clicks=(Click(float(x), float(y)),)) for x, y in chance.uniform(0, 768, (count, 2))]


def say(what: str, ours_ms: float, theirs_ms: float | None = None) -> None:
    """Print a row of the table."""
    against = "" if theirs_ms is None else f"{theirs_ms:.1f} ms, {theirs_ms / ours_ms:.1f} times"
    sys.stdout.write(f"| {what} | {ours_ms:.1f} ms | {against} |\n")
    sys.stdout.flush()


def measure_encoder(base: BaseModel, plain: SamModel, name: str) -> None:
    """An image alone as `encode` takes it, and the encoder by itself."""
    pixels = pixels_on_canvas(IMAGE, frame=SAM_FRAME).to("cuda")
    with torch.inference_mode(), torch.autocast("cuda", dtype=torch.bfloat16):
        theirs = ms(lambda: plain.vision_encoder(pixels))
    ready = pixels.to(next(base.model.vision_encoder.parameters()).dtype)
    with torch.inference_mode():
        say(f"{name}, encoder alone", ms(lambda: base.family.encode(base.model.vision_encoder, ready)), theirs)
        sixteen = ready.expand(16, -1, -1, -1).contiguous()
        many = ms(lambda: base.family.encode(base.model.vision_encoder, sixteen), times=3)
        say(f"{name}, encoder, an image in batches of 16", many / 16, theirs)
    say(f"{name}, an image from Pillow to its embedding", ms(lambda: encode(base, IMAGE)))


def measure_clicks(base: BaseModel, plain: SamModel, name: str) -> None:
    """Clicks until their masks lie in main memory, and every object of an image."""
    predictor, seen = Predictor(base, decoder_of(base, None), version="bench"), encode(base, IMAGE)
    for count in (1, 16, 64, 256):
        prompts = clicks(count)
        tensors = prompt_tensors(prompts, seen, frame=SAM_FRAME).to(torch.device("cuda"))
        with torch.inference_mode():
            theirs = ms(
                lambda tensors=tensors: plain(
                    image_embeddings=seen.features, input_points=tensors.points, input_labels=tensors.labels
                )
            )
        say(
            f"{name}, {count} click(s) to masks of 1024x768",
            ms(lambda prompts=prompts: predictor.decode(seen, prompts)),
            theirs,
        )
    say(f"{name}, automatic masks", ms(lambda: automatic_masks(predictor, seen, rules=AutomaticRules()), times=3))


def main() -> None:
    """Print the table."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    sys.stdout.write(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, commit {head.stdout.strip()}\n\n")
    sys.stdout.write("| What | samloop | transformers |\n| --- | --- | --- |\n")
    for name, config in SIZES.items():
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            SamModel(SamConfig(vision_config=config.to_dict())).save_pretrained(folder)
            base = load_base(folder, cache_dir=Path(folder), device="cuda", dtype="auto")
            plain = SamModel.from_pretrained(folder).to("cuda").eval()
        measure_encoder(base, plain, name)
        if name == "ViT-B":
            measure_clicks(base, plain, name)


if __name__ == "__main__":
    main()
