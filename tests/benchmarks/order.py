"""Does a good order save annotations? `python tests/benchmarks/order.py --state FILE [--seconds 200] [--seeds 2]`.

On the 40 nuclei images: the held-out images of the usual split stay aside; from the others 4, 8 and 16 are
annotated, in three orders: at random, by lowest score of the version trained so far (boxes as prompts, as a detector
would bring them), and most different first. After each round a decoder is trained from the base on what is annotated,
with the same bound on work, and measured on the held-out objects. Every result is a line of FILE, and is not computed
again: so it can be run in slices. Prints the curve when all are there.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from backend.masks.prompt import Prompt
from backend.order import at_random, diverse, mixed
from backend.sam.predictor import Predictor
from backend.sam.scoring import task_score
from backend.settings import Settings
from finetuner.dataset import Sample, assemble
from finetuner.evaluation import measure, report
from finetuner.methods import new_method
from finetuner.offline import _samples
from finetuner.progress import silent
from finetuner.recipe import Workshop, base_predictor, config_of
from finetuner.trainer import Trainer

NUCLEI = Path(__file__).resolve().parents[3] / "shared" / "data" / "nuclei"
ROUNDS = (4, 8, 16)
ORDERS = ("random", "score", "diverse")


class Simulation:
    """The data, and one training after another."""

    def __init__(self, *, decodes: int) -> None:
        settings = Settings.from_env()
        self.workshop = Workshop.open(
            settings, config=replace(config_of(settings), decodes=decodes, epochs=1000), progress=silent
        )
        samples = _samples(NUCLEI / "export.json", NUCLEI / "images", settings=settings, workshop=self.workshop)
        share = self.workshop.config.held_out_share
        dataset = assemble(samples, share=share, exclusions=self.workshop.exclusions)
        self.pool, self.held_out = dataset.train, dataset.held_out
        self.embedding = self.workshop.embeddings.by(self.workshop.base)
        self.features = np.stack([self.embedding(each).features.float().mean((0, 2, 3)).numpy() for each in self.pool])

    def order(self, kind: str, seed: int, *, count: int, before: Sequence[int], model: Predictor) -> list[int]:
        """Indices of the first `count` images; those annotated before stay."""
        left = [each for each in range(len(self.pool)) if each not in before]
        shuffled = list(np.random.default_rng(seed).permutation(left))
        more = count - len(before)
        if kind == "random":
            # Of one permutation of the whole pool, so that a round continues the one before.
            whole = [int(each) for each in np.random.default_rng(seed).permutation(len(self.pool))]
            return whole[:count]
        if kind == "diverse":
            first = [left[each] for each in diverse(self.features[left], count=more, seed=seed)]
        else:
            first = sorted(shuffled, key=lambda each: self.score(model, self.pool[each]))
        drawn = at_random(left, project_id=seed + 1, count=len(left))
        return [*before, *(int(each) for each in mixed(first, drawn, count=more))]

    def score(self, model: Predictor, sample: Sample) -> float:
        prompts = [Prompt(box=each.box) for each in sample.objects]
        return task_score([each.score for each in model.decode(self.embedding(sample), prompts)])

    def train(self, chosen: Sequence[int], seed: int) -> Predictor:
        method = new_method("decoder", self.workshop.base)
        config = replace(self.workshop.config, seed=seed)
        for _ in Trainer(method, [self.pool[each] for each in chosen], config=config, embedding=self.embedding).steps():
            pass
        return method.predictor(version="candidate")

    def measured(self, model: Predictor) -> dict[str, float]:
        found = report(measure(model, self.held_out, embedding=self.embedding, clicks=0))
        return {
            f"{prompt}_{metric}": found[prompt][metric]
            for prompt in ("point", "box")
            for metric in ("iou", "boundary_iou")
        }


def run(simulation: Simulation, state: Path, *, seeds: int, until_s: float) -> bool:
    """Compute what is lacking, until time is over; tells whether all is there."""
    lines = [json.loads(line) for line in state.read_text().splitlines()] if state.exists() else []
    known = {(each["order"], each["seed"], each["images"]): each for each in lines}
    for seed in range(seeds):
        for kind in ORDERS:
            before: list[int] = []
            model = base_predictor(simulation.workshop.base)
            for count in ROUNDS:
                if (found := known.get((kind, seed, count))) is None:
                    if time.monotonic() > until_s:
                        return False
                    if kind == "score" and before:  # after a slice the version is trained again: it is not kept
                        model = simulation.train(before, seed)
                    chosen = simulation.order(kind, seed, count=count, before=before, model=model)
                    trained = simulation.train(chosen, seed)
                    objects = sum(len(simulation.pool[each].objects) for each in chosen)
                    found = {
                        "order": kind, "seed": seed, "images": count, "objects": objects, "chosen": chosen,
                        **simulation.measured(trained),
                    }  # fmt: skip
                    with state.open("a") as file:
                        file.write(json.dumps(found) + "\n")
                before = found["chosen"]
    return True


def curve(lines: Sequence[dict], *, metric: str) -> str:
    """A Markdown table: mean and range over the seeds."""
    rows = [f"| images | {' | '.join(ORDERS)} |", "| --- " * (1 + len(ORDERS)) + "|"]
    for count in ROUNDS:
        cells = []
        for kind in ORDERS:
            values = [each[metric] for each in lines if each["order"] == kind and each["images"] == count]
            objects = np.mean([each["objects"] for each in lines if each["order"] == kind and each["images"] == count])
            cells.append(f"{np.mean(values):.3f} [{min(values):.3f}, {max(values):.3f}], {objects:.0f} objects")
        rows.append(f"| {count} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--state", type=Path, required=True)
    arguments.add_argument("--seconds", type=float, default=200.0)
    arguments.add_argument("--seeds", type=int, default=2)
    arguments.add_argument("--decodes", type=int, default=120)
    chosen = arguments.parse_args()
    until_s = time.monotonic() + chosen.seconds
    complete = run(Simulation(decodes=chosen.decodes), chosen.state, seeds=chosen.seeds, until_s=until_s)
    lines = [json.loads(line) for line in chosen.state.read_text().splitlines()]
    sys.stdout.write(f"{len(lines)} of {chosen.seeds * len(ORDERS) * len(ROUNDS)} trainings\n")
    for metric in ("point_iou", "box_iou") if complete else ():
        sys.stdout.write(f"\n{metric}\n{curve(lines, metric=metric)}\n")


if __name__ == "__main__":
    main()
