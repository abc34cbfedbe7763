"""Whether an edge head would sharpen masks: `python tests/benchmarks/edge_head.py CLONES --out FILE [--set NAME...]`.

The head follows SAM-HQ (Ke et al. 2023, section 3.2) and PointRend (Kirillov et al. 2020). It reads the decoder's
enlarged features, weighted as the answer's logits weigh them, these logits, and what TinyViT's first stage sees. Where
the logits are near zero it adds to them, on a grid twice as fine. Encoder and decoder stay frozen. The head learns from
a set's training images by binary cross-entropy and Dice on uncertain points, against the truth in canvas px.
One click and the true box of every object are measured with and without the head, on images that it has not seen: of
`nuclei` those of another draw of BBBC038, of every other set the other half, by turns. The decoder is the base's, or
learns from the same images first (`--decodes`). Two minutes a set on two idle cores.
`python tests/benchmarks/edge_head.py --table FILE...` writes what such runs measured into docs/results.md.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from benchmarks.pages import commit, machine, say, write_result
from benchmarks.quality import NUCLEI, samples_of
from benchmarks.recipes import Bench, config_of, interval
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from backend.files.own_process import prepare_process
from backend.masks.metrics import boundary_iou, iou
from backend.masks.prompt import Prompt
from backend.sam.canvas import pixels_on_canvas
from backend.sam.decoder import attend, mask_weights
from backend.sam.embeddings.embedding import Embedding
from backend.sam.enlarge import enlarge_above_zero
from backend.sam.family import DecoderInputs
from backend.sam.frame import SAM_FRAME
from backend.sam.layers.upscaling import upscale
from backend.sam.predictor import Predictor, base_predictor
from backend.sam.prompts import group_prompts, prompt_tensors
from backend.settings import Settings
from finetuner.context import TrainingContext
from finetuner.data.folds import Training
from finetuner.data.objects import LabelledMask, grid_coverage
from finetuner.data.prompting import farthest_inner_point, inner_point, jitter_box
from finetuner.data.sample import Sample
from finetuner.methods import new_method
from finetuner.progress import silent
from finetuner.training.run import TrainingRun, seed_all

SETS = {
    "nuclei": ("other nuclei",),
    "ultrasound": ("lesions", "heads"),
    "photographs": ("photographs",),
    "defects": ("defects",),
}
IMAGES, OBJECTS = 40, 5  # at most: images of a set, and objects of an image
WINDOW, MARGIN = 48, 24  # cells: what a step sees of an answer, and how far around an answer the head reaches
BATCH, STEPS, RATE, POINTS = 8, 200, 1e-3, 512
EARLY, DRAWN, WIDTH = 64, 32, 48  # channels: of the first stage, of the decoder, within the head
GATE = 4.0  # the logit at which a change has shrunk to a third
PROMPTS = ("point", "box")
_AT_ONCE = 4


class EdgeHead(nn.Module):
    """Turns features and logits of h x w cells into what is added to the logits, on 2 h x 2 w cells; zero at first."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(EARLY + DRAWN + 1, WIDTH, 1)
        self.near, self.far = (nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(2))
        self.last = nn.Conv2d(WIDTH, 4, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, early: Tensor, drawn: Tensor, logits: Tensor) -> Tensor:
        """(n, 64, h, w), (n, 32, h, w) and (n, 1, h, w) to (n, 1, 2 h, 2 w)."""
        x = functional.gelu(self.narrow(torch.cat([early, drawn, logits / 4], 1)))
        x = x + functional.gelu(self.near(x))
        x = x + functional.gelu(self.far(x))
        uncertain = torch.exp(-((enlarge(logits, by=2) / GATE) ** 2))
        return uncertain * functional.pixel_shuffle(self.last(x), 2).float()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A frozen decoder's answer to a prompt: logits on the grid, the 32 maps whose sum they are, early features."""

    item: LabelledMask
    prompt: str
    logits: Tensor
    drawn: Tensor
    early: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A part of an answer to learn from. `truth`: in canvas px; `extent`: of the image are so many rows and columns."""

    early: Tensor
    drawn: Tensor
    logits: Tensor
    truth: Tensor
    extent: tuple[int, int]


class EdgeBench(Bench):
    """The sets, and the base whose masks are sharpened."""

    def folds(self, name: str) -> Iterator[tuple[list[Sample], list[Sample]]]:
        """What is learnt from, and what is measured on."""
        samples = [sample for word in SETS[name] for sample in self.samples(word)]
        if name == "nuclei":
            learnt = samples_of(NUCLEI / "export.json", context=self.context, settings=self.settings)
            yield few_objects(learnt), few_objects(samples)
        else:
            chosen = few_objects(samples)
            yield chosen[::2], chosen[1::2]
            yield chosen[1::2], chosen[::2]

    def begin(self, train: Sequence[Sample]) -> Predictor:
        """A predictor by the base's decoder, or by one that learns from these images first."""
        config, base = self.context.config, self.context.base
        if config.decodes is None:
            return base_predictor(base)
        seed_all(config.seed)
        method = new_method(config.method, base, config=config)
        training = Training(number=1, count=1, train=tuple(train), held_out=(), config=config)
        TrainingRun(method, training, embeddings=self.context.embeddings, unfinished=None, progress=silent).train()
        return method.predictor(version="measured")

    def answer(
        self, predictor: Predictor, sample: Sample, prompts: Sequence[tuple[LabelledMask, str, Prompt]]
    ) -> Iterator[Answer]:
        """The answers that would be served to prompts on an image, in any order."""
        embedding, early = self.context.embeddings(sample), self._early(sample)
        plain = [prompt for _, _, prompt in prompts]
        with torch.inference_mode():
            for indices in group_prompts(plain, most=_AT_ONCE):
                some = [plain[index] for index in indices]
                hyper, wide = draw(predictor, embedding, some)
                for row, index in enumerate(indices):
                    item, kind, prompt = prompts[index]
                    chosen = (
                        0
                        if prompt.box is not None
                        else choose(predictor, embedding, prompt, hyper[row] @ wide[row].flatten(1))
                    )
                    drawn = hyper[row, chosen][:, None, None] * wide[row]
                    yield Answer(item=item, prompt=kind, logits=drawn.sum(0), drawn=drawn.bfloat16(), early=early)

    def _early(self, sample: Sample) -> Tensor:
        """The image's features after the encoder's first stage, normalised over channels: (64, 256, 256)."""
        base = self.context.base
        encoder: Any = base.model.vision_encoder
        pixels = pixels_on_canvas(self.context.embeddings.picture(sample), frame=base.frame)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            x = encoder.stages[0].blocks(encoder.patch_embed(pixels)).float().permute(0, 2, 3, 1)
            return functional.layer_norm(x, (EARLY,)).permute(0, 3, 1, 2)[0].bfloat16()


