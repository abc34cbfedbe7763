"""Prompts become masks: SAM's numbers, whoever else asks at the same time."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.domains import set_apart

from backend.errors import BadInput
from backend.masks.prompt import Box, Click, Prompt
from backend.sam.automatic import AutomaticRules, automatic_masks
from backend.sam.canvas import mask_of_logits
from backend.sam.embeddings.embedding import Embedding
from backend.sam.frame import SAM_FRAME, Frame
from backend.sam.loading import BaseModel, decoder_of
from backend.sam.mask_prompt import with_box
from backend.sam.policy import LARGE, SINGLE, SMALL, ClickPolicy
from backend.sam.predictor import PredictedMask, Predictor, base_predictor, encode
from backend.sam.scoring import Calibration, stability

pytestmark = pytest.mark.arithmetic

CLICK = Prompt(clicks=(Click(200.0, 150.0),))
CLICKS = Prompt(clicks=(Click(200.0, 150.0), Click(40.0, 60.0), Click(10.0, 10.0, is_foreground=False)))
BOX = Prompt(box=Box(50.0, 60.0, 300.0, 290.0))
BOTH = Prompt(clicks=(Click(100.0, 100.0), Click(60.0, 70.0, is_foreground=False)), box=Box(50.0, 60.0, 300.0, 290.0))
KINDS = (CLICK, CLICKS, BOX, BOTH)
DISC = np.hypot(*np.mgrid[-150:150, -200:200]) < 90
MASKED = (Prompt(mask=DISC), Prompt(clicks=(Click(210.0, 100.0),), mask=DISC), Prompt(box=BOX.box, mask=DISC))


def noise(seed: int, *, height: int = 300, width: int = 400) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height // 20, width // 20, 3), np.uint8)
    return Image.fromarray(values).resize((width, height))


EAGER = AutomaticRules(points=3, least_score=0.0, least_area=0.0, most_area=1.0, most=5)
ELSEWHERE = Image.new("RGB", (400, 300), (200, 40, 90))


@pytest.fixture(scope="module")
def predictor(tiny_base: BaseModel) -> Predictor:
    return Predictor(tiny_base, decoder_of(tiny_base, None), version="tiny")


@pytest.fixture(scope="module")
def embedding(tiny_base: BaseModel) -> Embedding:
    return encode(tiny_base, noise(0))


def transformers_answer(base: BaseModel, embedding: Embedding, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and score by SamModel.forward, coordinates scaled by hand (300x400 is 768x1024 on the canvas)."""
    scale = 1024 / 400
    points = [[[[click.x_px * scale, click.y_px * scale] for click in prompt.clicks]]]
    labels = [[[int(click.is_foreground) for click in prompt.clicks]]]
    box = prompt.box
    with torch.no_grad():
        out = base.model(
            image_embeddings=embedding.features,
            input_points=torch.tensor(points) if prompt.clicks else None,
            input_labels=torch.tensor(labels) if prompt.clicks else None,
            input_boxes=torch.tensor([[[box.x0_px, box.y0_px, box.x1_px, box.y1_px]]]) * scale if box else None,
            multimask_output=False,
        )
    return out.pred_masks[0, 0, 0], out.iou_scores[0, 0, 0]


@pytest.mark.parametrize("prompt", KINDS, ids=["a click", "clicks", "a box", "a box and clicks"])
def test_logits_and_masks_are_those_of_transformers_forward(
    predictor: Predictor, tiny_base: BaseModel, embedding: Embedding, prompt: Prompt
) -> None:
    ((got,),) = predictor.candidates(embedding, (prompt,), which=lambda _: (SINGLE,))

    logits, iou_score = transformers_answer(tiny_base, embedding, prompt)
    rows, columns = SAM_FRAME.grid_reached(300, 400)
    np.testing.assert_allclose(got.logits[:rows, :columns].numpy(), logits[:rows, :columns].numpy(), atol=1e-3)
    assert got.predicted_iou == pytest.approx(float(iou_score), abs=1e-3)
    expected = mask_of_logits(logits, frame=SAM_FRAME, height_px=300, width_px=400)
    assert np.mean(predictor.mask_of(got, embedding).mask == expected) > 0.9999


