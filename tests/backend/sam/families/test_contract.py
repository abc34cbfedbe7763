"""What every family of models keeps, whoever adds it."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from support.pictures import draw_greys
from torch import nn

from backend.errors import BadInput
from backend.masks.prompt import Box, Click, Prompt
from backend.sam.adapters.kind import Adapter
from backend.sam.adapters.served import LORA, list_shapes
from backend.sam.automatic import AutomaticRules, automatic_masks
from backend.sam.closer.refine import crop_worth_taking
from backend.sam.embeddings.embedding import Embedding
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.embeddings.memory import EmbeddingKey, halve
from backend.sam.export.folder import Origin, export
from backend.sam.families import family_of, list_families
from backend.sam.family import NO_OBJECT, Family
from backend.sam.layers.arithmetic import has_fast_bfloat16
from backend.sam.loading import BaseModel, decoder_of, load_base, with_adapter
from backend.sam.predictor import Predictor, encode
from backend.sam.prompts import prompt_tensors
from tests.support.small_bases import set_object_scores

CLICK = Prompt(clicks=(Click(40.0, 30.0),))
BOX = Prompt(box=Box(10.0, 8.0, 70.0, 50.0))


def picture(width: int = 96, height: int = 60) -> Image.Image:
    return draw_greys(width, height)


@pytest.fixture(scope="module")
def embedding(base: BaseModel) -> Embedding:
    return encode(base, picture())


@pytest.fixture(scope="module")
def predictor(base: BaseModel) -> Predictor:
    return Predictor(base, decoder_of(base, None), version="x")


def test_a_folder_is_recognised_as_its_own_familys(base: BaseModel, base_folder: Path) -> None:
    assert isinstance(base.family, Family)
    assert family_of(base_folder) is base.family
    names = [family.name for family in list_families()]
    assert base.family.name in names
    assert len(names) == len(set(names))


def test_what_a_family_writes_it_loads_again_as_the_same_weights(base: BaseModel, tmp_path: Path) -> None:
    base.family.load(_saved(base, tmp_path / "again"))
    again = load_base(str(tmp_path / "again"), cache_dir=tmp_path, device="cpu", dtype="float32")
    assert (again.fingerprint, again.encoder_fingerprint) == (base.fingerprint, base.encoder_fingerprint)


def test_the_frame_divides_its_canvas_into_whole_cells(base: BaseModel) -> None:
    frame = base.frame
    assert frame.canvas_px == frame.grid * frame.cell_px
    assert max(frame.size_on_canvas(30, 40)) == frame.canvas_px
    assert all(0 <= colour <= 255 for colour in frame.mean_colour)


def test_maps_are_float32_channels_last_and_the_coarsest_comes_first(base: BaseModel, embedding: Embedding) -> None:
    assert embedding.features.shape == base.image_positions.shape
    rows = [values.shape[2] for values in embedding.maps]
    assert rows == sorted(set(rows))
    for values in embedding.maps:
        assert values.dtype == torch.float32
        assert values.is_contiguous(memory_format=torch.channels_last)
        assert not values.requires_grad


def test_maps_come_back_from_the_disk_as_they_were_halved(embedding: Embedding, tmp_path: Path) -> None:
    disk, key = DiskEmbeddings(tmp_path / "tier", max_bytes=1 << 30), EmbeddingKey("image", "encoder", "frame")
    disk.put(key, embedding)
    kept = disk.get(key)
    assert kept is not None
    for found, expected in zip(kept.maps, halve(embedding).maps, strict=True):
        assert torch.equal(found, expected)
    assert kept.nbytes * 2 == embedding.nbytes


def test_four_masks_lie_on_the_frames_grid(base: BaseModel, predictor: Predictor, embedding: Embedding) -> None:
    logits, ious = predictor.four_masks(embedding, prompt_tensors([CLICK, CLICK], embedding, frame=base.frame))
    assert logits.shape == (2, 4, base.frame.grid, base.frame.grid)
    assert ious.shape == (2, 4)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("size", [(96, 60), (60, 96), (111, 200), (1, 3)])
def test_masks_have_the_size_of_their_image(base: BaseModel, predictor: Predictor, size: tuple[int, int]) -> None:
    width, height = size
    middle = Prompt(clicks=(Click(width / 2, height / 2),))
    (found,) = predictor.decode(encode(base, picture(width, height)), [middle])
    assert found.mask.shape == (height, width)
    assert 0 <= found.score <= 1


def test_a_prompts_mask_does_not_depend_on_its_company(predictor: Predictor, embedding: Embedding) -> None:
    (alone,) = predictor.decode(embedding, [BOX])
    _, beside = predictor.decode(embedding, [CLICK, BOX])
    torch.testing.assert_close(
        torch.from_numpy(alone.low_res_logits), torch.from_numpy(beside.low_res_logits), rtol=1e-4, atol=1e-4
    )


def test_an_absent_object_has_no_mask_and_nothing_stands_out(base: BaseModel, embedding: Embedding) -> None:
    decoder = decoder_of(base, None)
    set_object_scores(decoder, shift=-1000.0)
    blind = Predictor(base, decoder, version="x")
    drawn = blind.decode(embedding, [CLICK, BOX])
    if not base.family.scores_objects:
        assert [answer.object_score for answer in drawn] == [None, None]
        assert not any(answer.is_absent for answer in drawn)
        return
    for answer in drawn:
        assert answer.is_absent
        assert not answer.mask.any()
        assert answer.score == 0
        assert (answer.low_res_logits == NO_OBJECT).all()
    assert automatic_masks(blind, embedding, rules=AutomaticRules(points=2, least_score=0.0)) == ()
    seeing = Predictor(base, decoder_of(base, None), version="x").decode(embedding, [CLICK, BOX])
    assert not any(answer.is_absent for answer in seeing)
    assert any(answer.mask.any() for answer in seeing)


def test_a_mask_is_refined_by_the_familys_own_grid(predictor: Predictor, embedding: Embedding) -> None:
    (first,) = predictor.decode(embedding, [BOX])
    first.mask[20:30, 20:40] = True
    (second,) = predictor.decode(embedding, [Prompt(box=BOX.box, mask=first.mask)])
    assert second.mask.shape == first.mask.shape
    assert crop_worth_taking(first.mask, frame=predictor.base.frame) is None


def test_half_the_precision_sees_nearly_the_same(base: BaseModel, base_folder: Path, tmp_path: Path) -> None:
    weights = sum(weight.numel() for weight in base.model.parameters())
    if weights > 1 << 20 and not has_fast_bfloat16(torch.device("cpu")):
        pytest.skip(f"this processor would emulate bfloat16, a minute long for {weights} weights; samloop never does")
    half = load_base(str(base_folder), cache_dir=tmp_path, device="cpu", dtype="bfloat16")
    image = picture()
    exact, rough = encode(base, image), encode(half, image)
    for ours, theirs in zip(exact.maps, rough.maps, strict=True):
        assert nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.98


def test_a_gradient_reaches_the_decoder_and_every_map(base: BaseModel, embedding: Embedding) -> None:
    decoder = decoder_of(base, None).requires_grad_(requires_grad=True)
    predictor = Predictor(base, decoder, version="x")
    learnt = embedding.with_maps(lambda values: values.clone().requires_grad_())
    logits, _ = predictor.four_masks(learnt, prompt_tensors([BOX], learnt, frame=base.frame))
    logits.square().mean().backward()
    assert all(values.grad is not None and bool(values.grad.any()) for values in learnt.maps)
    assert decoder.mask_tokens.weight.grad is not None


def test_an_adapter_sits_on_every_place_and_changes_what_is_seen_and_no_other_weight(base: BaseModel) -> None:
    encoder = base.model.vision_encoder
    places = base.family.places(encoder)
    if not any(isinstance(module, nn.Linear) for module in encoder.modules()):
        assert not places  # all convolutions: the method `decoder` alone trains it
        return
    assert places
    assert all(encoder.get_submodule(name) is place.layer for name, place in places.items())
    image, before = picture(), base.fingerprint
    shapes = list_shapes(places, kind=LORA, rank=2)
    generator = torch.Generator().manual_seed(0)
    nothing = {name: torch.zeros(shape) for name, shape in shapes.items()}
    something = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    plain = encode(base, image)
    same, other = (encode(with_adapter(base, Adapter(LORA, 2, 4.0, state)), image) for state in (nothing, something))
    assert torch.equal(same.features, plain.features)
    assert not torch.equal(other.features, plain.features)
    assert base.fingerprint == before


def test_the_blocks_that_run_again_belong_to_the_encoder(base: BaseModel) -> None:
    encoder = base.model.vision_encoder
    blocks = list(base.family.blocks(encoder))
    assert blocks or not base.family.recomputes
    assert {id(block) for block in blocks} <= {id(module) for module in encoder.modules()}


def test_a_card_tells_how_other_programs_load_the_model(base: BaseModel) -> None:
    assert base.family.title
    assert base.family.licence
    assert "hf" in base.family.formats
    assert "<this folder>" in base.family.usage()


def test_a_family_that_knows_the_original_names_gives_every_weight_one(base: BaseModel) -> None:
    if "sam" not in base.family.formats:
        with pytest.raises(BadInput, match="has no export as sam: choose --format hf"):
            export(Origin(base), how="sam", out=Path("never written"))
        return
    original = base.family.original(base.model)
    assert original.file.endswith((".pt", ".pth"))
    assert original.state
    assert all(value.dtype in {torch.float32, torch.int64} for value in original.state.values())


def _saved(base: BaseModel, folder: Path) -> Path:
    base.model.save_pretrained(folder)
    return folder
