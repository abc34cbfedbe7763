"""A head learns, with the losses that are promised, the same twice."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from backend.sam.frame import SAM_FRAME
from backend.sam.loading import BaseModel, decoder_bytes
from backend.sam.predictor import Embedding, encode
from backend.sam.semantic.head import with_semantic
from finetuner.config import TrainConfig
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.semantic.learning import SemanticTrainer, semantic_loss
from finetuner.semantic.measuring import measure_semantic
from finetuner.semantic.targets import Target, labels_of, target_of

Discs = Callable[..., tuple[Image.Image, list[np.ndarray]]]
ALL = torch.ones(2, 2, dtype=torch.bool)


@pytest.fixture(scope="module")
def pictures(tiny_base: BaseModel, discs: Discs) -> tuple[list[Sample], Callable[[Sample], Embedding]]:
    """Three images; the left disc is a Disc, the right one a Ring."""
    samples, embeddings = [], {}
    for seed in range(3):
        image, masks = discs(seed)
        objects = tuple(LabelledMask.of(mask, label=name) for mask, name in zip(masks, ("Disc", "Ring"), strict=True))
        samples.append(Sample(image_sha256=str(seed), height_px=image.height, width_px=image.width, objects=objects))
        embeddings[str(seed)] = encode(tiny_base, image)
    return samples, lambda sample: embeddings[sample.image_sha256]


def test_of_one_label_the_loss_is_binary_cross_entropy_with_logits_and_dice() -> None:
    logits, truth = torch.tensor([[[2.0, -1.0], [0.5, -3.0]]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    found = semantic_loss(logits, torch.stack([1 - truth, truth]), known=ALL, weights=torch.ones(2))
    probability = torch.sigmoid(logits[0])
    dice = 1 - (2 * (probability * truth).sum() + 1) / (probability.square().sum() + truth.sum() + 1)
    assert found.item() == pytest.approx((functional.binary_cross_entropy_with_logits(logits[0], truth) + dice).item())


def test_of_several_labels_it_is_cross_entropy_over_them_and_the_ground_and_dice_of_those_there() -> None:
    logits = torch.randn(4, 2, 2, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([[0, 1], [2, 2]])  # nothing of the third label
    shares = functional.one_hot(classes, 4).permute(2, 0, 1).float()
    entropy = torch.nn.CrossEntropyLoss()(logits[None], classes[None])
    probability = logits.softmax(0)
    dice = [
        1 - (2 * (probability[k] * shares[k]).sum() + 1) / (probability[k].square().sum() + shares[k].sum() + 1)
        for k in (1, 2)
    ]
    found = semantic_loss(logits, shares, known=ALL, weights=torch.ones(4))
    assert found.item() == pytest.approx((entropy + sum(dice) / 2).item(), rel=1e-5)


def test_what_is_not_known_does_not_count() -> None:
    logits = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0))
    shares = torch.zeros(3, 2, 2)
    shares[0] = 1
    known = torch.tensor([[True, False], [True, True]])
    before = semantic_loss(logits, shares, known=known, weights=torch.ones(3))
    logits[:, 0, 1] += 100 * torch.tensor([-1.0, 1.0, 0.0])
    assert semantic_loss(logits, shares, known=known, weights=torch.ones(3)) == before
    assert semantic_loss(logits, shares, known=~ALL, weights=torch.ones(3)) == 0


def learnt(  # noqa: ANN201
    base: BaseModel,
    samples: list[Sample],
    embedding: Callable[[Sample], Embedding],
    *,
    targets_bytes: int = 1 << 30,
    **more: object,
):
    config = TrainConfig(head="semantic", epochs=1000, semantic_rate=1e-2, **more)  # type: ignore[arg-type]
    trainer = SemanticTrainer(base, samples, config=config, embedding=embedding, targets_bytes=targets_bytes)
    losses = [step.loss for step in trainer.steps()]
    return trainer.head, losses


def test_a_head_learns_and_leaves_the_promptable_decoder_as_it_was(
    tiny_base: BaseModel, pictures: tuple[list[Sample], Callable[[Sample], Embedding]]
) -> None:
    samples, embedding = pictures
    before = decoder_bytes(tiny_base.model.mask_decoder)
    head, losses = learnt(tiny_base, samples, embedding, semantic_steps=30)
    assert np.mean(losses[-9:]) < 0.9 * np.mean(losses[:3])
    assert decoder_bytes(tiny_base.model.mask_decoder) == before
    found = measure_semantic(head, samples, base=tiny_base, embedding=embedding)
    assert {region.truth_px for region in found} == {item.area_px for region in samples for item in region.objects}


def test_the_same_seed_gives_the_same_head_and_another_another(
    tiny_base: BaseModel, pictures: tuple[list[Sample], Callable[[Sample], Embedding]]
) -> None:
    empty = decoder_bytes(tiny_base.model.mask_decoder)
    first, again, other = (
        with_semantic(empty, learnt(tiny_base, *pictures, semantic_steps=4, seed=seed)[0]) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_targets_beyond_the_memory_they_may_take_are_made_again_to_the_same_head(
    tiny_base: BaseModel,
    pictures: tuple[list[Sample], Callable[[Sample], Embedding]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples, embedding = pictures
    empty = decoder_bytes(tiny_base.model.mask_decoder)
    kept, _ = learnt(tiny_base, samples, embedding, semantic_steps=4)
    first = target_of(samples[0], labels=kept.labels, frame=SAM_FRAME)
    memory = first.shares.nbytes + first.known.nbytes
    made: list[str] = []

    def counted(sample: Sample, **how: object) -> Target:
        made.append(sample.image_sha256)
        return target_of(sample, **how)  # type: ignore[arg-type]

    monkeypatch.setattr("finetuner.semantic.learning.target_of", counted)
    again, _ = learnt(tiny_base, samples, embedding, semantic_steps=4, targets_bytes=memory)
    assert with_semantic(empty, again) == with_semantic(empty, kept)
    assert made.count("0") == 1
    assert min(made.count("1"), made.count("2")) >= 3


def test_time_and_epochs_bound_the_steps(
    tiny_base: BaseModel, pictures: tuple[list[Sample], Callable[[Sample], Embedding]]
) -> None:
    samples, embedding = pictures
    ticks = iter(range(1000))
    config = TrainConfig(head="semantic", seconds=100.0, semantic_share=0.1, semantic_steps=500)
    trainer = SemanticTrainer(tiny_base, samples, config=config, embedding=embedding, clock=lambda: float(next(ticks)))
    assert 4 <= len(list(trainer.steps())) <= 5  # two looks at the clock a step
    brief = TrainConfig(head="semantic", epochs=2, semantic_steps=500)
    assert len(list(SemanticTrainer(tiny_base, samples, config=brief, embedding=embedding).steps())) == 6


def test_a_hundred_labels_learn_too(tiny_base: BaseModel) -> None:
    def square(number: int) -> LabelledMask:
        mask = np.zeros((64, 64), bool)
        mask[6 * (number // 10) : 6 * (number // 10) + 5, 6 * (number % 10) : 6 * (number % 10) + 5] = True
        return LabelledMask.of(mask, label=f"label {number:02}")

    crowded = Sample(image_sha256="0", height_px=64, width_px=64, objects=tuple(map(square, range(100))))
    assert len(labels_of([crowded])) == 100
    embedding = encode(tiny_base, Image.new("RGB", (64, 64)))
    _, losses = learnt(tiny_base, [crowded], lambda _: embedding, semantic_steps=3)
    assert losses[-1] < losses[0]
    assert np.isfinite(losses).all()
