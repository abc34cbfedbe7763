"""Does a good order save annotations? Measures it, and writes a table into docs/results.md.

python tests/benchmarks/order.py NUCLEI --state FILE [--trainings 6] [--seeds 2]

NUCLEI is a folder with export.json and images/ (exports.py builds it). The held-out images of the usual split stay
aside. Of the others 4, 8 and 16 are annotated, in three orders: at random; by lowest score of the version trained so
far (with boxes as prompts, as a detector would bring them); and most different first. The latter two draw every tenth
image at random, as `samloop order` does. After every round a decoder is trained from the base on what is annotated, for
so many decodes, whatever the machine's load, and measured on the held-out objects. Every result is a line of FILE and
is not computed again, so that the work can be done in slices of `--trainings`. The table holds all complete seeds.
"""

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.pages import commit, machine, say, write_result

from backend.cli.order.choice import choose_diverse, draw_at_random, mix_in_random
from backend.masks.prompt import Prompt
from backend.sam.predictor import Predictor, base_predictor
from backend.sam.scoring import task_score
from backend.settings import Settings
from finetuner.context import TrainingContext
from finetuner.data.dataset import assemble
from finetuner.data.sample import Sample
from finetuner.measuring.evaluation import measure, report
from finetuner.methods import new_method
from finetuner.offline import read_samples
from finetuner.presets import config_of
from finetuner.progress import silent
from finetuner.training.loop import Trainer

ROUNDS = (4, 8, 16)
ORDERS = {"random": "at random", "score": "lowest score first", "diverse": "most different first"}
METRICS = {"point_iou": "one click", "box_iou": "box"}