@settings(max_examples=12, deadline=None)
@given(longer=st.integers(40, 1100), share=st.floats(0.02, 1), is_upright=st.booleans())
def test_a_mask_is_that_of_the_whole_grid_to_its_last_row(
    predictor: Predictor, embedding: Embedding, longer: int, share: float, is_upright: bool
) -> None:
    shorter = max(1, round(longer * share))
    height, width = (longer, shorter) if is_upright else (shorter, longer)
    image = replace(embedding, height_px=height, width_px=width)
    prompt = Prompt(clicks=(Click(width / 2, height / 2),))

    ((got,),) = predictor.candidates(image, (prompt,), which=lambda _: (SINGLE,))

    with mock.patch.object(Frame, "cells_read", return_value=(64, 64)):
        ((whole,),) = predictor.candidates(image, (prompt,), which=lambda _: (SINGLE,))
    found, expected = (predictor.mask_of(some, image).mask for some in (got, whole))
    assert np.count_nonzero(found != expected) <= 1e-4 * expected.size
    assert got.stability == pytest.approx(whole.stability, abs=1e-4)


@pytest.mark.parametrize("prompt", KINDS[1:], ids=["clicks", "a box", "a box and clicks"])
def test_all_but_one_click_alone_get_sams_single_mask(
    predictor: Predictor, embedding: Embedding, prompt: Prompt
) -> None:
    ((single,),) = predictor.candidates(embedding, (prompt,), which=lambda _: (SINGLE,))

    (got,) = predictor.decode(embedding, (prompt,))

    np.testing.assert_array_equal(got.low_res_logits, single.logits.numpy())


@settings(max_examples=20, deadline=None)
@given(x=st.floats(0, 400), y=st.floats(0, 300))
def test_one_click_gets_the_single_mask_or_the_small_reading_as_the_policy_has_it(
    predictor: Predictor, embedding: Embedding, x: float, y: float
) -> None:
    prompt = Prompt(clicks=(Click(x, y),))
    ((single, small, large),) = predictor.candidates(embedding, (prompt,), which=lambda _: (SINGLE, SMALL, LARGE))
    rows, columns = SAM_FRAME.grid_reached(300, 400)

    for policy in ClickPolicy:
        (got,) = replace(predictor, click_policy=policy).decode(embedding, (prompt,))

        (takes_small,) = policy.takes_small([(single, small, large)], rows=rows, columns=columns)
        expected = small if takes_small else single
        np.testing.assert_array_equal(got.low_res_logits, expected.logits.numpy())
        assert got.score == expected.score


def test_a_background_click_alone_gets_the_single_mask(predictor: Predictor, embedding: Embedding) -> None:
    prompt = Prompt(clicks=(Click(200.0, 150.0, is_foreground=False),))
    ((single,),) = predictor.candidates(embedding, (prompt,), which=lambda _: (SINGLE,))

    (got,) = predictor.decode(embedding, (prompt,))

    np.testing.assert_array_equal(got.low_res_logits, single.logits.numpy())


def test_a_calibration_changes_the_score_and_not_the_mask(predictor: Predictor, embedding: Embedding) -> None:
    sober = replace(predictor, calibration=Calibration((0.0, 1.0), (0.25, 0.25)))

    for plain, calibrated in zip(predictor.decode(embedding, KINDS), sober.decode(embedding, KINDS), strict=True):
        np.testing.assert_array_equal(calibrated.low_res_logits, plain.low_res_logits)
        height, width = plain.mask.shape
        stable = stability(torch.from_numpy(plain.low_res_logits), frame=SAM_FRAME, height_px=height, width_px=width)
        assert calibrated.score == pytest.approx(0.25 * stable)


@settings(max_examples=5, deadline=None)
@given(order=st.permutations(range(14)))
def test_what_a_prompt_gets_does_not_depend_on_its_company(
    predictor: Predictor, embedding: Embedding, order: list[int]
) -> None:
    prompts = [(*KINDS, *MASKED)[index % 7] for index in order]

    together = predictor.decode(embedding, prompts)

    for prompt, got in zip(prompts, together, strict=True):
        (alone,) = predictor.decode(embedding, (prompt,))
        np.testing.assert_allclose(got.low_res_logits, alone.low_res_logits, atol=1e-3)
        assert got.score == pytest.approx(alone.score, abs=1e-3)


