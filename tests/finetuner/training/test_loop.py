"""The loop learns, stops where it should, gives the same for the same seed, and survives numbers that are none."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backend.errors import Diverged, NothingToLearn
from backend.masks.prompt import Box, Click, Prompt
from backend.sam.loading import BaseModel, load_base
from backend.sam.predictor import Embedding, encode
from finetuner.config import TrainConfig
from finetuner.data.objects import LabelledMask
from finetuner.data.prompting import absent_prompts
from finetuner.data.sample import Sample
from finetuner.data.views import View
from finetuner.methods.base import Asked
from finetuner.methods.decoder import DecoderMethod
from finetuner.training.loop import Step, Trainer, schedule
from tests.support.small_bases import SURE, set_object_scores, write_small_base

QUICK = TrainConfig(epochs=3, decodes=None, precision="float32")


@pytest.fixture(scope="module")
def embedding(tiny_base: BaseModel, discs: Callable[..., tuple[Image.Image, list[object]]]) -> Embedding:
    return encode(tiny_base, discs(0)[0])


def _train(base: BaseModel, sample: Sample, embedding: Embedding, config: TrainConfig) -> tuple[bytes, list[Step]]:
    method = DecoderMethod(base, precision=config.precision)
    steps = list(Trainer(method, [sample], config=config, embedding=lambda _: embedding).steps())
    return method.weights(), steps


def test_it_learns_one_image(tiny_base: BaseModel, sample: Sample, embedding: Embedding) -> None:
    config = replace(QUICK, epochs=40, learning_rate=1e-2, corrective_share=0.0)
    weights, steps = _train(tiny_base, sample, embedding, config)
    first, last = steps[:5], steps[-5:]
    # 96,000 random weights: far from a good mask, but far from chance.
    assert sum(step.mask for step in last) < 0.8 * sum(step.mask for step in first)
    assert len(weights) > 1000


def test_the_object_scores_of_what_was_annotated_rise(
    sample: Sample, discs: Callable[..., tuple[Image.Image, list[object]]], tmp_path: Path
) -> None:
    base = load_base(str(write_small_base("sam2", tmp_path / "base")), cache_dir=tmp_path, device="cpu")
    method = DecoderMethod(base, precision="float32")
    prompts = [Prompt(box=item.box) for item in sample.objects]
    embedding = encode(base, discs(0)[0])
    for name, weight in method.trainable().items():
        if name == "pred_obj_score_head.proj_out.bias":
            weight.data.sub_(method.decode_several([Asked(embedding, prompts)]).object_scores.max() + 1)

    def count_absent() -> int:
        return sum(answer.is_absent for answer in method.predictor(version="x").decode(embedding, prompts))

    assert count_absent() == len(prompts)
    config = replace(QUICK, epochs=20, learning_rate=1e-2)
    steps = list(Trainer(method, [sample], config=config, embedding=lambda _: embedding).steps())
    assert steps[0].loss > steps[0].mask + steps[0].iou + 1
    assert count_absent() == 0


@pytest.fixture(scope="module")
def scoring_base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A small random SAM 2.1, which scores whether an object is there; it is sure of nothing yet."""
    folder = tmp_path_factory.mktemp("sam2")
    base = load_base(str(write_small_base("sam2", folder / "base")), cache_dir=folder, device="cpu", dtype="float32")
    set_object_scores(base.model, shift=-SURE)
    return base


