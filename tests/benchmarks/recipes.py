"""Which recipe a training should have: `python tests/benchmarks/recipes.py CLONES --out FILE [FIELD=VALUE ...]`.

Trains on one set with fields of TrainConfig changed, and measures one click and the true box on images that the
training has not seen: for `nuclei` those of another draw of BBBC038, for `sixty-lesions` the lesions of BUSI that are
not among the 60 learnt from, for every other set by two folds. Beside it: what the weights are worth mixed with the
base's, at several shares, and what is forgotten on COCO's photographs: by the trained decoder alone, and as a version
is served, with the base outside and small objects in tiles.
`--weights FOLDER` takes trained weights from there; what it lacks is trained, and left there for the next time.
`--against FILE` prints the difference to an earlier run, by object, with its 95 % bootstrap interval over images.
`python tests/benchmarks/recipes.py --table FILE...` writes what such runs measured into docs/results.md, into the block
`recipes` or that of `--block`.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import safetensors
import safetensors.torch
import torch
from benchmarks.exports import write
from benchmarks.pages import commit, machine, say, write_result
from benchmarks.quality import NUCLEI, samples_of
from benchmarks.sets import SOURCES

from backend.files.own_process import prepare_process
from backend.registry.metrics import EndedAt
from backend.sam.closer.tiles import COARSE
from backend.sam.predictor import Predictor, base_predictor
from backend.settings import Settings
from finetuner.config import TrainConfig
from finetuner.context import TrainingContext
from finetuner.data.embeddings import Embeddings
from finetuner.data.folds import Training
from finetuner.data.sample import Sample
from finetuner.measuring.click_policy import with_measured_policy
from finetuner.measuring.domain import count_outside, with_outside
from finetuner.measuring.evaluation import measure
from finetuner.measuring.magnification import choose_magnification
from finetuner.methods import new_method
from finetuner.methods.base import Method
from finetuner.progress import silent
from finetuner.training.run import TrainingRun, seed_all

SETS = {
    "nuclei": ("other nuclei",),
    "ultrasound": ("lesions", "heads"),
    "lesions": ("breast",),
    "sixty-lesions": ("other breast",),
    "polyps": ("polyps",),
    "cells": ("white",),
    "tiles": ("defects",),
    "aerial": ("solar",),  # not the buildings, which both folds would show
    "food": ("food",),
}
BLOCKS = ("recipes", "tiles", "ultrasound", "sixty-lesions", "kinds")  # of docs/results.md
SHARES = (1.0, 0.9, 0.75)
COARSE_TILES = "coarse tiles"
TILES = "coarse and fine tiles"
SERVED = "as served"  # tiles where they are chosen, and the base outside
Row = tuple[str, str, float, float]
COLUMNS = {  # of the table: of which images, by which prompt, and the measure's place in a row
    "one click": ("domain", "point", 2),
    "box": ("domain", "box", 2),
    "box, Boundary IoU": ("domain", "box", 3),
    "photographs, one click": ("photographs", "point", 2),
    "photographs, box": ("photographs", "box", 2),
}


@dataclass(frozen=True, slots=True)
class Bench:
    """Where the sets are, and the base that is trained."""

    clones: Path
    folder: Path
    context: TrainingContext
    settings: Settings

    def samples(self, word: str) -> list[Sample]:
        """The samples of the set whose name begins so."""
        source = next(source for source in SOURCES if source.name.startswith(word))
        export = write(source.pictures(self.clones), self.folder / word.replace(" ", "-"))
        return list(samples_of(export, context=self.context, settings=self.settings))

    def folds(self, name: str) -> Iterator[tuple[list[Sample], list[Sample]]]:
        """What is learnt from, and what is measured on."""
        samples = [sample for word in SETS[name] for sample in self.samples(word)]
        if name == "nuclei":
            yield list(samples_of(NUCLEI / "export.json", context=self.context, settings=self.settings)), samples
        elif name == "sixty-lesions":
            yield self.samples("breast"), samples
        else:
            yield samples[::2], samples[1::2]
            yield samples[1::2], samples[::2]

    def with_outside(
        self, predictor: Predictor, train: Sequence[Sample], held_out: Sequence[Sample], photographs: Sequence[Sample]
    ) -> Predictor:
        """The predictor with the domain of what it has learnt from; says how many images the base answers."""
        embedding, folder = self.context.embeddings.by(predictor.base), self.context.generic_in
        plain = base_predictor(self.context.base)
        routed = with_outside(predictor, train, plain=plain, embedding=embedding, folder=folder)
        counts = (
            f"{count_outside(routed, samples, embedding=embedding)} of {len(samples)} {name}"
            for name, samples in (("held-out images", held_out), ("photographs", photographs))
        )
        say(f"the base answers {' and '.join(counts)}")
        return routed

    def rows(self, predictor: Any, samples: Sequence[Sample]) -> list[Row]:
        """Image, prompt, IoU and Boundary IoU of every object."""
        found = measure(predictor, samples, embedding=self.context.embeddings.suiting(predictor), clicks=0)
        return [(mask.image_sha256, mask.prompt, mask.values["iou"], mask.values["boundary_iou"]) for mask in found]


def mixed(method: Method, base: dict[str, torch.Tensor], last: dict[str, torch.Tensor], share: float) -> None:
    """Put `share` of the way from the base's weights to the last ones into the method."""
    with torch.no_grad():
        for name, weight in method.trainable().items():
            is_scaled = not name.startswith("vision_encoder.") or not base[name].any()
            weight.copy_(torch.lerp(base[name], last[name], share) if is_scaled else last[name])


