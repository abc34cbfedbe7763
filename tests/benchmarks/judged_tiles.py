"""Whether held-out images can choose tiles: `python tests/benchmarks/judged_tiles.py CLONES --set aerial --out FILE`.

Trains on the learning side of every fold of a set of `recipes`, as a project with those images would: by a split into
images to learn from and held-out images. Answers in tiles and in whole images are measured on the held-out images, of
which the better are chosen for clicks and for boxes, and on the other fold, which shows what the choice is worth. The
split `hash` is the product's; `fifth-0` to `fifth-4` hold out a fifth of the images, every time another. `FIELD=VALUE`
changes fields of TrainConfig. A split that FILE has already is not trained again.
`--table FILE...` writes docs/results.md's block `judged-tiles`.
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
from benchmarks.pages import commit, machine, say, write_result
from benchmarks.recipes import SETS, Bench, config_of, interval, train_on

from backend.files.own_process import prepare_process
from backend.masks.metrics import iou
from backend.masks.prompt import Prompt
from backend.registry.figures import PROMPTS, Interval
from backend.sam.closer.tiles import FINE, TINY
from backend.sam.predictor import Predictor, base_predictor
from backend.settings import Settings
from finetuner.context import TrainingContext
from finetuner.data.dataset import assemble
from finetuner.data.prompting import farthest_inner_point
from finetuner.data.sample import Sample
from finetuner.measuring.click_policy import with_measured_policy
from finetuner.methods import new_method
from finetuner.progress import silent
from finetuner.training.run import seed_all

HASH = "hash"
SPLITS = (HASH, *(f"fifth-{number}" for number in range(5)))
LEAST_MOVED = 8  # held-out objects; fewer keep the tiles
NAMES = {"point": "one click", "box": "box"}
Rows = list[tuple[str, str, float, float]]  # image, prompt, IoU, and length over the image's longer side, by object
Result = dict[str, Any]


def split(samples: Sequence[Sample], name: str, *, context: TrainingContext) -> tuple[list[Sample], list[Sample]]:
    """The images to learn from, and the held-out images."""
    if name == HASH:
        dataset = assemble(samples, share=context.config.held_out_share, exclusions=context.exclusions)
        return list(dataset.train), list(dataset.held_out)
    held_out = samples[int(name.removeprefix("fifth-")) :: 5]
    return [sample for sample in samples if sample not in held_out], list(held_out)


def train(samples: Sequence[Sample], *, context: TrainingContext) -> tuple[Predictor, int]:
    """The model that these images teach, in whole images, and with how many decodes."""
    config = context.config
    seed_all(config.seed)
    method = new_method(config.method, context.base, config=config)
    ended_at = train_on(method, samples, config=config, embeddings=context.embeddings)
    predictor = method.predictor(version="candidate")
    plain, embedding = base_predictor(context.base), context.embeddings.by(predictor.base)
    return with_measured_policy(predictor, samples, plain=plain, embedding=embedding), ended_at.decodes


def rows(predictor: Predictor, samples: Sequence[Sample], *, context: TrainingContext) -> Rows:
    """Measure one click and the true box at every object."""
    found: Rows = []
    for sample in samples:
        prompts = [
            prompt
            for item in sample.objects
            for prompt in (Prompt(clicks=(farthest_inner_point(item),)), Prompt(box=item.box))
        ]
        masks = predictor.decode(context.embeddings.suiting(predictor)(sample), prompts)
        items = [item for item in sample.objects for _ in range(2)]
        for prompt, mask, item in zip(prompts, masks, items, strict=True):
            kind, length = "point" if prompt.box is None else "box", max(item.crop_shape) / max(mask.mask.shape)
            found.append((sample.image_sha256, kind, iou(mask.mask, item.mask), length))
    return found


def run(
    name: str, splits: Sequence[str], *, known: Sequence[Result], bench: Bench, images: int | None
) -> Iterator[Result]:
    """Train and measure by every split of every fold that is not known."""
    context, done = bench.context, {(result["set"], result["fold"], result["split"]) for result in known}
    for fold, (learning, others) in enumerate(bench.folds(name)):
        for word in splits:
            if (name, fold, word) in done:
                continue
            learnt, held_out = split(learning, word, context=context)
            predictor, decodes = train(learnt, context=context)
            measured = {
                side: {
                    way: rows(replace(predictor, magnification=magnification), samples, context=context)
                    for way, magnification in (("tiles", FINE), ("whole", None))
                }
                for side, samples in (("held_out", held_out), ("others", others[:images]))
            }
            say(f"{name}, fold {fold}, {word}: {len(learnt)} images to learn from, {len(held_out)} held out")
            yield {"set": name, "fold": fold, "split": word, "decodes": decodes, "learnt": len(learnt), **measured}


def table(results: Sequence[Result]) -> str:
    """A row for every split and kind of prompt, then the means over a set's splits; and where that was measured."""
    heads = ("set, fold, split", "decodes", "images to learn from, held out", "prompt", "tiles on held-out images")
    heads += ("tiny objects there", "answered in", "other images, objects", "in whole images", "in tiles")
    heads += ("tiles on tiny objects", "as chosen")
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    for name in dict.fromkeys(result["set"] for result in results):
        some = [result for result in results if result["set"] == name]
        rows_of = {prompt: [choose(result, prompt) for result in some] for prompt in reversed(PROMPTS)}
        for number, result in enumerate(some):
            held_out = len({image for image, *_ in result["held_out"]["whole"]})
            where = f"{name}, {result['fold'] + 1}, {result['split']} | {result['decodes']}"
            for prompt, chosen in rows_of.items():
                cells = f"{where} | {result['learnt']}, {held_out} | {NAMES[prompt]} | {chosen[number].cells()}"
                lines.append(f"| {cells} |")
        for prompt, chosen in rows_of.items():
            whole, tiles, best = (
                np.mean([ious.mean() for ious in part])
                for part in zip(*((row.whole, row.tiles, row.chosen) for row in chosen), strict=True)
            )
            mean = f"**{name}, mean of {len(some)}** | | | {NAMES[prompt]} | | | | | {whole:.3f}"
            lines.append(f"| {mean} | {tiles:.3f} ({tiles - whole:+.3f}) | | {best:.3f} ({best - whole:+.3f}) |")
    commits = ", ".join(sorted({result["commit"] for result in results}))
    return "\n".join([*lines, "", f"`mobile-sam`, method `decoder`, seed 0. On {machine()}; commit {commits}."])


