"""Against the public notebook's way of fine-tuning SAM: seconds an epoch, and seconds to its held-out IoU.

python tests/benchmarks/notebook.py ../shared/data/nuclei [--epochs 20] [--images 24] [--vit-b-images 8] [--print]

Ten minutes on two quiet cores. The rows of one base are in docs/results.md before the next is measured, and stand if
that fails.

The notebook's way: transformers' SamModel in float32, the encoder in every step, one jittered box around one mask an
image, Dice + cross-entropy on the 256 grid, Adam at 1e-5 without decay on the mask decoder, one image a step. Ours:
`samloop train` on the same images, from an empty cache of embeddings. Both learn from the same single nucleus an image.
Held-out images keep all their nuclei, and `samloop evaluate` measures both ways there, with true boxes.

ViT-B gets random weights, since its time does not depend on them, and an epoch or two: its IoU would say nothing. With
`mobile-sam` the notebook's schedule (20 epochs) runs to its end. Ours are trainings of more and more epochs, all from
the beginning, until one is as good. The table states the wall time of that training: with the program's start and the
encoding, without measuring, as for the notebook. Nothing is extrapolated: both times are of the same few images.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from benchmarks.pages import commit, machine, say, write_result
from benchmarks.trainings import cache_without_embeddings, samloop
from PIL import Image
from torch.nn import functional
from transformers import SamConfig, SamModel

from backend.amounts import write_amount
from backend.images.folder import find_image
from backend.labelstudio.rle import decode_mask
from backend.registry.checkpoint import read_manifest, write_checkpoint
from backend.sam.canvas import pixels_on_canvas
from backend.sam.frame import SAM_FRAME
from backend.sam.loading import decoder_bytes, load_base
from backend.settings import Settings
from finetuner.data.objects import LabelledMask, grid_coverage
from finetuner.data.sample import picture_hash
from finetuner.data.split import split_images

TITLE = "The public notebook's way to fine-tune SAM, with the encoder in every step, against `samloop train`:"
TOLD = (
    "In every epoch, one box of one nucleus is learnt from in every image. ViT-B has random weights, and no more "
    "images than its row says."
)
LADDER = (1, 10, 20, 35, 60)  # epochs of ours, until they are enough


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the notebook's loop sees of one image."""

    pixels: torch.Tensor
    nucleus: LabelledMask


class Notebook:
    """The notebook's loop."""

    def __init__(self, model: SamModel, lessons: Sequence[Lesson]) -> None:
        self.model, self._lessons = model, lessons
        model.requires_grad_(requires_grad=False)
        model.mask_decoder.requires_grad_(requires_grad=True).train()
        self._adam = torch.optim.Adam(model.mask_decoder.parameters(), lr=1e-5, weight_decay=0)
        self._rng = np.random.default_rng(0)

    def epoch(self) -> float:
        """One step an image; seconds."""
        began = time.perf_counter()
        for index in self._rng.permutation(len(self._lessons)):
            self._step(self._lessons[int(index)])
        return time.perf_counter() - began

    def _step(self, lesson: Lesson) -> None:
        target = torch.from_numpy(grid_coverage(lesson.nucleus, frame=SAM_FRAME) > 0.5).float()
        box = self._widened(lesson.nucleus)
        found = self.model(pixel_values=lesson.pixels, input_boxes=box, multimask_output=False)
        loss = _dice_ce(found.pred_masks[0, 0, 0, : target.shape[0], : target.shape[1]], target)
        self._adam.zero_grad()
        torch.autograd.backward(loss)
        self._adam.step()

    def _widened(self, item: LabelledMask) -> torch.Tensor:
        """The box with its edges moved 0 to 20 px outwards, as the notebook's `get_bounding_box` does; in canvas px."""
        out, box = self._rng.integers(0, 20, 4), item.box
        edges = [
            max(0.0, box.x0_px - out[0]),
            max(0.0, box.y0_px - out[1]),
            min(float(item.width_px), box.x1_px + out[2]),
            min(float(item.height_px), box.y1_px + out[3]),
        ]
        return torch.tensor([[edges]], dtype=torch.float32) * (1024 / max(item.height_px, item.width_px))