def test_clicks_on_the_background_get_negative_object_scores_and_clicks_on_objects_positive_ones(
    scoring_base: BaseModel,
) -> None:
    mask = np.zeros((64, 64), bool)
    mask[8:40, 8:40] = True
    objects = (LabelledMask.of(mask, label=None),)
    sample = Sample(image_sha256="0" * 64, height_px=64, width_px=64, objects=objects, is_complete=True)
    embedding = encode(scoring_base, Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).convert("RGB"))
    method = DecoderMethod(scoring_base, precision="float32")
    config = replace(
        QUICK, epochs=60, views=1, learning_rate=3e-3, box_share=0.0, corrective_share=0.0, absent_share=1.0
    )
    list(Trainer(method, [sample], config=config, embedding=lambda _: embedding).steps())

    on = [Prompt(clicks=(Click(x, y),)) for x in (16.0, 24.0, 32.0) for y in (16.0, 24.0, 32.0)]
    off = absent_prompts(sample, view=View(), count=20, rng=np.random.default_rng(1))
    scores = method.decode_several([Asked(embedding, [*on, *off])]).object_scores
    assert scores is not None
    assert (scores[: len(on)] > 0).float().mean() >= 0.8
    assert (scores[len(on) :] < 0).float().mean() >= 0.8
    (answer,) = method.predictor(version="x").decode(embedding, [Prompt(clicks=(Click(24.0, 24.0),))])
    assert (answer.mask & mask).sum() > 0.9 * (answer.mask | mask).sum()


@pytest.mark.parametrize(
    ("is_complete", "changes", "absent"),
    [
        (True, {}, 2),
        (True, {"unlabelled": "unknown"}, 0),
        (True, {"absent_share": 0.0}, 0),
        (True, {"mask_share": 1.0}, 0),
        (False, {}, 0),
    ],
)
def test_absence_is_taught_only_where_images_are_annotated_in_full(
    scoring_base: BaseModel,
    sample: Sample,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_complete: bool,
    changes: Any,
    absent: int,
) -> None:
    config = replace(QUICK, epochs=1, corrective_share=0.0, **{"absent_share": 1.0, **changes})
    seen = _watch_prompts(monkeypatch)
    embedding = encode(scoring_base, Image.new("RGB", (sample.width_px, sample.height_px)))
    (step,) = _train(scoring_base, replace(sample, is_complete=is_complete), embedding, config)[1]
    assert seen == [len(sample.objects) + absent]
    assert step.decodes == len(sample.objects)