class Simulation:
    """The data, and one training after another."""

    def __init__(self, nuclei: Path, *, decodes: int) -> None:
        settings = Settings.from_env()
        # Work alone ends a training: neither epochs nor seconds do.
        config = replace(config_of(settings), decodes=decodes, epochs=1000, seconds=math.inf)
        self.context = TrainingContext.open(settings, config=config, progress=silent)
        samples = read_samples(nuclei / "export.json", nuclei / "images", settings=settings, context=self.context)
        share = self.context.config.held_out_share
        dataset = assemble(samples, share=share, exclusions=self.context.exclusions)
        self.pool, self.held_out = dataset.train, dataset.held_out
        self.embedding = self.context.embeddings.by(self.context.base)
        self.features = np.stack(
            [self.embedding(sample).features.float().mean((0, 2, 3)).numpy() for sample in self.pool]
        )
        self.base = self.measured(base_predictor(self.context.base))

    def order(self, kind: str, seed: int, *, count: int, before: Sequence[int], model: Predictor) -> list[int]:
        """Indices of the first `count` images; those annotated before stay."""
        left = [index for index in range(len(self.pool)) if index not in before]
        shuffled = list(np.random.default_rng(seed).permutation(left))
        more = count - len(before)
        if kind == "random":
            # Of one permutation of the whole pool, so that a round continues the one before.
            whole = [int(index) for index in np.random.default_rng(seed).permutation(len(self.pool))]
            return whole[:count]
        if kind == "diverse":
            first = [left[place] for place in choose_diverse(self.features[left], count=more, seed=seed)]
        else:
            first = sorted(shuffled, key=lambda index: self.score(model, self.pool[index]))
        drawn = draw_at_random(left, project_id=seed + 1, count=len(left))
        return [*before, *(int(index) for index in mix_in_random(first, drawn, count=more))]

    def score(self, model: Predictor, sample: Sample) -> float:
        prompts = [Prompt(box=item.box) for item in sample.objects]
        return task_score([mask.score for mask in model.decode(self.embedding(sample), prompts)])

    def train(self, chosen: Sequence[int], seed: int) -> Predictor:
        method = new_method("decoder", self.context.base)
        config = replace(self.context.config, seed=seed)
        for _ in Trainer(
            method, [self.pool[index] for index in chosen], config=config, embedding=self.embedding
        ).steps():
            pass
        return method.predictor(version="candidate")

    def measured(self, model: Predictor) -> dict[str, float]:
        found = report(measure(model, self.held_out, embedding=self.embedding, clicks=0))
        return {
            f"{prompt}_{metric}": found[prompt][metric]
            for prompt in ("point", "box")
            for metric in ("iou", "boundary_iou")
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """How many `trainings` this run may do, by `decodes` decodes; every result is a line of `state`."""

    state: Path
    seeds: int
    decodes: int
    trainings: int

    def known(self) -> list[dict[str, Any]]:
        """The results of trainings with as many decodes."""
        lines = [json.loads(line) for line in self.state.read_text().splitlines()] if self.state.exists() else []
        return [line for line in lines if line["decodes"] == self.decodes]

    def run(self, nuclei: Path) -> None:
        """Run the trainings that are lacking, at most `trainings` of them."""
        known = {(line["order"], line["seed"], line["images"]): line for line in self.known()}
        wanted = [(kind, seed, count) for seed in range(self.seeds) for kind in ORDERS for count in ROUNDS]
        lacking = [key for key in wanted if key not in known][: self.trainings]
        if not lacking:
            return
        simulation, models = Simulation(nuclei, decodes=self.decodes), {}
        for kind, seed, count in lacking:
            done = [images for images in ROUNDS if images < count]
            before = known[kind, seed, done[-1]]["chosen"] if done else []
            model = models.get((kind, seed))
            if model is None:  # no run keeps its models; training again gives the same one
                again = kind == "score" and before
                model = simulation.train(before, seed) if again else base_predictor(simulation.context.base)
            chosen = simulation.order(kind, seed, count=count, before=before, model=model)
            models[kind, seed] = simulation.train(chosen, seed)
            known[kind, seed, count] = found = {
                "order": kind,
                "seed": seed,
                "images": count,
                "decodes": self.decodes,
                "chosen": chosen,
                "objects": sum(len(simulation.pool[index].objects) for index in chosen),
                "measured_on": [
                    len(simulation.held_out),
                    sum(len(sample.objects) for sample in simulation.held_out),
                ],
                "base": simulation.base,
                **simulation.measured(models[kind, seed]),
            }
            with self.state.open("a") as file:
                file.write(json.dumps(found) + "\n")
            say(f"seed {seed}, {kind}, {count} images: {', '.join(f'{name} {found[name]:.3f}' for name in METRICS)}")


def complete(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results of those seeds that have every order and round."""
    counts = Counter(line["seed"] for line in lines)
    return [line for line in lines if counts[line["seed"]] == len(ORDERS) * len(ROUNDS)]


def table(lines: Sequence[dict[str, Any]]) -> str:
    """The block of docs/results.md: mean and range over the seeds, and what either order gains over random."""
    seeds, decodes = len({line["seed"] for line in lines}), lines[0]["decodes"]
    images, objects = lines[0]["measured_on"]
    told = (
        f"IoU on the same {images} held-out images ({objects} nuclei), after 4, 8 and 16 images were annotated."
        f" Mean and range of {seeds} seeds, {decodes} decodes per training:\n\n"
    )
    rows = [f"| prompt | images | {' | '.join(ORDERS.values())} |", "| --- " * (2 + len(ORDERS)) + "|"]
    for metric, prompt in METRICS.items():
        base = f"{lines[0]['base'][metric]:.3f}"
        rows.append(f"| {prompt} | 0 | {' | '.join([base] * len(ORDERS))} |")
        for count in ROUNDS:
            of = {kind: [line[metric] for line in _at(lines, kind, count)] for kind in ORDERS}
            cells = (f"{np.mean(ious):.3f} [{min(ious):.3f}, {max(ious):.3f}]" for ious in of.values())
            rows.append(f"| {prompt} | {count} | {' | '.join(cells)} |")
    return told + "\n".join(rows) + "\n\n" + " ".join(_gain(lines, kind) for kind in ORDERS if kind != "random")


def _gain(lines: Sequence[dict[str, Any]], kind: str) -> str:
    """The order against random, seed by seed and round by round."""
    told = []
    for metric, prompt in METRICS.items():
        gains = [
            ours[metric] - theirs[metric]
            for count in ROUNDS
            for ours, theirs in zip(_at(lines, kind, count), _at(lines, "random", count), strict=True)
        ]
        told.append(
            f"{prompt} {np.mean(gains):+.3f} (ahead in {sum(gain > 0 for gain in gains)} of {len(gains)} comparisons)"
        )
    return f"{ORDERS[kind].capitalize()} against random: {', '.join(told)}."


def _at(lines: Sequence[dict[str, Any]], kind: str, count: int) -> list[dict[str, Any]]:
    return sorted(
        (line for line in lines if line["order"] == kind and line["images"] == count), key=lambda line: line["seed"]
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("nuclei", type=Path)
    arguments.add_argument("--state", type=Path, required=True)
    arguments.add_argument("--trainings", type=int, default=1000, help="at most so many in this run")
    arguments.add_argument("--seeds", type=int, default=2)
    arguments.add_argument("--decodes", type=int, default=480, help="object-prompts of a training")
    given = arguments.parse_args()
    measured = commit()
    part = Slice(state=given.state, seeds=given.seeds, decodes=given.decodes, trainings=given.trainings)
    part.run(given.nuclei)
    lines = part.known()
    say(f"{len(lines)} of {given.seeds * len(ORDERS) * len(ROUNDS)} trainings are done")
    if found := complete(lines):
        text = f"{table(found)} On {machine()}; commit {measured}."
        say(text)
        write_result("order", text)


if __name__ == "__main__":
    main()