def _dice_ce(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """MONAI's DiceCELoss(sigmoid=True, squared_pred=True, reduction="mean")."""
    probability = logits.sigmoid()
    overlap = (probability * target).sum()
    dice = 1 - (2 * overlap + 1e-5) / (probability.square().sum() + target.square().sum() + 1e-5)
    return dice + functional.binary_cross_entropy_with_logits(logits, target)


@dataclass(frozen=True, slots=True)
class Task:
    """A task of the export with its image."""

    task: dict[str, Any]
    path: Path

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    @property
    def image(self) -> Image.Image:
        with Image.open(self.path) as file:
            return file.convert("RGB")

    def with_one_nucleus(self) -> "Task":
        first = {**self.task["annotations"][0], "result": self.task["annotations"][0]["result"][:1]}
        return replace(self, task={**self.task, "annotations": [first]})

    def lesson(self) -> Lesson:
        region = self.task["annotations"][0]["result"][0]
        size = {"height_px": region["original_height"], "width_px": region["original_width"]}
        mask = decode_mask(region["value"]["rle"], **size)
        return Lesson(pixels_on_canvas(self.image, frame=SAM_FRAME), LabelledMask.of(mask, label=None))


def sides(nuclei: Path, most: int) -> tuple[list[Task], list[Task]]:
    """The images to learn from, with one nucleus an image, and the held-out ones: a quarter of at most `most`."""
    exported = json.loads((nuclei / "export.json").read_bytes())
    tasks = [Task(task, find_image(nuclei / "images", task["data"]["image"])) for task in exported]
    by_digest = {task.sha256: task for task in tasks}
    split = split_images({sha256: picture_hash(task.image) for sha256, task in by_digest.items()})
    learnt, held_out = ([by_digest[sha256] for sha256 in side] for side in (split.train, split.held_out))
    return [task.with_one_nucleus() for task in learnt[: most - most // 4]], held_out[: most // 4]


@dataclass(frozen=True, slots=True)
class Race:
    """Both ways with one base on the same images."""

    folder: Path
    images: Path
    model: str
    learnt: list[Task]
    held_out: list[Task]

    @property
    def export(self) -> Path:
        path = self.folder / "export.json"
        path.write_text(json.dumps([task.task for task in (*self.learnt, *self.held_out)]))
        return path

    def notebook(self, epochs: int, model: SamModel) -> tuple[Notebook, list[float]]:
        loop = Notebook(model, [task.lesson() for task in self.learnt])
        seconds = []
        for number in range(1, epochs + 1):
            seconds.append(loop.epoch())
            say(f"notebook, {self.model}: epoch {number} of {epochs} took {seconds[-1]:.1f} s")
        return loop, seconds

    def ours(self, epochs: int, *, cache: Path | None = None) -> tuple[Path, dict[str, Any], float]:
        """Checkpoint, the manifest's metrics, and the wall time of `samloop train` without what it measured.

        `cache`: with the embeddings that are kept there, where the wall time is not looked at; None: with none.
        """
        out = self.folder / f"ours-{epochs}"
        cache = cache or cache_without_embeddings(self.folder / f"cache-{epochs}")
        words = ("train", "--export", self.export, "--images", self.images, "--out", out, "--epochs", str(epochs))
        _, wall_s = samloop(*words, cache=cache, SAMLOOP_MODEL=self.model)
        metrics = read_manifest(out).metrics.to_json()
        return out, metrics, wall_s - metrics["seconds"]["evaluating"]

    def iou_of(self, loop: Notebook, like: Path) -> float:
        """Held-out box IoU of what the notebook made, as a checkpoint like one of ours."""
        out = self.folder / "notebook"
        write_checkpoint(out, weights=decoder_bytes(loop.model.mask_decoder), manifest=read_manifest(like))
        words = ("evaluate", "--export", self.export, "--images", self.images, "--checkpoint", out, "--json")
        line, _ = samloop(*words, cache=like.with_name(like.name.replace("ours", "cache")), SAMLOOP_MODEL=self.model)
        return float(json.loads(line)["candidate"]["box"]["iou"])


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def an_epoch(name: str, race: Race, notebook_s: Sequence[float], ours: Mapping[int, float]) -> str:
    """The row of one epoch. `ours`: seconds of trainings by their number of epochs.

    All of them look at held-out objects equally often, so the difference of two is the time of epochs alone.
    """
    few, many = min(ours), max(ours)
    ours_s = (ours[many] - ours[few]) / (many - few)
    after = notebook_s[1:] or notebook_s
    theirs_s = sum(after) / len(after)
    what = f"{name}, an epoch of {len(race.learnt)} images after the first"
    return row(what, f"{theirs_s:.1f} s", f"{ours_s:.2f} s", f"{theirs_s / ours_s:.0f} times")


def vit_b(nuclei: Path, folder: Path, *, images: int, epochs: int) -> list[str]:
    """Random weights: seconds an epoch alone."""
    torch.manual_seed(0)
    model = SamModel(SamConfig()).eval()
    model.save_pretrained(folder / "vit-b")
    race = Race(folder, nuclei / "images", str(folder / "vit-b"), *sides(nuclei, images))
    _, seconds = race.notebook(epochs, model)
    del model
    cache = cache_without_embeddings(folder / "cache")  # one for both: the encoder's time is in no epoch
    ours = {count: race.ours(count, cache=cache)[1]["ended_at"]["seconds"] for count in (10, 40)}
    return [an_epoch("ViT-B", race, seconds, ours)]


def mobile_sam(nuclei: Path, folder: Path, *, images: int, epochs: int) -> list[str]:
    """Seconds an epoch, and to the held-out IoU of the notebook's schedule."""
    model = load_base("mobile-sam", cache_dir=Settings.from_env().cache.dir, device="cpu", dtype="float32").model
    race = Race(folder, nuclei / "images", "mobile-sam", *sides(nuclei, images))
    loop, seconds = race.notebook(epochs, model)
    ours: dict[int, float] = {}
    goal, reached = (
        None,
        row("mobile-sam, to the notebook's held-out box IoU", f"{sum(seconds):.0f} s", "not reached", ""),
    )
    for count in LADDER:
        out, metrics, wall_s = race.ours(count)
        goal = race.iou_of(loop, out) if goal is None else goal
        ours[count] = metrics["ended_at"]["seconds"]
        found, base = (metrics[who]["box"]["iou"] for who in ("candidate", "base"))
        say(f"ours: {count} epochs, {wall_s:.0f} s, held-out box IoU {found:.4f}; the notebook's {goal:.4f}")
        if found >= goal and "not reached" in reached:
            what = f"mobile-sam, to a held-out box IoU of {goal:.3f} (base {base:.3f})"
            theirs, in_all = (
                f"{sum(seconds):.0f} s, {write_amount(epochs, 'epoch')}",
                f"{wall_s:.0f} s, {write_amount(count, 'epoch')}, encoding included",
            )
            reached = row(what, theirs, in_all, f"{sum(seconds) / wall_s:.0f} times")
        if len(ours) > 1 and "not reached" not in reached:
            break
    return [an_epoch("mobile-sam", race, seconds, ours), reached]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nuclei", type=Path)
    parser.add_argument("--epochs", type=int, default=20, help="of the notebook's with mobile-sam; its schedule has 20")
    parser.add_argument("--images", type=int, default=24, help="with mobile-sam, a quarter of them held out")
    parser.add_argument("--vit-b-images", type=int, default=8)
    parser.add_argument("--vit-b-epochs", type=int, default=2)
    parser.add_argument("--only", choices=("vit-b", "mobile-sam"))
    parser.add_argument("--print", action="store_true", help="write nothing into docs/results.md")
    given = parser.parse_args()
    if min(given.vit_b_images, given.images) < 8:
        parser.error("at least 8 images: fewer are cross-validated, and nothing is held out for good")
    measured, rows, failed = commit(), ["| What | notebook | `samloop train` | |", "| --- | --- | --- | --- |"], []
    parts: dict[str, Callable[[Path], list[str]]] = {
        "mobile-sam": lambda folder: mobile_sam(given.nuclei, folder, images=given.images, epochs=given.epochs),
        "vit-b": lambda folder: vit_b(given.nuclei, folder, images=given.vit_b_images, epochs=given.vit_b_epochs),
    }
    with tempfile.TemporaryDirectory() as name:
        for part in (given.only,) if given.only else parts:
            folder = Path(name) / part
            folder.mkdir()
            try:
                rows += parts[part](folder)
            except (Exception, SystemExit):  # noqa: BLE001 - the next is measured whatever this one met
                traceback.print_exc()
                failed.append(part)
                continue
            text = "\n".join([TITLE, "", *rows, "", f"{TOLD} On {machine()}; commit {measured}."])
            say(f"\n{text}")
            if not (given.print or given.only):
                write_result("notebook", text)
    if failed:
        raise SystemExit(f"failed, and not in docs/results.md: {', '.join(failed)}")


if __name__ == "__main__":
    main()