def test_the_score_is_the_clamped_iou_times_the_stability(
    predictor: Predictor, tiny_base: BaseModel, embedding: Embedding
) -> None:
    (got,) = predictor.decode(embedding, (CLICKS,))

    logits, predicted = transformers_answer(tiny_base, embedding, CLICKS)
    inside = logits[: 768 // 4]
    stability = float((inside > 1).sum() / (inside > -1).sum().clamp(min=1))
    assert got.score == pytest.approx(min(1.0, max(0.0, float(predicted))) * stability, abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(x=st.floats(0, 400), y=st.floats(0, 300), foreground=st.booleans())
def test_a_score_lies_between_0_and_1(
    predictor: Predictor, embedding: Embedding, x: float, y: float, foreground: bool
) -> None:
    (got,) = predictor.decode(embedding, (Prompt(clicks=(Click(x, y, is_foreground=foreground),)),))

    assert 0.0 <= got.score <= 1.0


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 900), (900, 3), (64, 48), (1500, 1100)])
def test_masks_have_the_size_of_the_image(predictor: Predictor, tiny_base: BaseModel, height: int, width: int) -> None:
    seen = encode(tiny_base, Image.new("RGB", (width, height), "teal"))

    (got,) = predictor.decode(seen, (Prompt(clicks=(Click(width / 2.0, height / 2.0),)),))

    assert got.mask.shape == (height, width)


def test_sixteen_threads_on_sixteen_images_never_see_each_others_masks(
    predictor: Predictor, tiny_base: BaseModel
) -> None:
    images = [noise(seed, height=200 + 8 * seed, width=320) for seed in range(16)]
    embeddings = [encode(tiny_base, image) for image in images]
    expected = [predictor.decode(embedding, KINDS) for embedding in embeddings]

    def client(index: int) -> float:
        worst = 0.0
        for _ in range(5):
            for got, alone in zip(predictor.decode(embeddings[index], KINDS), expected[index], strict=True):
                assert got.mask.shape == alone.mask.shape
                worst = max(worst, float(np.abs(got.low_res_logits - alone.low_res_logits).max()))
        return worst

    # Another image's logits differ by far more than threads can make the same sum differ.
    apart = np.abs(expected[0][0].low_res_logits - expected[1][0].low_res_logits).max()
    with ThreadPoolExecutor(16) as clients:
        assert max(clients.map(client, range(16))) < 1e-3
    assert apart > 0.1


def test_features_can_be_trained_with(tiny_base: BaseModel, embedding: Embedding) -> None:
    """Tensors made in inference mode may not enter autograd; cached features do."""
    weight = torch.ones((), requires_grad=True)

    (embedding.features * weight).sum().backward()

    assert not embedding.features.is_inference()
    assert weight.grad is not None


def test_embeddings_lie_as_the_decoder_takes_them_whatever_the_encoder_makes(embedding: Embedding) -> None:
    assert embedding.features.is_contiguous(memory_format=torch.channels_last)
    assert embedding.features.dtype == torch.float32


@pytest.mark.parametrize("prompts", [(Prompt(),), (CLICK, Prompt(clicks=()))], ids=["alone", "among others"])
def test_an_empty_prompt_is_refused(predictor: Predictor, embedding: Embedding, prompts: tuple[Prompt, ...]) -> None:
    with pytest.raises(BadInput, match="at least one click, a box or a mask"):
        predictor.decode(embedding, prompts)


@pytest.mark.parametrize("prompt", MASKED, ids=["alone", "with a click", "with a box"])
def test_a_mask_to_refine_reaches_the_decoder(predictor: Predictor, embedding: Embedding, prompt: Prompt) -> None:
    (got,) = predictor.decode(embedding, (prompt,))
    (other,) = predictor.decode(embedding, (replace(prompt, mask=np.roll(DISC, 15, axis=1), box=with_box(prompt).box),))

    assert np.abs(got.low_res_logits - other.low_res_logits).max() > 1e-3


def test_a_mask_of_another_size_than_the_image_is_refused(predictor: Predictor, embedding: Embedding) -> None:
    with pytest.raises(BadInput, match="a mask to refine has 400x299 px, but the image has 400x300"):
        predictor.decode(embedding, (Prompt(mask=DISC[1:]),))