def test_a_family_without_object_scores_is_not_taught_absence(
    tiny_base: BaseModel, sample: Sample, embedding: Embedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _watch_prompts(monkeypatch)
    config = replace(QUICK, epochs=1, corrective_share=0.0)
    _train(tiny_base, replace(sample, is_complete=True), embedding, replace(config, absent_share=1.0))
    assert seen == [len(sample.objects)]


def _watch_prompts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of prompts that are decoded from now on, decode by decode."""
    decode, seen = DecoderMethod.decode_several, []

    def watch(self: DecoderMethod, images: list[Asked]) -> object:
        seen.append(sum(len(image.prompts) for image in images))
        return decode(self, images)

    monkeypatch.setattr(DecoderMethod, "decode_several", watch)
    return seen


def test_the_same_seed_gives_the_same_weights(tiny_base: BaseModel, sample: Sample, embedding: Embedding) -> None:
    first, steps = _train(tiny_base, sample, embedding, QUICK)
    again, same_steps = _train(tiny_base, sample, embedding, QUICK)
    other, _ = _train(tiny_base, sample, embedding, replace(QUICK, seed=1))
    assert first == again != other
    assert [step.loss for step in steps] == [step.loss for step in same_steps]
    assert [step.is_last_of_epoch for step in steps] == [True] * 3


def test_what_is_served_is_the_average_of_the_weights(
    tiny_base: BaseModel, sample: Sample, embedding: Embedding
) -> None:
    method = DecoderMethod(tiny_base, precision="float32")
    steps = Trainer(method, [sample], config=QUICK, embedding=lambda _: embedding).steps()
    for _ in range(3):
        next(steps)
    last = {name: weight.detach().clone() for name, weight in method.trainable().items()}
    assert list(steps) == []
    start = dict(tiny_base.model.mask_decoder.named_parameters())
    name = "output_hypernetworks_mlps.0.proj_out.weight"
    served = method.trainable()[name]
    moved, averaged = (last[name] - start[name]).abs().sum(), (served - start[name]).abs().sum()
    assert 0 < averaged < moved


def test_an_image_with_ground_truth_is_visited_more_often(
    tiny_base: BaseModel, sample: Sample, embedding: Embedding
) -> None:
    visited: list[str] = []

    def look(at: Sample) -> Embedding:
        visited.append(at.image_sha256)
        return embedding

    samples = [sample, replace(sample, image_sha256="1" * 64, is_ground_truth=True)]
    config = replace(QUICK, epochs=2, ground_truth_weight=3, corrective_share=0.0)
    method = DecoderMethod(tiny_base, precision="float32")
    steps = list(Trainer(method, samples, config=config, embedding=look).steps())
    assert [step.is_last_of_epoch for step in steps] == [False, False, False, True] * 2
    assert (visited.count("0" * 64), visited.count("1" * 64)) == (2, 6)


@pytest.fixture
def several(
    tiny_base: BaseModel, discs: Callable[..., tuple[Image.Image, list[np.ndarray]]]
) -> dict[str, tuple[Sample, Embedding]]:
    """Three images of different shapes, by digest, with what the encoder sees in them."""
    found = {}
    for seed, size in enumerate(((48, 64), (64, 40), (50, 50))):
        image, masks = discs(seed, height_px=size[0], width_px=size[1])
        objects = tuple(LabelledMask.of(mask, label="Disc") for mask in masks)
        one = Sample(image_sha256=str(seed) * 64, height_px=size[0], width_px=size[1], objects=objects)
        found[one.image_sha256] = one, encode(tiny_base, image)
    return found


def _gradients(
    base: BaseModel, several: dict[str, tuple[Sample, Embedding]], **config: int
) -> tuple[dict[str, torch.Tensor], Step]:
    """Those of the first step over all of them, before they are clipped."""
    recipe = replace(QUICK, images_per_step=3, corrective_share=0.7, mask_share=0.5, clip_norm=1e9, **config)
    method = DecoderMethod(base, precision="float32")
    samples = [sample for sample, _ in several.values()]
    trainer = Trainer(method, samples, config=recipe, embedding=lambda one: several[one.image_sha256][1])
    step = next(trainer.steps())
    return {name: weight.grad for name, weight in method.trainable().items() if weight.grad is not None}, step


def test_a_step_in_parts_has_the_gradients_of_the_whole(
    tiny_base: BaseModel, several: dict[str, tuple[Sample, Embedding]]
) -> None:
    """Images of three shapes, some with a mask to refine, some with a corrective round: together, or one by one."""
    (whole, step), (parts, in_parts) = (_gradients(tiny_base, several, accumulate=parts) for parts in (1, 3))
    assert step.is_last_of_epoch
    assert step.decodes == in_parts.decodes > 6  # two objects an image, and some twice
    assert in_parts.loss == pytest.approx(step.loss, rel=1e-5)
    assert whole.keys() == parts.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-3, atol=1e-3 * float(gradient.abs().max()) + 1e-7)
    assert sum(float(gradient.norm()) for gradient in whole.values()) > 0.1


def test_a_step_over_several_images_is_the_mean_of_theirs(
    tiny_base: BaseModel, several: dict[str, tuple[Sample, Embedding]]
) -> None:
    """Epochs have fewer steps, and the last of them takes what is left."""
    config = replace(QUICK, images_per_step=2, epochs=2)
    method = DecoderMethod(tiny_base, precision="float32")
    samples = [sample for sample, _ in several.values()]
    looked: list[str] = []

    def look(one: Sample) -> Embedding:
        looked.append(one.image_sha256)
        return several[one.image_sha256][1]

    steps = list(Trainer(method, samples, config=config, embedding=look).steps())
    assert [step.is_last_of_epoch for step in steps] == [False, True] * 2
    assert sorted(looked[:3]) == sorted(looked[3:]) == sorted(several)


def test_masks_to_refine_are_first_prompts_too(
    tiny_base: BaseModel, sample: Sample, embedding: Embedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share of the steps begins with one; without a share nothing is drawn, and the weights are what they were."""
    decode, shown = DecoderMethod.decode_several, []

    def spy(self: DecoderMethod, images: list[Asked]) -> object:
        shown.extend(one.previous is not None and all(prompt.box for prompt in one.prompts) for one in images)
        return decode(self, images)

    monkeypatch.setattr(DecoderMethod, "decode_several", spy)
    config = replace(QUICK, epochs=24, corrective_share=0.0)
    _train(tiny_base, sample, embedding, replace(config, mask_share=0.5))
    assert 4 < sum(shown) < 20
    shown.clear()
    _train(tiny_base, sample, embedding, replace(config, epochs=3))
    assert shown == [False] * 3


def test_it_ends_at_the_bound_on_work(tiny_base: BaseModel, sample: Sample, embedding: Embedding) -> None:
    _, steps = _train(tiny_base, sample, embedding, replace(QUICK, epochs=100, decodes=10))
    assert 10 <= steps[-1].decodes <= 13
    assert steps[-1].epochs == 4


def test_it_ends_when_its_time_is_over(tiny_base: BaseModel, sample: Sample, embedding: Embedding) -> None:
    now = iter(range(1000))
    trainer = Trainer(
        DecoderMethod(tiny_base, precision="float32"),
        [sample],
        config=replace(QUICK, epochs=500, seconds=12.0),
        embedding=lambda _: embedding,
        clock=lambda: float(next(now)),
    )
    assert len(list(trainer.steps())) == 6  # two looks at the clock a step


def test_steps_whose_loss_is_no_number_are_skipped_and_enough_of_them_end_it(
    tiny_base: BaseModel, sample: Sample, embedding: Embedding
) -> None:
    method = DecoderMethod(tiny_base, precision="float32")
    broken = replace(embedding, features=embedding.features * float("nan"))
    before = method.weights()
    given = iter([broken] * 3 + [embedding] * 2 + [broken] * 50)
    steps = Trainer(method, [sample], config=replace(QUICK, epochs=50), embedding=lambda _: next(given)).steps()
    for _ in range(3):
        next(steps)
    assert method.weights() == before
    next(steps)
    assert method.weights() != before
    with pytest.raises(Diverged, match="not a number in 6 steps in a row"):
        list(steps)
    assert all(torch.isfinite(weight).all() for weight in method.trainable().values())


def test_without_samples_there_is_nothing_to_learn(tiny_base: BaseModel, embedding: Embedding) -> None:
    with pytest.raises(NothingToLearn, match="annotate at least two images"):
        Trainer(DecoderMethod(tiny_base), [], config=QUICK, embedding=lambda _: embedding)


def test_the_learning_rate_warms_up_and_comes_down() -> None:
    config = TrainConfig()
    rates = [schedule(done / 100, config=config) for done in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(config.final_lr_share)
    assert all(later <= earlier for earlier, later in pairwise(rates[10:]))


def test_training_leaves_the_base_as_it_was(tiny_base: BaseModel, sample: Sample, embedding: Embedding) -> None:
    method = DecoderMethod(tiny_base, precision="float32")
    prompt = [Prompt(box=Box(5.0, 5.0, 30.0, 30.0))]
    with torch.no_grad():
        before, _ = DecoderMethod(tiny_base, precision="float32").decode(embedding, prompt)
    list(Trainer(method, [sample], config=QUICK, embedding=lambda _: embedding).steps())
    with torch.no_grad():
        after, _ = DecoderMethod(tiny_base, precision="float32").decode(embedding, prompt)
        trained, _ = method.decode(embedding, prompt)
    assert torch.equal(before, after)
    assert not torch.equal(before, trained)
