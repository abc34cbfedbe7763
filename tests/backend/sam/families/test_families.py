"""A family is one file: nothing else names it."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.pictures import draw_greys

from backend.errors import BadWeights
from backend.masks.prompt import Click, Prompt
from backend.sam.export.folder import Origin, export
from backend.sam.families import family_of, list_families
from backend.sam.families.original import model_of_file
from backend.sam.loading import decoder_of, load_as_stored, load_base
from backend.sam.predictor import Predictor, encode
from tests.support.small_bases import SMALL_BASES


def test_a_file_beside_the_others_is_a_family(toy_file: Path) -> None:
    assert {family.name for family in list_families()} == {*SMALL_BASES, "sam", "mobile-sam", "toy"}


def test_a_file_beside_the_others_reads_its_releases_own_weights(toy_file: Path, tmp_path: Path) -> None:
    """The file has SAM's names too, and the more particular reader takes it."""
    state = {"image_encoder.blocks.0.norm1.weight": torch.zeros(1), "toy.weight": torch.zeros(1)}
    torch.save(state, tmp_path / "toy.pth")
    read = model_of_file(tmp_path / "toy.pth")
    assert type(read).__name__ == "ToyModel"
    assert read.config.vision_config.num_hidden_layers == len(state)


def test_its_models_are_loaded_served_and_exported_with_nothing_else_changed(toy_folder: Path, tmp_path: Path) -> None:
    base = load_base(str(toy_folder), cache_dir=tmp_path, device="cpu", dtype="float32")
    embedding = encode(base, draw_greys(90, 40))
    predictor = Predictor(base, decoder_of(base, None), version="x")
    (found,) = predictor.decode(embedding, [Prompt(clicks=(Click(30.0, 20.0),))])
    assert (found.mask.shape, found.low_res_logits.shape) == ((40, 90), (128, 128))
    assert [tuple(values.shape) for values in embedding.maps] == [(1, 32, 32, 32), (1, 4, 128, 128)]
    out = export(Origin(load_as_stored(str(toy_folder), cache_dir=tmp_path)), how="hf", out=tmp_path / "out")
    assert "Toy, 512x512 px." in (out / "README.md").read_text()
    again = load_base(str(out), cache_dir=tmp_path, device="cpu", dtype="float32")
    assert torch.equal(
        encode(again, Image.new("RGB", (9, 9))).features, encode(base, Image.new("RGB", (9, 9))).features
    )


def test_a_folder_that_names_no_class_is_taken_for_sams_own(tmp_path: Path) -> None:
    for content in ("{}", "[]", "no JSON", '{"architectures": ["SomethingElse", 3]}'):
        (tmp_path / "config.json").write_text(content)
        assert family_of(tmp_path).name == "sam"


def test_a_sam_for_another_canvas_is_refused_with_both_sizes(toy_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(toy_folder, tmp_path / "other")
    config = folder / "config.json"
    config.write_text(config.read_text().replace("ToyModel", "SamModel"))
    with pytest.raises(BadWeights, match="is a SAM for 512 px; only 1024 px are supported"):
        load_base(str(folder), cache_dir=tmp_path, device="cpu", dtype="float32")