def test_an_empty_mask_alone_is_an_empty_prompt(predictor: Predictor, embedding: Embedding) -> None:
    with pytest.raises(BadInput, match="at least one click, a box or a mask"):
        predictor.decode(embedding, (Prompt(mask=np.zeros_like(DISC)),))


def test_no_prompts_give_no_masks(predictor: Predictor, embedding: Embedding) -> None:
    assert predictor.decode(embedding, ()) == ()


@pytest.mark.weights
def test_a_click_on_an_astronauts_face_gives_her_face(mobile_base: BaseModel, astronaut: Image.Image) -> None:
    predictor = Predictor(mobile_base, decoder_of(mobile_base, None), version="mobile-sam")

    (got,) = predictor.decode(encode(mobile_base, astronaut), (Prompt(clicks=(Click(225.0, 120.0),)),))

    ys, xs = np.nonzero(got.mask)
    assert got.mask[120, 225]
    assert 150 < xs.min() < xs.max() < 320
    assert 30 < ys.min() < ys.max() < 260
    assert 0.5 < got.score <= 1.0


@pytest.fixture(scope="module")
def both(tiny_base: BaseModel, embedding: Embedding) -> Predictor:
    """What has learnt from the image of `embedding`; other things look like the image of `elsewhere`."""
    decoder = decoder_of(tiny_base, None)
    generator = torch.Generator().manual_seed(5)
    for weight in decoder.parameters():
        weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    trained = Predictor(tiny_base, decoder, version="v1", calibration=Calibration(x=(0.0,), y=(0.25,)))
    return set_apart(trained, inside=embedding, elsewhere=encode(tiny_base, ELSEWHERE))


def test_the_base_answers_images_outside_the_domain_to_the_last_bit(
    tiny_base: BaseModel, both: Predictor, embedding: Embedding
) -> None:
    """Its masks, its policy and its scores, one prompt or many."""
    elsewhere, prompts = encode(tiny_base, ELSEWHERE), [CLICK, BOX, CLICKS]
    for seen, expected in ((elsewhere, base_predictor(tiny_base)), (embedding, both.trained)):
        assert_same_masks(both.decode(seen, prompts), expected.decode(seen, prompts))
    assert [answer.score for answer in both.decode(embedding, prompts)] != [
        answer.score for answer in base_predictor(tiny_base).decode(embedding, prompts)
    ]


def test_outside_the_domain_of_an_adapter_the_base_answers_from_an_embedding_of_its_own(
    both: Predictor, embedding: Embedding, tiny_base: BaseModel
) -> None:
    """What the adapter's encoder sees only tells that the image is none of the project's."""
    plain, elsewhere = base_predictor(tiny_base), encode(tiny_base, ELSEWHERE)
    adapted = replace(both.trained, base=replace(tiny_base, encoder_fingerprint="adapted"))
    apart = set_apart(adapted, inside=embedding, elsewhere=elsewhere, plain=plain)
    by_base = encode(tiny_base, noise(1))
    seen = replace(elsewhere, by_base=lambda: by_base)
    assert_same_masks(apart.decode(seen, KINDS), plain.decode(by_base, KINDS))
    assert_same_masks(automatic_masks(apart, seen, rules=EAGER), automatic_masks(plain, by_base, rules=EAGER))
    assert_same_masks(apart.decode(embedding, KINDS), both.trained.decode(embedding, KINDS))
    assert apart.suit(embedding)[1] is embedding
    with pytest.raises(ValueError, match="lacks `by_base`"):
        apart.decode(elsewhere, KINDS)


def test_what_suits_an_image_answers_all_crops_of_it(
    tiny_base: BaseModel, both: Predictor, embedding: Embedding
) -> None:
    elsewhere = encode(tiny_base, ELSEWHERE)
    inside, outside = both.choose_for(embedding), both.choose_for(elsewhere)
    assert inside.choose_for(elsewhere) is inside
    assert outside.choose_for(embedding) is outside
    assert inside.decoder is both.decoder
    assert (inside.version, inside.calibration) == (both.version, both.calibration)
    assert outside.version == tiny_base.name


def assert_same_masks(found: tuple[PredictedMask, ...], expected: tuple[PredictedMask, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.low_res_logits, other.low_res_logits)
        assert (one.score, one.predicted_iou) == (other.score, other.predicted_iou)
