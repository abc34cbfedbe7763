"""Twenty images of discs as a dataset, what a training of them uses, and the training that changed nothing."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.loading import BaseModel
from backend.sam.predictor import base_predictor
from finetuner.config import TrainConfig
from finetuner.context import TrainingContext
from finetuner.data.dataset import Dataset, assemble
from finetuner.data.embeddings import Embeddings
from finetuner.data.exclusions import Exclusions
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.methods.decoder import DecoderMethod
from finetuner.recipe.trained import Trained
from finetuner.training.curves import Curves

Discs = Callable[..., tuple[Image.Image, list[np.ndarray]]]
IMAGES = 20


@pytest.fixture
def told() -> list[dict[str, object]]:
    """What the progress receives."""
    return []


@pytest.fixture
def context(tiny_base: BaseModel, tmp_path: Path, told: list[dict[str, object]]) -> TrainingContext:
    """What a training with the tiny base uses."""
    return TrainingContext(
        base=tiny_base,
        embeddings=Embeddings(tiny_base, disk=DiskEmbeddings(tmp_path, max_bytes=1 << 30), max_pixels=10**6),
        config=TrainConfig(bootstrap_rounds=20, specks_px=5),
        exclusions=Exclusions(),
        progress=lambda phase, **figures: told.append({"phase": phase, **figures}),
    )


@pytest.fixture
def samples(context: TrainingContext, discs: Discs, png: Callable[[Image.Image], bytes]) -> list[Sample]:
    """Images of two discs, their embeddings on disk."""
    samples = []
    for seed in range(IMAGES):
        image, masks = discs(seed)
        data = png(image)
        digest = hashlib.sha256(data).hexdigest()
        context.embeddings.ensure(digest, data, again=lambda data=data: data)
        objects = tuple(LabelledMask.of(mask, label="Disc") for mask in masks)
        samples.append(Sample(image_sha256=digest, height_px=image.height, width_px=image.width, objects=objects))
    return samples


@pytest.fixture
def dataset(samples: list[Sample], context: TrainingContext) -> Dataset:
    """All of them, a fifth held out."""
    return assemble(samples, share=0.2, exclusions=context.exclusions)


@pytest.fixture
def untrained() -> Callable[[TrainingContext, Dataset], Trained]:
    """`untrained(context, dataset)`: a training that changed nothing, so that the candidate is the base."""

    def train(context: TrainingContext, dataset: Dataset) -> Trained:
        """A training that changed nothing: the candidate is the base."""
        method = DecoderMethod(context.base)
        predictor = base_predictor(context.base)
        return Trained(
            method=method,
            measured=context.measure(predictor, dataset.held_out, who="candidate"),
            ended_at=(),
            curves=Curves(),
            seconds=0.0,
            here_s=0.0,
            predictor=predictor,
        )

    return train
