"""Do clicks tell touching objects apart? Objects found on an export's held-out images with and without them.

    SAMLOOP_UNLABELLED=unknown samloop train --export export.json --images images/ --out checkpoint/ --head semantic
    python tests/benchmarks/touching.py export.json images/ checkpoint/

Regions and annotated objects are paired one to one for the largest sum of IoUs. Where not every object is annotated a
region counts as false only if a tenth of it lies on one that is, or it covers half of one.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from backend.sam.predictor import predictor_of
from backend.sam.semantic.objects import SemanticRules, semantic_maps, semantic_masks
from backend.sam.semantic.touching import draw_with
from backend.settings import Settings
from finetuner.context import TrainingContext
from finetuner.data.dataset import assemble
from finetuner.offline import read_samples
from finetuner.presets import config_of
from finetuner.progress import silent

THRESHOLDS = np.arange(0.5, 0.96, 0.05)


def paired(regions: Sequence[np.ndarray], objects: Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
    """IoUs of the pairs, and how many regions are on annotated objects."""
    if not regions:
        return np.zeros(0), 0
    found, drawn = (np.stack([mask.ravel() for mask in some]).astype(np.float32) for some in (regions, objects))
    both = found @ drawn.T
    area, truth = found.sum(1)[:, None], drawn.sum(1)[None]
    ious = both / (area + truth - both)
    counted = ((both > 0.1 * area) | (both > 0.5 * truth)).any(1)
    return ious[linear_sum_assignment(-ious)], int(counted.sum())


def told(ious: np.ndarray, regions: int, objects: int) -> str:
    """The figures, in words."""
    f1 = [2 * (ious >= least).sum() / (regions + objects) for least in THRESHOLDS]
    found, well = ((ious >= least).sum() / objects for least in (0.5, 0.75))
    mean = np.mean(f1)
    return (
        f"of {objects} objects found at IoU .5 {found:.3f}, at .75 {well:.3f}; "
        f"F1 at .5 {f1[0]:.3f}, at .75 {f1[5]:.3f}, mean of .5 to .95 {mean:.3f}"
    )


def main(export: Path, images: Path, checkpoint: Path) -> None:
    """Print a line without clicks and one with them."""
    settings = Settings.from_env()
    context = TrainingContext.open(settings, config=config_of(settings), progress=silent)
    samples = read_samples(export, images, settings=settings, context=context)
    held_out = assemble(samples, share=context.config.held_out_share, exclusions=context.exclusions).held_out
    predictor = predictor_of(context.base, checkpoint)
    assert predictor.semantic is not None, "the checkpoint has no semantic head that may be served"
    embedding = context.embeddings.suiting(predictor)
    for clicks in (False, True):
        ious: list[np.ndarray] = []
        counted = objects = 0
        core_s = 0.0
        for sample in held_out:
            seen = embedding(sample)
            maps = semantic_maps(predictor.semantic, seen, base=predictor.base)
            began = time.process_time()
            ask = draw_with(predictor, seen) if clicks else None
            regions = semantic_masks(
                maps, height_px=seen.height_px, width_px=seen.width_px, rules=SemanticRules(), ask=ask
            )
            core_s += time.process_time() - began
            found, some = paired([region.mask for _, region in regions], [item.mask for item in sample.objects])
            ious.append(found)
            counted, objects = counted + some, objects + len(sample.objects)
        told_so = told(np.concatenate(ious), counted, objects)
        way = "with clicks" if clicks else "connected patches"
        sys.stdout.write(f"{way}: {told_so}; {core_s / len(held_out):.2f} core-seconds an image\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