def train_on(method: Method, samples: Sequence[Sample], *, config: TrainConfig, embeddings: Embeddings) -> EndedAt:
    """Train on these samples, and hold none out."""
    training = Training(number=1, count=1, train=tuple(samples), held_out=(), config=config)
    return TrainingRun(method, training, embeddings=embeddings, unfinished=None, progress=silent).train()


def train_whole(method: Method, samples: Sequence[Sample], *, config: TrainConfig, embeddings: Embeddings) -> EndedAt:
    """Train on these samples, and leave the trained weights in the method: not yet mixed with the base's."""
    return train_on(method, samples, config=replace(config, mix=1.0, mixes=(1.0,)), embeddings=embeddings)


@dataclass(frozen=True, slots=True)
class Weights:
    """Trained weights of a fold, not mixed with the base's; how many decodes trained them, and at which commit."""

    tensors: dict[str, torch.Tensor]
    decodes: int
    commit: str

    @classmethod
    def load(cls, path: Path) -> "Weights":
        """Read what `save` wrote."""
        with safetensors.safe_open(path, framework="pt") as file:
            notes = file.metadata()
        return cls(safetensors.torch.load_file(path), int(notes["decodes"]), notes["commit"])

    def save(self, path: Path) -> None:
        """Write them as safetensors."""
        path.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(self.tensors, path, metadata={"decodes": f"{self.decodes}", "commit": self.commit})


def find_weights(
    kept: Path | None, method: Method, samples: Sequence[Sample], *, config: TrainConfig, embeddings: Embeddings
) -> Weights:
    """The weights that are kept in this file, or else those of a training, which are kept there."""
    if kept is not None and kept.exists():
        return Weights.load(kept)
    seed_all(config.seed)
    ended = train_whole(method, samples, config=config, embeddings=embeddings)
    tensors = {key: value.detach().clone() for key, value in method.trainable().items()}
    weights = Weights(tensors, ended.decodes, commit())
    if kept is not None:
        weights.save(kept)
    return weights


def run(
    name: str, *, config: TrainConfig, bench: Bench, photographs: Sequence[Sample], kept: Path | None = None
) -> dict[str, Any]:
    """Train on every fold; the measures by share of the trained weights, "0" being the base."""
    shown: dict[str, list[Row]] = {}
    others: dict[str, list[Row]] = {}
    cpu_s, decodes, commits = 0.0, 0, {commit()}
    plain, embeddings = base_predictor(bench.context.base), bench.context.embeddings
    for number, (train, held_out) in enumerate(bench.folds(name)):
        shown.setdefault("0", []).extend(bench.rows(plain, held_out))
        if not number:
            others["0"] = bench.rows(plain, photographs)
        if config.decodes == 1:
            continue
        seed_all(config.seed)
        method = new_method(config.method, bench.context.base, config=config)
        base = {key: value.detach().clone() for key, value in method.trainable().items()}
        began_s, path = time.process_time(), None if kept is None else kept / f"{name}-{number}.safetensors"
        last = find_weights(path, method, train, config=config, embeddings=embeddings)
        cpu_s += time.process_time() - began_s
        decodes, commits = decodes + last.decodes, commits | {last.commit}
        magnification = choose_magnification(plain, train, embedding=embeddings)
        say(f"{len(train)} images to learn from: tiles of up to {magnification}")
        for share in SHARES:
            mixed(method, base, last.tensors, share)
            usual = method.predictor(version="candidate")
            chosen = with_measured_policy(usual, train, plain=plain, embedding=embeddings.by(usual.base))
            say(f"share {share:g}: {chosen.click_policy}")
            in_tiles = replace(chosen, magnification=magnification)
            measured = {"": chosen, SERVED: bench.with_outside(in_tiles, train, held_out, photographs)}
            if share == config.mix and magnification is not None:
                measured |= {COARSE_TILES: replace(chosen, magnification=COARSE), TILES: in_tiles}
            for key, predictor in measured.items():
                row = ", ".join(filter(None, (f"{share:g}", key)))
                shown.setdefault(row, []).extend(bench.rows(predictor, held_out))
                if not number:
                    others[row] = bench.rows(predictor, photographs)
    measured_at = ", ".join(sorted(commits))
    return {"cpu_s": cpu_s, "decodes": decodes, "commit": measured_at, "domain": shown, "photographs": others}


