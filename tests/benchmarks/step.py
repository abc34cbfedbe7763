"""`make bench`: what a step of the decoder's training costs and where its time goes, written into docs/results.md.

python tests/benchmarks/step.py [--print]

Six prompts of one image, three boxes and three points, as a training asks them first; beside it the same step as plain
transformers takes it, in float32. Their multiplications and additions are counted as they run.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as `samloop` does; read once, when torch is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from benchmarks.pages import commit, machine, say, write_result
from PIL import Image
from skimage import data
from torch.utils.flop_counter import FlopCounterMode

from backend.files.own_process import prepare_process
from backend.masks.prompt import Prompt
from backend.sam.frame import SAM_FRAME
from backend.sam.loading import BaseModel, load_base
from backend.sam.predictor import Embedding, encode, prompt_tensors
from backend.settings import Settings
from finetuner.config import TrainConfig
from finetuner.data.objects import LabelledMask, grid_coverage
from finetuner.data.prompting import first_prompts
from finetuner.data.sample import Sample
from finetuner.methods.base import Asked
from finetuner.methods.decoder import DecoderMethod
from finetuner.training.loop import promptable_pace
from finetuner.training.losses import mask_loss
from finetuner.training.rounds import decode_losses
from finetuner.training.weights import TrainedWeights

COFFEE = Image.fromarray(data.coffee())
CONFIG = TrainConfig(background_share=0.0, box_share=0.5)
PARTS = ("masks from prompts", "losses", "the backward pass", "clipping, moving and averaging weights")
_TIMES = 7


def sample() -> Sample:
    """Six ellipses on the image of a cup of coffee."""
    ys, xs = np.mgrid[: COFFEE.height, : COFFEE.width]
    masks = [
        np.hypot((ys - y) / 60, (xs - x) / (30 + 10 * number)) < 1
        for number, (y, x) in enumerate((y, x) for y in (120, 280) for x in (100, 300, 480))
    ]
    objects = tuple(LabelledMask.of(mask, label=None) for mask in masks)
    return Sample(image_sha256="0" * 64, height_px=COFFEE.height, width_px=COFFEE.width, objects=objects)


class Ours:
    """A step part by part, as finetuner.training.loop and finetuner.training.rounds take it."""

    def __init__(self, base: BaseModel, seen: Embedding, prompts: tuple[Prompt, ...], target: torch.Tensor) -> None:
        self.method = DecoderMethod(base)
        pace = promptable_pace(CONFIG, encoder=self.method.pace)
        self.weights = TrainedWeights(self.method.trainable(), pace=pace)
        self.asked, self.target = Asked(seen, prompts), target

    def step(self) -> list[float]:
        """Take a step; return the seconds of its PARTS."""
        moments = [time.perf_counter()]
        self.weights.forget_gradients()
        decoded = self.method.decode_several([self.asked])
        moments.append(time.perf_counter())
        losses = decode_losses(decoded, self.target, prompts=[self.asked.prompts], config=CONFIG)
        moments.append(time.perf_counter())
        torch.autograd.backward(losses.sum())
        moments.append(time.perf_counter())
        self.weights.clip()
        self.weights.move(1e-5)
        moments.append(time.perf_counter())
        return [after - before for before, after in pairwise(moments)]


class Theirs:
    """transformers' SamModel from the same embedding, boxes and then points; the same loss of the first mask."""

    def __init__(self, exact: BaseModel, seen: Embedding, prompts: tuple[Prompt, ...], target: torch.Tensor) -> None:
        self.base, self.seen, self.target = exact, seen, target
        self.model = exact.model
        self.model.mask_decoder.requires_grad_(requires_grad=True)
        self.adam = torch.optim.Adam(self.model.mask_decoder.parameters(), lr=1e-5)
        self.kinds = [
            [index for index, prompt in enumerate(prompts) if (prompt.box is None) == is_point]
            for is_point in (False, True)
        ]
        self.tensors = [prompt_tensors([prompts[i] for i in kind], seen, frame=SAM_FRAME) for kind in self.kinds]

    def step(self) -> list[float]:
        """Seconds of it."""
        began = time.perf_counter()
        self.adam.zero_grad()
        rows, columns = self.target.shape[1:]
        loss = torch.zeros(())
        for kind, tensors in zip(self.kinds, self.tensors, strict=True):
            with torch.no_grad():
                sparse, dense = self.model.prompt_encoder(
                    input_points=tensors.points,
                    input_labels=tensors.labels,
                    input_boxes=tensors.boxes,
                    input_masks=None,
                )
            masks, _ = self.model.mask_decoder(
                image_embeddings=self.seen.features,
                image_positional_embeddings=self.base.image_positions,
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense[:1],
                multimask_output=True,
            )[:2]
            loss = loss + mask_loss(masks[0][:, :1, :rows, :columns], self.target[kind], losses=CONFIG.losses).mean()
        torch.autograd.backward(loss)
        self.adam.step()
        return [time.perf_counter() - began]