@dataclass(frozen=True, slots=True)
class Chosen:
    """What held-out images chose for a kind of prompt, and the IoUs of the other images' objects both ways.

    `tiny` marks the objects that fine tiles answer for, among those held out and among the others.
    """

    gain: Interval
    is_whole: bool
    tiny_held_out: np.ndarray
    tiny: np.ndarray
    images: np.ndarray
    whole: np.ndarray
    tiles: np.ndarray

    @property
    def chosen(self) -> np.ndarray:
        """The IoUs of the answers that were chosen."""
        return self.whole if self.is_whole else self.tiles

    def cells(self) -> str:
        """The last cells of a row."""
        gain, other = ("{:+.3f} [{:+.3f}, {:+.3f}]".format(*some) for some in (self.gain, self.difference()))
        place = "whole images" if self.is_whole else "tiles"
        count = f"{len(set(self.images))}, {len(self.images)}"
        ious = f"{self.whole.mean():.3f} | {self.tiles.mean():.3f} ({other})"
        tiny = f"{(self.tiles - self.whole)[self.tiny].mean():+.3f} ({self.tiny.sum()})" if self.tiny.any() else "(0)"
        known = f"{gain} | {self.tiny_held_out.sum()} of {len(self.tiny_held_out)}"
        return f"{known} | {place} | {count} | {ious} | {tiny} | {self.chosen.mean():.3f}"

    def difference(self) -> tuple[float, float, float]:
        """What tiles gain on the other images, with its interval."""
        return interval(self.tiles - self.whole, self.images)


def choose(result: Result, prompt: str) -> Chosen:
    """Choose whole images if the held-out objects lose by tiles, and enough have another mask there to tell."""
    held_out, in_whole, in_tiles = _ious(result["held_out"], prompt)
    images, whole, tiles = _ious(result["others"], prompt)
    gains = in_tiles - in_whole
    return Chosen(
        gain=Interval(*interval(gains, held_out)),
        is_whole=bool(np.count_nonzero(gains) >= LEAST_MOVED and gains.mean() < 0),
        tiny_held_out=_find_tiny(result["held_out"], prompt),
        tiny=_find_tiny(result["others"], prompt),
        images=images,
        whole=whole,
        tiles=tiles,
    )


def _ious(side: dict[str, Rows], prompt: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The objects' images, and their IoUs in whole images and in tiles."""
    whole, tiles = (
        np.array([value for _, kind, value, _ in side[way] if kind == prompt]) for way in ("whole", "tiles")
    )
    return np.array([image for image, kind, *_ in side["whole"] if kind == prompt]), whole, tiles


def _find_tiny(side: dict[str, Rows], prompt: str) -> np.ndarray:
    return np.array([length <= TINY for _, kind, _, length in side["whole"] if kind == prompt])


def main() -> None:
    """Train, measure, and add what was measured to a file; or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clones", type=Path, nargs="?", help="the folder with the clones that sets.py names")
    parser.add_argument("changes", nargs="*", help="fields of TrainConfig: decodes=600")
    parser.add_argument("--set", choices=SETS, default="aerial")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=[HASH])
    parser.add_argument("--images", type=int, help="measure on so many other images; all, if not given")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, nargs="+", metavar="FILE")
    given = parser.parse_intermixed_args()
    if given.table:
        write_result(
            "judged-tiles", table([result for path in given.table for result in json.loads(path.read_bytes())])
        )
        return
    if not (given.clones and given.out):
        parser.error("name CLONES and --out FILE, or --table FILE...")
    prepare_process()
    results = json.loads(given.out.read_bytes()) if given.out.exists() else []
    settings = Settings.from_env()
    with TemporaryDirectory() as folder:
        context = TrainingContext.open(settings, config=config_of(given.changes), progress=silent)
        bench = Bench(given.clones, Path(folder), context, settings)
        for result in run(given.set, given.splits, known=tuple(results), bench=bench, images=given.images):
            results.append({**result, "commit": commit()})
            given.out.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
