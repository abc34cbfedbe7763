"""Is the demo's training promoted whatever the seed and the arithmetic? Measures it, and writes docs/results.md.

python tests/benchmarks/demo_seeds.py --state FILE [--seeds 5]

Trains on the images that `samloop demo --once` annotates, as the demo does, once for every seed. Every training is a
line of FILE and is not repeated; the table holds all lines. Where the environment has SAMLOOP_DTYPE=float32,
ATEN_CPU_CAPABILITY=avx2 and ONEDNN_MAX_CPU_ISA=AVX2, it adds those of a processor with AVX2 alone. A training takes two
minutes on two cores.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from benchmarks.exports import demo, write
from benchmarks.pages import commit, machine, write_result

from backend.cli.demo.house import LIMITS
from backend.cli.demo.story import WAITING_ONCE
from backend.files.own_process import prepare_process
from backend.registry.checkpoint import Manifest
from backend.sam.layers.arithmetic import choose_arithmetic
from backend.settings import Settings
from finetuner.offline import train_export

PROMPTS = {"point": "one click", "box": "a box"}


def train(export: Path, out: Path, *, seed: int) -> Manifest:
    """Train as the demo does, and return the checkpoint's manifest."""
    settings = Settings.from_env({**LIMITS, **os.environ})
    return train_export(export, export.parent / "images", out, settings=settings, seed=seed)


def row_of(manifest: Manifest, *, seed: int, arithmetic: str) -> dict[str, Any]:
    """What a training says, as a line of the state's file."""
    difference, verdict = manifest.metrics.difference, manifest.verdict
    if difference is None:
        raise SystemExit(f"the training with seed {seed} measured nothing: {verdict.sentence}")
    gains = {prompt: {metric: list(interval) for metric, interval in difference[prompt].items()} for prompt in PROMPTS}
    return {"arithmetic": arithmetic, "seed": seed, "promoted": verdict.promote, "gains": gains, "commit": commit()}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the block: a row for every training."""
    return "\n".join(_lines(sorted(rows, key=lambda row: (row["arithmetic"], row["seed"]))))


def _lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield (
        "| arithmetic | seed | promoted | "
        + " | ".join(f"{title}, {metric}" for title in PROMPTS.values() for metric in ("IoU", "Boundary IoU"))
        + " |"
    )
    yield "| --- " * (3 + 2 * len(PROMPTS)) + "|"
    for row in rows:
        gains = (_gain(row["gains"][prompt][metric]) for prompt in PROMPTS for metric in ("iou", "boundary_iou"))
        promoted = "yes" if row["promoted"] else "no"
        yield f"| {row['arithmetic']} | {row['seed']} | {promoted} | {' | '.join(gains)} |"
    commits = ", ".join(sorted({row["commit"] for row in rows}))
    yield ""
    yield (
        f"{sum(row['promoted'] for row in rows)} of {len(rows)} promoted. Gains are over `mobile-sam`, on the four "
        f"held-out images. On {machine()}; commit {commits}."
    )


def _gain(interval: list[float]) -> str:
    mean, low, high = interval
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    """Train with the seeds that FILE lacks in this arithmetic, and write the block `demo`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, metavar="FILE")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    prepare_process()
    arithmetic = choose_arithmetic(Settings.from_env().sam.dtype, torch.device("cpu"), holds_in_int8=True).name
    rows = [json.loads(line) for line in given.state.read_text().splitlines()] if given.state.exists() else []
    done = {row["seed"] for row in rows if row["arithmetic"] == arithmetic}
    with TemporaryDirectory() as folder:
        export = write(list(demo())[:-WAITING_ONCE], Path(folder) / "demo")
        for seed in sorted(set(range(given.seeds)) - done):
            manifest = train(export, Path(folder) / str(seed), seed=seed)
            rows.append(row_of(manifest, seed=seed, arithmetic=arithmetic))
            with given.state.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    text = table(rows)
    sys.stdout.write(text + "\n")
    write_result("demo", text)


if __name__ == "__main__":
    main()