def gflop(step: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 1e9


def peak_gflops(dtype: torch.dtype) -> float:
    """What a multiplication of square matrices reaches: as benchmarks.serving measures it."""
    one, other = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    taken = []
    for _ in range(8):
        began = time.perf_counter()
        one @ other
        taken.append(time.perf_counter() - began)
    return 2 * 2048**3 / statistics.median(taken[1:]) / 1e9


def main() -> None:
    """Measure both by turns, and write the block `step`."""
    prepare_process()  # as `samloop` does
    measured, settings, one = commit(), Settings(), sample()
    exact, base = (
        load_base("mobile-sam", cache_dir=settings.cache.dir, device="cpu", dtype=d) for d in ("float32", "auto")
    )
    seen = encode(exact, COFFEE)
    prompts = first_prompts(one.objects, config=CONFIG, frame=SAM_FRAME, rng=np.random.default_rng(0))
    target = torch.from_numpy(np.stack([grid_coverage(item, frame=SAM_FRAME) for item in one.objects]))
    ours, theirs = Ours(base, seen, prompts, target), Theirs(exact, seen, prompts, target)
    counts = gflop(ours.step), gflop(theirs.step)
    half = torch.bfloat16 if ours.method.is_half else torch.float32
    peaks, found = (
        (peak_gflops(half), peak_gflops(torch.float32)),
        [(ours.step(), theirs.step()) for _ in range(_TIMES)],
    )
    peaks = max(peaks[0], peak_gflops(half)), max(peaks[1], peak_gflops(torch.float32))
    parts = [statistics.median(mine[i] for mine, _ in found) * 1e3 for i in range(len(PARTS))]
    ms = [statistics.median(sum(steps[who]) for steps in found) * 1e3 for who in (0, 1)]
    name = str(half).removeprefix("torch.")
    lines = [
        "| What | A step | A prompt | GFLOP in it | GFLOP/s | Share of peak |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for who, (title, dtype) in enumerate((("samloop", name), ("transformers", "float32"))):
        rate = counts[who] / ms[who] * 1e3
        lines.append(
            f"| {title}, {dtype} | {ms[who]:.0f} ms | {ms[who] / len(prompts):.0f} ms | {counts[who]:.0f} "
            f"| {rate:.0f} | {rate / peaks[who]:.0%} |"
        )
    shares = ", ".join(f"{part:.0f} ms for {title}" for title, part in zip(PARTS, parts, strict=True))
    table = "\n".join(lines)
    text = f"""{table}

A step of the decoder's training on `mobile-sam`, {len(prompts)} prompts of an image whose embedding is kept, four masks
a prompt (transformers: three). samloop is {ms[1] / ms[0]:.1f} times as fast; both take turns in the same run (`python
tests/benchmarks/step.py`). A step of samloop takes {shares}.
A multiplication of matrices peaks at {peaks[0]:.0f} GFLOP/s in {name}, and at {peaks[1]:.0f} in float32.
On {machine()}; commit {measured}."""
    say(text)
    if "--print" not in sys.argv:
        write_result("step", text)


if __name__ == "__main__":
    main()
