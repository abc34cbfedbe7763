"""What few images teach: `python tests/benchmarks/few_images.py CLONES --state FILE [--set NAME...] [--decodes 1000]`.

The default recipe learns from 2, 5, 10, 20 and all images of a set, the fewer among the more, and always with as many
decodes. Measured are one click and the true box on images that no training has seen: of `nuclei` those of another
draw of BBBC038, of every other set one half. The published weights and the policy for a click are those that a
training on these images would publish; tiles and the base for unlike images are left out. Every result is a line of
FILE and is not computed again. The table goes into docs/results.md. A training takes a minute on two idle cores.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from benchmarks.pages import commit, machine, say, write_result
from benchmarks.recipes import SETS, Bench, Row, config_of, interval

from backend.files.own_process import prepare_process
from backend.sam.predictor import Predictor, base_predictor
from backend.settings import Settings
from finetuner.config import TrainConfig
from finetuner.context import TrainingContext
from finetuner.data.folds import Training
from finetuner.data.sample import Sample
from finetuner.measuring.click_policy import with_measured_policy
from finetuner.methods import new_method
from finetuner.progress import silent
from finetuner.training.run import TrainingRun, seed_all

COUNTS = (2, 5, 10, 20)
MEASURED_OBJECTS = 5  # of a held-out image
PROMPTS = ("point", "box")


def draw_images(samples: Sequence[Sample], count: int | None) -> list[Sample]:
    """Draw so many images by their digests, fewer among more; None: all of them."""
    return sorted(samples, key=lambda sample: hashlib.sha256(f"curve {sample.image_sha256}".encode()).hexdigest())[
        :count
    ]


def learn(context: TrainingContext, samples: Sequence[Sample], *, config: TrainConfig) -> tuple[Predictor, int]:
    """Learn from these samples; the predictor as it would be published, in whole images, and the decodes it took."""
    seed_all(config.seed)
    method = new_method(config.method, context.base, config=config)
    training = Training(number=1, count=1, train=tuple(samples), held_out=(), config=config)
    ended = TrainingRun(method, training, embeddings=context.embeddings, unfinished=None, progress=silent).train()
    usual = method.predictor(version="candidate")
    plain = base_predictor(context.base)
    return with_measured_policy(usual, samples, plain=plain, embedding=context.embeddings), ended.decodes


@dataclass(frozen=True, slots=True)
class Curve:
    """A set's images to learn from, and those to measure on."""

    bench: Bench
    name: str
    learnt: Sequence[Sample]
    held_out: Sequence[Sample]

    @classmethod
    def open(cls, bench: Bench, name: str) -> "Curve":
        """Read the set."""
        learnt, held_out = next(bench.folds(name))
        few = [replace(sample, objects=sample.objects[:MEASURED_OBJECTS]) for sample in held_out]
        return cls(bench, name, learnt, few)

    @property
    def counts(self) -> tuple[int, ...]:
        """None, all, and few: the table of an interrupted run compares with both ends."""
        return (0, len(self.learnt), *(count for count in COUNTS if count < len(self.learnt)))

    def measure(self, count: int) -> dict[str, Any]:
        """Learn from so many images, and measure."""
        context = self.bench.context
        plain = base_predictor(context.base)
        if not count:
            return self._line(0, decodes=0, rows=self.bench.rows(plain, self.held_out))
        train = draw_images(self.learnt, count)
        chosen, decodes = learn(context, train, config=context.config)
        return self._line(count, decodes=decodes, rows=self.bench.rows(chosen, self.held_out))

    def _line(self, count: int, *, decodes: int, rows: Sequence[Row]) -> dict[str, Any]:
        return {"set": self.name, "images": count, "decodes": decodes, "commit": commit(), "rows": list(rows)}


