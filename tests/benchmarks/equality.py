"""How far served masks are from transformers' own forward pass, for every published base at its own size.

python tests/benchmarks/equality.py [--print] [--only NAME,NAME]

Weights are random, and everything is float32. Both sides answer five kinds of prompts (a click, clicks, a box, a box
and a click, a box with a mask) and three boxes at once, all with four masks. `edgetam` needs timm, and is left out
where that is missing. The table goes into docs/models.md.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from benchmarks.pages import commit, machine, write_block
from benchmarks.real_sizes import build, list_rows, look_plainly
from transformers import SamHQModel

from backend.masks.metrics import iou
from backend.masks.prompt import Box, Prompt
from backend.sam.canvas import pixels_on_canvas
from backend.sam.loading import decoder_of, load_base
from backend.sam.predictor import Embedding, Predictor, encode, prompt_tensors
from tests.support.plain_masks import IMAGE, PROMPTS, answers, enlarge_plainly, mend_sam_hq, score_objects
from tests.support.small_bases import make_lively

MODELS = Path(__file__).resolve().parents[2] / "docs" / "models.md"
SEVERAL = [Prompt(box=Box(5.0 * number, 4.0, 30.0 + 6 * number, 50.0)) for number in range(3)]
ASKED: list[list[Prompt]] = [[prompt] for prompt in PROMPTS.values()] + [SEVERAL]
_NOISE = 0.02  # on every weight, so that masks differ


@dataclass(frozen=True, slots=True)
class Differences:
    """The largest differences over prompts: of logits as a share of the largest, the others as they are.

    `logits` compares the cells that the image's mask depends on; samloop computes no others.
    `least_iou` is that of all masks at the image's size, of which `masks` hold something and not everything.
    """

    logits: float
    ious: float
    object_scores: float | None
    least_iou: float
    masks: int


def compare(plain: Any, folder: Path) -> tuple[int, Differences]:
    """Write transformers' model, and ask both; returns how many weights it has, and how the answers differ."""
    make_lively(plain, by=_NOISE, sure=0.0)
    plain.save_pretrained(folder)
    base = load_base(str(folder), cache_dir=folder.parent, device="cpu", dtype="float32")
    seen = look_plainly(plain, pixels_on_canvas(IMAGE, frame=base.frame))
    embedding = encode(base, IMAGE)
    if isinstance(plain, SamHQModel):
        mend_sam_hq(plain)
    served = Predictor(base, decoder_of(base, None), version="equality")
    differences = [differ(served, embedding, plain, prompts=prompts, seen=seen) for prompts in ASKED]
    scores = [part.object_scores for part in differences if part.object_scores is not None]
    return sum(weight.numel() for weight in plain.parameters()), Differences(
        logits=max(part.logits for part in differences),
        ious=max(part.ious for part in differences),
        object_scores=max(scores) if scores else None,
        least_iou=min(part.least_iou for part in differences),
        masks=sum(part.masks for part in differences),
    )


def differ(
    served: Predictor, embedding: Embedding, plain: Any, *, prompts: Sequence[Prompt], seen: dict[str, Any]
) -> Differences:
    """How ours and transformers' answers to prompts that are asked together differ."""
    inputs = prompt_tensors(prompts, embedding, frame=served.base.frame)
    (single, single_iou), (three, three_ious) = (
        answers(plain, inputs, multimask=multimask, **seen) for multimask in (False, True)
    )
    theirs, their_ious = torch.cat([single, three], 1), torch.cat([single_iou, three_ious], 1)
    candidates = served.candidates(embedding, prompts, which=lambda _: range(4))
    if isinstance(plain, SamHQModel):  # which sorts the three readings by their predicted IoUs
        candidates = tuple(
            (first, *sorted(readings, key=lambda reading: reading.predicted_iou, reverse=True))
            for first, *readings in candidates
        )
    ours = torch.stack([candidate.logits for four in candidates for candidate in four]).view_as(theirs)
    ious = torch.tensor([candidate.predicted_iou for four in candidates for candidate in four]).view_as(their_ious)
    scores = score_objects(plain, inputs, **seen)
    size = {"height_px": embedding.height_px, "width_px": embedding.width_px}
    rows, columns = served.base.frame.cells_read(theirs.shape[-1], **size)
    apart = (ours - theirs)[..., :rows, :columns].abs().max()
    pairs = [
        (
            served.mask_of(candidate, embedding).mask,
            (enlarge_plainly(logits[None, None], frame=served.base.frame, **size) > 0).numpy(),
        )
        for four, drawn in zip(candidates, theirs, strict=True)
        for candidate, logits in zip(four, drawn, strict=True)
    ]
    return Differences(
        logits=float(apart / theirs[..., :rows, :columns].abs().max()),
        ious=float((ious - their_ious).abs().max()),
        object_scores=None
        if scores is None
        else max(abs(four[0].object_score - score) for four, score in zip(candidates, scores.tolist(), strict=True)),
        least_iou=min(iou(*pair) for pair in pairs),
        masks=sum(bool(mask.any() and not mask.all()) for _, mask in pairs),
    )


def compare_row(name: str, folder: Path) -> str:
    """The row of the table for one base."""
    weights, found = compare(build(name), folder)
    score = "none" if found.object_scores is None else f"{found.object_scores:.0e}"
    return (
        f"| `{name}` | {weights / 1e6:.0f} million | {found.logits:.0e} | {found.ious:.0e} | {score} | "
        f"{found.least_iou:.4f} of {found.masks} |"
    )


def main() -> None:
    """Compare the bases that are asked for, and write the block `equality`."""
    measured, rows = commit(), list_rows(compare_row)
    header = "| Base | Weights | Logits | Predicted IoUs | Object scores | Least IoU of masks |"
    text = "\n".join([header, "| --- | --- | --- | --- | --- | --- |", *rows]) + (
        "\n\nThe largest differences to transformers' forward pass in float32: of logits as a share of the largest "
        f"logit.\nRandom weights, on {machine()}; commit {measured}."
    )
    sys.stdout.write(text + "\n")
    if "--print" not in sys.argv:
        write_block(MODELS, "equality", text)


if __name__ == "__main__":
    main()