def few_objects(samples: Sequence[Sample]) -> list[Sample]:
    """At most `IMAGES` images with at most `OBJECTS` objects."""
    return [replace(sample, objects=sample.objects[:OBJECTS]) for sample in samples[:IMAGES]]


def draw(predictor: Predictor, embedding: Embedding, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
    """The weights of the four masks (n, 4, 32) and the enlarged features (n, 32, g, g), for prompts of one kind."""
    decoder, tensors = predictor.decoder, prompt_tensors(prompts, embedding, frame=predictor.base.frame)
    encoder: Any = predictor.base.model.prompt_encoder
    sparse, dense = encoder(
        input_points=tensors.points, input_labels=tensors.labels, input_boxes=tensors.boxes, input_masks=None
    )
    inputs = DecoderInputs(
        maps=embedding.maps, positions=predictor._positions, sparse=sparse[0], dense=dense[:1, :, :1, :1]
    )
    queries, keys = attend(decoder, inputs)
    alone = torch.eye(DRAWN, dtype=keys.dtype)[None].expand(len(keys), -1, -1)
    return mask_weights(decoder, queries[:, 1:]).float(), upscale(decoder, keys, alone).float()


def choose(predictor: Predictor, embedding: Embedding, click: Prompt, masks: Tensor) -> int:
    """The number of the mask (of four, flat) that the policy for one click serves."""
    (served,) = predictor.answers(embedding, [click])
    return int((masks - served.logits.flatten()).clamp(-50, 50).abs().mean(1).argmin())


def learn_from(bench: EdgeBench, predictor: Predictor, samples: Sequence[Sample]) -> Iterator[Window]:
    """A window for two boxes and two clicks of every object."""
    rng, frame, config = np.random.default_rng(0), predictor.base.frame, bench.context.config
    for sample in samples:
        prompts = []
        for item in sample.objects:
            prompts.append((item, "box", Prompt(box=item.box)))
            prompts.append((item, "box", Prompt(box=jitter_box(item, config=config, frame=frame, rng=rng))))
            prompts.append((item, "point", Prompt(clicks=(farthest_inner_point(item),))))
            prompts.append((item, "point", Prompt(clicks=(inner_point(item, prefers_centre=True, rng=rng),))))
        yield from (cut(answer, rng=rng) for answer in bench.answer(predictor, sample, prompts))


def cut(answer: Answer, *, rng: np.random.Generator) -> Window:
    """A window around a cell where the answer is uncertain or the truth has its edge."""
    covered = grid_coverage(answer.item, frame=SAM_FRAME)
    rows, columns = covered.shape
    near = np.abs(answer.logits[:rows, :columns].numpy()) < 1.5
    places = np.argwhere(near | ((covered > 0.05) & (covered < 0.95)))
    row, column = places[rng.integers(len(places))] if len(places) else (rows // 2, columns // 2)
    top = int(np.clip(row - WINDOW // 2, 0, max(0, rows - WINDOW)))
    left = int(np.clip(column - WINDOW // 2, 0, max(0, columns - WINDOW)))
    part, finer = (..., slice(top, top + WINDOW), slice(left, left + WINDOW)), int(SAM_FRAME.cell_px)
    truth = np.zeros((SAM_FRAME.canvas_px, SAM_FRAME.canvas_px), np.float32)
    seen = draw_truth(answer.item)
    truth[: seen.shape[0], : seen.shape[1]] = seen
    window = truth[finer * top : finer * (top + WINDOW), finer * left : finer * (left + WINDOW)]
    return Window(
        early=answer.early[part].clone(),
        drawn=answer.drawn[part].clone(),
        logits=answer.logits[part].clone()[None],
        truth=torch.from_numpy(window)[None].bfloat16(),
        extent=(min(WINDOW, rows - top), min(WINDOW, columns - left)),
    )


def draw_truth(item: LabelledMask) -> np.ndarray:
    """The true mask in canvas px, in [0, 1]."""
    height, width = SAM_FRAME.size_on_canvas(item.height_px, item.width_px)
    image = Image.fromarray(item.mask.astype(np.uint8) * 255)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), np.float32) / 255


def train_head(windows: Sequence[Window]) -> EdgeHead:
    """Train a head on uncertain points of these windows."""
    seed_all(0)
    head, rng = EdgeHead().to(memory_format=torch.channels_last), np.random.default_rng(0)
    adam = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, total_steps=STEPS, pct_start=0.1)
    losses = []
    for _ in range(STEPS):
        some = [windows[index] for index in rng.choice(len(windows), BATCH, replace=len(windows) < BATCH)]
        early, drawn, logits, truth = (
            torch.stack([getattr(window, name) for window in some]).float()
            for name in ("early", "drawn", "logits", "truth")
        )
        with torch.autocast("cpu", torch.bfloat16):
            change = head(early, drawn, logits)
        extent = torch.tensor([window.extent for window in some])
        loss = lose_on_points(enlarge(logits, by=2) + change, truth, extent=extent)
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        adam.step()
        schedule.step()
        losses.append(float(loss.detach()))
    say(f"the head's loss falls from {np.mean(losses[:50]):.3f} to {np.mean(losses[-50:]):.3f}")
    return head.eval()


def lose_on_points(logits: Tensor, truth: Tensor, *, extent: Tensor) -> Tensor:
    """Cross-entropy and Dice on points: three of four are the least certain of three times as many (PointRend)."""
    drawn = torch.rand(len(logits), 3 * POINTS, 2) * (extent.flip(1) / WINDOW)[:, None]
    with torch.no_grad():
        doubt = -functional.grid_sample(logits, 2 * drawn[:, None] - 1, align_corners=False)[:, 0, 0].abs()
        count = 3 * POINTS // 4
        least = doubt.topk(count).indices[:, :, None].expand(-1, -1, 2)
        points = torch.cat([drawn.gather(1, least), drawn[:, : POINTS - count]], 1)
    at = 2 * points[:, None] - 1
    seen, true = (functional.grid_sample(maps, at, align_corners=False)[:, 0, 0] for maps in (logits, truth))
    probability = seen.sigmoid()
    dice = 1 - (2 * (probability * true).sum(1) + 1) / (probability.square().sum(1) + true.square().sum(1) + 1)
    return functional.binary_cross_entropy_with_logits(seen, true) + dice.mean()


def measure_head(
    bench: EdgeBench, predictor: Predictor, head: EdgeHead, samples: Sequence[Sample]
) -> Iterator[dict[str, Any]]:
    """IoU and Boundary IoU of every object's box and click, without and with the head, and of the truth on the grid."""
    for sample in samples:
        prompts = [(item, "box", Prompt(box=item.box)) for item in sample.objects]
        prompts += [(item, "point", Prompt(clicks=(farthest_inner_point(item),))) for item in sample.objects]
        for answer in bench.answer(predictor, sample, prompts):
            covered = torch.from_numpy(grid_coverage(answer.item, frame=SAM_FRAME))
            rows, columns = covered.shape
            truth = functional.pad(covered - 0.5, (0, SAM_FRAME.grid - columns, 0, SAM_FRAME.grid - rows), value=-0.5)
            made = {
                "none": mask_of(answer.logits, item=answer.item),
                "head": mask_of(answer.logits, sharpen(head, answer), item=answer.item),
                "grid": mask_of(truth, item=answer.item),
            }
            figures = {name: [f(mask, answer.item.mask) for f in (iou, boundary_iou)] for name, mask in made.items()}
            yield {"image": sample.image_sha256, "prompt": answer.prompt, **figures}


def sharpen(head: EdgeHead, answer: Answer) -> Tensor:
    """What the head adds, on the grid twice as fine: zero but for `MARGIN` cells around the answer."""
    rows, columns = SAM_FRAME.grid_reached(answer.item.height_px, answer.item.width_px)
    change, places = (
        torch.zeros(2 * SAM_FRAME.grid, 2 * SAM_FRAME.grid),
        torch.nonzero(answer.logits[:rows, :columns] > 0),
    )
    if not len(places):
        return change
    top, left = (max(0, int(value) - MARGIN) for value in places.min(0).values)
    bottom, right = (int(value) + MARGIN + 1 for value in places.max(0).values)
    part = (..., slice(top, min(bottom, rows)), slice(left, min(right, columns)))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        added = head(*(maps[part].float()[None] for maps in (answer.early, answer.drawn, answer.logits[None])))[0, 0]
    change[2 * top : 2 * top + added.shape[0], 2 * left : 2 * left + added.shape[1]] = added
    return change


def enlarge(maps: Tensor, *, by: int) -> Tensor:
    """Enlarge maps bilinearly."""
    return functional.interpolate(maps, scale_factor=by, mode="bilinear")


def mask_of(logits: Tensor, change: Tensor | None = None, *, item: LabelledMask) -> np.ndarray:
    """The mask on the image, enlarged as `canvas.mask_of_logits` does; `change` is added in canvas px."""
    parts = [maps for maps in (logits, change) if maps is not None]
    canvas = torch.stack([enlarge(maps[None, None], by=SAM_FRAME.canvas_px // len(maps))[0, 0] for maps in parts]).sum(
        0
    )
    height, width = SAM_FRAME.size_on_canvas(item.height_px, item.width_px)
    return enlarge_above_zero(canvas[:height, :width].numpy(), height=item.height_px, width=item.width_px)


def table(results: Sequence[dict[str, Any]]) -> str:
    """A row a set and decoder: both prompts without the head, the difference that it makes, and what a grid allows."""
    columns = [f"{prompt}, {metric}" for prompt in ("click", "box") for metric in ("IoU", "Boundary IoU")]
    titles = ("set", "images, objects", "decoder", *columns, "Boundary IoU of the truth on the grid")
    lines = [f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
    for result in results:
        cells = []
        for prompt in PROMPTS:
            rows = [row for row in result["rows"] if row["prompt"] == prompt]
            images = np.array([row["image"] for row in rows])
            none, head, grid = (np.array([row[name] for row in rows]) for name in ("none", "head", "grid"))
            for column in (0, 1):
                difference = interval(head[:, column] - none[:, column], images)
                cells.append(f"{none[:, column].mean():.3f} " + "({:+.3f} [{:+.3f}, {:+.3f}])".format(*difference))
        decoder = f"after {result['decodes']} decodes" if result["decodes"] else "the base's"
        count = f"{len(set(images))}, {len(rows)}"
        lines.append(f"| {result['set']} | {count} | {decoder} | {' | '.join(cells)} | {grid[:, 1].mean():.3f} |")
    commits = ", ".join(sorted({result["commit"] for result in results}))
    return "\n".join([*lines, "", f"`mobile-sam`. On {machine()}; commit {commits}."])


def measure_set(bench: EdgeBench, name: str) -> dict[str, Any]:
    """Train and measure a head on every fold of a set."""
    rows: list[dict[str, Any]] = []
    for train, held_out in bench.folds(name):
        predictor = bench.begin(train)
        head = train_head(list(learn_from(bench, predictor, train)))
        rows += measure_head(bench, predictor, head, held_out)
    return {"set": name, "rows": rows, "decodes": bench.context.config.decodes or 0}


def main() -> None:
    """Train heads and measure them, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clones", type=Path, nargs="?", help="the folder with the clones of tests/benchmarks/sets.py")
    parser.add_argument("--set", choices=SETS, nargs="+", default=list(SETS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--decodes", type=int, default=0, help="from which the decoder learns; 0: it is the base's")
    parser.add_argument("--table", type=Path, nargs="+", metavar="FILE")
    given = parser.parse_args()
    if given.table:
        lines = [line for path in given.table for line in path.read_text().splitlines()]
        write_result("edge-head", table([json.loads(line) for line in lines]))
        return
    if not (given.clones and given.out):
        parser.error("name CLONES and --out FILE, or --table FILE...")
    prepare_process()
    settings, config, measured = Settings.from_env(), replace(config_of([]), decodes=given.decodes or None), commit()
    with TemporaryDirectory() as folder:
        context = TrainingContext.open(settings, config=config, progress=silent)
        bench = EdgeBench(given.clones, Path(folder), context, settings)
        for name in given.set:
            result = measure_set(bench, name) | {"commit": measured}
            with given.out.open("a") as file:
                file.write(f"{json.dumps(result)}\n")
            say(table([result]))


if __name__ == "__main__":
    main()