def said(result: dict[str, Any], against: dict[str, Any] | None) -> str:
    """A line a share: means, and differences to the other run's full share."""
    lines = []
    for group in ("domain", "photographs"):
        for share, rows in result[group].items():
            parts = []
            for prompt in ("point", "box"):
                values = np.array([row[2] for row in rows if row[1] == prompt])
                edges = np.array([row[3] for row in rows if row[1] == prompt])
                text = f"{prompt} {values.mean():.3f}/{edges.mean():.3f}"
                if against is not None and share != "0":
                    theirs = np.array([row[2] for row in against[group]["1"] if row[1] == prompt])
                    images = np.array([row[0] for row in rows if row[1] == prompt])
                    text += " ({:+.3f} [{:+.3f}, {:+.3f}])".format(*interval(values - theirs, images))
                parts.append(text)
            lines.append(f"{group} share {share}: {', '.join(parts)}")
    return "\n".join(lines)


def table(results: Sequence[dict[str, Any]]) -> str:
    """Every run by share of the trained weights, with differences to the base; then where that was measured."""
    lines = [
        f"| trained on | recipe | decodes | share | {' | '.join(COLUMNS)} |",
        "| --- | --- | --- | --- |" + " --- |" * len(COLUMNS),
    ]
    for result in results:
        for share in result["domain"]:
            cells = [
                _cell(result[group][share], result[group]["0"], prompt=prompt, place=place, is_base=share == "0")
                for group, prompt, place in COLUMNS.values()
            ]
            recipe = ", ".join(change for change in result["changes"] if not change.startswith(("decodes", "epochs")))
            lines.append(
                f"| {result['set']} | {recipe or 'the default'} | {result['decodes']} | {share} | {' | '.join(cells)} |"
            )
    commits = ", ".join(sorted({commit for result in results for commit in result["commit"].split(", ")}))
    told = "`mobile-sam`, seed 0, method `decoder` unless the recipe names another"
    return "\n".join([*lines, "", f"{told}. On {machine()}; commit {commits}."])


def _cell(rows: Sequence[Row], base: Sequence[Row], *, prompt: str, place: int, is_base: bool) -> str:
    theirs, values = (np.array([row[place] for row in some if row[1] == prompt]) for some in (base, rows))
    if is_base:
        return f"{values.mean():.3f}"
    images = np.array([row[0] for row in rows if row[1] == prompt])
    return f"{values.mean():.3f} " + "({:+.3f} [{:+.3f}, {:+.3f}])".format(*interval(values - theirs, images))


def interval(difference: np.ndarray, image: np.ndarray) -> tuple[float, float, float]:
    """The mean over objects and its 95 % bootstrap interval over images."""
    _, place = np.unique(image, return_inverse=True)
    total, count = np.bincount(place, difference), np.bincount(place)
    drawn = np.random.default_rng(0).integers(len(total), size=(2000, len(total)))
    low, high = np.percentile(total[drawn].sum(1) / count[drawn].sum(1), (2.5, 97.5))
    return float(difference.mean()), float(low), float(high)


def config_of(changes: Sequence[str]) -> TrainConfig:
    """The default recipe with these fields changed; `seconds` bound nothing unless they are given."""
    known = {field.name for field in fields(TrainConfig)}
    values: dict[str, Any] = {"seconds": 1e6}
    for change in changes:
        name, _, text = change.partition("=")
        if name not in known:
            raise SystemExit(f"{name} is no field of TrainConfig")
        values[name] = text if text.replace("-", "").isalpha() else json.loads(text)
    return replace(TrainConfig(), **values)


def main() -> None:
    """Train, measure, and write what was measured into a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "clones", type=Path, nargs="?", help="the folder with the clones that tests/benchmarks/sets.py names"
    )
    parser.add_argument("changes", nargs="*", help="fields of TrainConfig: learning_rate=1e-4 views=4")
    parser.add_argument("--set", choices=SETS, default="nuclei")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="takes trained weights, and keeps new ones")
    parser.add_argument("--table", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--block", choices=BLOCKS, default=BLOCKS[0])
    parser.add_argument("--against", type=Path)
    given = parser.parse_intermixed_args()
    if given.table:
        write_result(given.block, table([json.loads(path.read_bytes()) for path in given.table]))
        return
    if not (given.clones and given.out):
        parser.error("name CLONES and --out FILE, or --table FILE...")
    prepare_process()
    settings, config = Settings.from_env(), config_of(given.changes)
    with TemporaryDirectory() as folder:
        context = TrainingContext.open(settings, config=config, progress=silent)
        bench = Bench(given.clones, Path(folder), context, settings)
        photographs = bench.samples("photographs")
        result = run(given.set, config=config, bench=bench, photographs=photographs, kept=given.weights)
    result |= {"set": given.set, "changes": given.changes}
    given.out.write_text(json.dumps(result))
    say(f"{given.set} {' '.join(given.changes)}: {result['decodes']} decodes, {result['cpu_s']:.0f} core-seconds")
    say(said(result, json.loads(given.against.read_bytes()) if given.against else None))


if __name__ == "__main__":
    main()