def table(lines: Sequence[dict[str, Any]]) -> str:
    """A row for every number of images of a set, with the share of what all images gain."""
    text = [
        "| set | images | decodes | one click | of the gain | Boundary IoU | box | of the gain | Boundary IoU |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(line["set"] for line in lines):
        some = sorted((line for line in lines if line["set"] == name), key=lambda line: line["images"])
        base, everything = some[0]["rows"], some[-1]["rows"]
        for line in some:
            cells = []
            for prompt in PROMPTS:
                cells.append(_cell(line["rows"], base, prompt=prompt, column=2, is_base=not line["images"]))
                cells.append(_share(line["rows"], everything, base=base, prompt=prompt) if line["images"] else "")
                cells.append(_cell(line["rows"], base, prompt=prompt, column=3, is_base=not line["images"]))
            text.append(f"| {name} | {line['images']} | {line['decodes'] or ''} | {' | '.join(cells)} |")
    commits = ", ".join(sorted({line["commit"] for line in lines}))
    return "\n".join([*text, "", f"`mobile-sam`, method `decoder`, seed 0. On {machine()}; commit {commits}."])


def values_of(rows: Sequence[Row], prompt: str, column: int) -> np.ndarray:
    return np.array([row[column] for row in rows if row[1] == prompt], np.float64)


def difference_to(rows: Sequence[Row], base: Sequence[Row], *, prompt: str, column: int) -> tuple[float, float, float]:
    """The mean difference to the base and its interval."""
    images = np.array([row[0] for row in rows if row[1] == prompt])
    return interval(values_of(rows, prompt, column) - values_of(base, prompt, column), images)


def _share(rows: Sequence[Row], everything: Sequence[Row], *, base: Sequence[Row], prompt: str) -> str:
    """The share of the IoU that all images gain, none where these images lose; "" where that gain may be chance."""
    whole, low, _ = difference_to(everything, base, prompt=prompt, column=2)
    part, _, _ = difference_to(rows, base, prompt=prompt, column=2)
    share = f"{part / whole:.0%}" if part > 0 else "none"
    return share if low > 0 else ""


def _cell(rows: Sequence[Row], base: Sequence[Row], *, prompt: str, column: int, is_base: bool) -> str:
    values = values_of(rows, prompt, column)
    if is_base:
        return f"{values.mean():.3f}"
    difference = difference_to(rows, base, prompt=prompt, column=column)
    return f"{values.mean():.3f} " + "({:+.3f} [{:+.3f}, {:+.3f}])".format(*difference)


def read_lines(state: Path) -> list[dict[str, Any]]:
    """The results in a file of them; none if there is no file."""
    return [json.loads(line) for line in state.read_text().splitlines()] if state.exists() else []


def append_line(state: Path, line: dict[str, Any]) -> dict[str, Any]:
    """Write a result behind the others, and return it."""
    with state.open("a") as file:
        file.write(f"{json.dumps(line)}\n")
    return line


def measure_missing(bench: Bench, names: Sequence[str], *, state: Path) -> Iterator[dict[str, Any]]:
    """Measure what the file lacks, and write it there."""
    for name in names:
        curve = Curve.open(bench, name)
        for count in curve.counts:
            if not any((line["set"], line["images"]) == (name, count) for line in read_lines(state)):
                yield append_line(state, curve.measure(count))


@contextmanager
def open_sets(
    description: str, *, decodes: int, blocks: Sequence[str] = ("few-images",)
) -> Iterator[tuple[argparse.Namespace, Bench, TrainConfig]]:
    """Read the command line of a benchmark that trains on sets with few decodes, and open its bench."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clones", type=Path, help="the folder with the clones that tests/benchmarks/sets.py names")
    parser.add_argument("--set", choices=SETS, nargs="+", default=["nuclei", "ultrasound"])
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--decodes", type=int, default=decodes)
    parser.add_argument("--block", choices=blocks, default=blocks[0], help="of docs/results.md")
    given = parser.parse_args()
    prepare_process()
    settings, config = Settings.from_env(), config_of([f"decodes={given.decodes}"])
    with TemporaryDirectory() as folder:
        context = TrainingContext.open(settings, config=config, progress=silent)
        yield given, Bench(given.clones, Path(folder), context, settings), config


def main() -> None:
    """Measure every set, and write the table into docs/results.md."""
    with open_sets(__doc__ or "", decodes=1000) as (given, bench, _):
        for line in measure_missing(bench, given.set, state=given.state):
            say(f"{line['set']}, {line['images']} images, {line['decodes']} decodes")
    write_result(given.block, table([line for line in read_lines(given.state) if line["set"] in given.set]))


if __name__ == "__main__":
    main()
