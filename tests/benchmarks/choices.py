"""What single choices of the recipe are worth: `python tests/benchmarks/choices.py CLONES --state FILE [--decodes N]`.

`--block views` compares as many views of an image as the default recipe has with one view.

Warm-up, average of weights and objects a step, changed one at a time: trainings of as many decodes from the same images
with the same seed, and beside them the default recipe with two more seeds, which tells what is chance. Then what ends a
training: the default's number of decodes, or validation images, as in projects of 60 images and more. Measured as by
few_images.py: one click and the true box on images that no training has seen, with what would be published. Every
result is a line of FILE and is not computed again. The table goes into docs/results.md.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from benchmarks.few_images import PROMPTS, Curve, append_line, difference_to, learn, open_sets, read_lines, values_of
from benchmarks.pages import commit, machine, say, write_result
from benchmarks.recipes import Bench

from finetuner.config import TrainConfig

DEFAULT = "the default"
Choices = Mapping[str, Mapping[str, float | int]]
CHOICES: Choices = {
    DEFAULT: {},
    "seed 1": {"seed": 1},
    "no warm-up": {"warmup_share": 0.0},
    "no average of weights": {"ema_decay": 0.0},
    "12 objects a step": {"objects_per_step": 12},
    "3 objects a step": {"objects_per_step": 3},
    "seed 2": {"seed": 2},
    "2 images a step": {"images_per_step": 2},
    "a longer average, .995": {"ema_decay": 0.995},
    "a longer warm-up, .3": {"warmup_share": 0.3},
    "its own number of decodes": {"decodes": 16_000},
    "until validation images tell": {
        "decodes": 16_000,
        "decodes_per_object": 1000,
        "validation_from": 8,
        "validation_share": 0.2,
    },
}
VIEWS: Choices = {"one view": {"views": 1}, DEFAULT: {}}
BLOCKS = {"choices": CHOICES, "views": VIEWS}  # of docs/results.md; the others are compared with the first choice


def measure_missing(
    bench: Bench, names: Sequence[str], choices: Choices, *, config: TrainConfig, state: Path
) -> Iterator[dict[str, Any]]:
    """Measure what the file lacks, and write it there."""
    for name in names:
        curve = Curve.open(bench, name)
        for choice, changes in choices.items():
            if any((line["set"], line["choice"]) == (name, choice) for line in read_lines(state)):
                continue
            predictor, decodes = learn(bench.context, curve.learnt, config=replace(config, **changes))
            rows = list(bench.rows(predictor, curve.held_out))
            yield append_line(
                state, {"set": name, "choice": choice, "decodes": decodes, "commit": commit(), "rows": rows}
            )


def table(lines: Sequence[dict[str, Any]], *, against: str = DEFAULT) -> str:
    """A row for every choice of a set, with the differences to the IoU of the choice `against`."""
    text = [
        "| set | recipe | decodes | one click | Boundary IoU | box | Boundary IoU |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(line["set"] for line in lines):
        some = [line for line in lines if line["set"] == name]
        (theirs,) = (line["rows"] for line in some if line["choice"] == against)
        for line in some:
            others = None if line["choice"] == against else theirs
            cells = (_cell(line, others, prompt=prompt, column=column) for prompt in PROMPTS for column in (2, 3))
            text.append(f"| {name} | {line['choice']} | {line['decodes']} | {' | '.join(cells)} |")
    commits = ", ".join(sorted({line["commit"] for line in lines}))
    return "\n".join([*text, "", f"`mobile-sam`, method `decoder`. On {machine()}; commit {commits}."])


def _cell(line: dict[str, Any], theirs: Sequence[Any] | None, *, prompt: str, column: int) -> str:
    mean = f"{np.mean(values_of(line['rows'], prompt, column)):.3f}"
    if theirs is None:
        return mean
    difference = difference_to(line["rows"], theirs, prompt=prompt, column=column)
    return mean + " ({:+.3f} [{:+.3f}, {:+.3f}])".format(*difference)


def main() -> None:
    """Measure every choice on every set, and write the table into docs/results.md."""
    with open_sets(__doc__ or "", decodes=3000, blocks=tuple(BLOCKS)) as (given, bench, config):
        choices = BLOCKS[given.block]
        for line in measure_missing(bench, given.set, choices, config=config, state=given.state):
            say(f"{line['set']}, {line['choice']}, {line['decodes']} decodes")
    lines = [line for line in read_lines(given.state) if line["set"] in given.set]
    write_result(given.block, table(lines, against=next(iter(choices))))


if __name__ == "__main__":
    main()
