"""The point of it all, on real images and real weights: a short training makes masks tighter."""

from pathlib import Path

import pytest

from backend.images.folder import find_image
from backend.labelstudio.export_file import read_export
from backend.sam.closer.tiles import FINE
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.loading import load_base
from backend.sam.predictor import base_predictor
from backend.settings import Settings
from finetuner.config import TrainConfig
from finetuner.context import TrainingContext
from finetuner.data.annotations import Exclusions, read_task
from finetuner.data.embeddings import Embeddings
from finetuner.measuring.comparison import differences
from finetuner.measuring.evaluation import measure
from finetuner.measuring.magnification import choose_magnification
from finetuner.methods.decoder import DecoderMethod
from finetuner.progress import silent
from finetuner.training.loop import Trainer

# Of the 40 images: enough of either kind to show the gain within half a minute, on two idle cores.
LEARNT, HELD_OUT = slice(0, 10), slice(16, 22)


@pytest.mark.long
@pytest.mark.weights
@pytest.mark.nuclei
def test_a_short_training_on_nuclei_makes_other_images_masks_tighter(nuclei_dir: Path) -> None:
    settings = Settings()  # the machine's own cache: weights are converted and images encoded once
    config = TrainConfig(decodes=200)
    base = load_base("mobile-sam", cache_dir=settings.cache.dir, device="cpu")
    embeddings = Embeddings(base, disk=DiskEmbeddings.of(settings), max_pixels=10_000_000)
    context = TrainingContext(base=base, embeddings=embeddings, config=config, exclusions=Exclusions(), progress=silent)
    tasks = [
        read_task(task, image_key="image", exclusions=context.exclusions)
        for task in read_export(nuclei_dir / "export.json")
    ]
    learnt, held_out = (
        context.samples(
            [task for task in tasks[part] if task is not None],
            read=lambda task: find_image(nuclei_dir / "images", task.image_uri).read_bytes(),
            max_pixels=10**6,
        )
        for part in (LEARNT, HELD_OUT)
    )
    assert choose_magnification(base_predictor(base), learnt, embedding=embeddings) == FINE
    method = DecoderMethod(base)
    list(Trainer(method, learnt, config=config, embedding=embeddings).steps())
    before, after = (
        measure(predictor, held_out, embedding=embeddings, clicks=0)
        for predictor in (base_predictor(base), method.predictor(version="trained"))
    )
    found = differences(before, after)
    assert found["point"]["iou"].mean > 0.02
    assert found["point"]["boundary_iou"].mean > 0.02
    assert found["box"]["iou"].mean > -0.01
    assert found["box"]["boundary_iou"].mean > -0.01
