"""A training method is one file: nothing else names it but the settings' list of choices."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.checkpoints import make_manifest
from support.pictures import draw_greys

from backend.errors import BadInput
from backend.masks.prompt import Click, Prompt
from backend.registry.checkpoint import write_checkpoint
from backend.registry.metrics import Recipe
from backend.sam.adapters.served import list_kinds
from backend.sam.export.folder import Origin, export
from backend.sam.loading import BaseModel, find_trained, load_as_stored
from backend.sam.predictor import encode, predictor_of
from backend.settings import bounds
from finetuner import methods
from finetuner.config import TrainConfig
from finetuner.methods import AUTO, choose_method, list_methods, new_method
from finetuner.methods.base import Method

# LoRA at a rank and a pace of its own, and only its scores' head of the decoder: all that a new method takes.
TOY = """
from backend.sam.adapters import lora
from finetuner.methods.base import MethodKind
from finetuner.methods.encoder import EncoderMethod, begin_with
from finetuner.methods.lora import Lora


class ToyMethod(EncoderMethod):
    def trainable(self):
        return {name: weight for name, weight in super().trainable().items() if "mask_tokens" not in name}


def begin(base, config):
    method = begin_with(METHOD, base, config=config, attach=lambda *args, **sizes: Lora(*args, rank=3, **sizes))
    method.__class__ = ToyMethod
    return method


METHOD = MethodKind(name="toy", begin=begin, adapter=lora.KIND, pace=4.0)
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toy method as a file that lies with the others; gone again after the test."""
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "toy.py").write_text(TOY)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path / "methods")])
    yield
    sys.modules.pop("finetuner.methods.toy", None)
    vars(methods).pop("toy", None)


def written(method: Method, base: BaseModel, base_dir: Path, folder: Path) -> Path:
    """A checkpoint of what the method has learnt, as a training publishes it."""
    manifest = make_manifest(
        version="tiny-v1",
        project_id=1,
        base_model=str(base_dir),
        base_fingerprint=base.fingerprint,
        method=method.name,
        config=Recipe.model_validate(dict(method.sizes)),
    )
    write_checkpoint(folder, weights=method.weights(), manifest=manifest)
    return folder


def test_the_settings_offer_the_methods_that_there_are() -> None:
    assert set(bounds.METHODS) == {AUTO, *list_methods()}
    assert TrainConfig().method in list_methods()


@pytest.mark.parametrize("name", sorted(list_methods()))
def test_a_method_says_what_serving_needs_of_it(name: str, tiny_base: BaseModel) -> None:
    kind, method = list_methods()[name], new_method(name, tiny_base)
    assert (method.name, method.pace) == (name, kind.pace_of(TrainConfig()))
    assert method.frame is tiny_base.frame
    told = method.sizes["adapter"]
    assert (told and told["kind"]) == (kind.adapter and kind.adapter.name)
    assert kind.adapter is None or list_kinds()[kind.adapter.name] is kind.adapter


@pytest.mark.usefixtures("toy")
def test_a_file_beside_the_others_is_a_method_whose_checkpoints_are_served(
    tiny_base: BaseModel, tiny_sam_dir: Path, tmp_path: Path
) -> None:
    method = new_method("toy", tiny_base, config=TrainConfig(method="toy"))
    assert (method.pace, method.sizes) == (4.0, {"adapter": {"kind": "lora", "rank": 3, "alpha": 16.0}})
    image = draw_greys(64, 48)
    seen = encode(tiny_base, image)
    before = method.predictor(version="before").decode(seen, [Prompt(clicks=(Click(20.0, 20.0),))])
    with torch.no_grad():
        for weight in method.trainable().values():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())))
    wanted = method.predictor(version="wanted")
    folder = written(method, tiny_base, tiny_sam_dir, tmp_path / "checkpoint")
    served, trained = predictor_of(tiny_base, folder), find_trained(tiny_base, folder)
    assert trained.adapter is not None
    assert (trained.adapter.kind, trained.adapter.rank) == ("lora", 3)
    assert torch.equal(encode(served.base, image).features, encode(wanted.base, image).features)
    (after,) = served.decode(encode(served.base, image), [Prompt(clicks=(Click(20.0, 20.0),))])
    assert (after.low_res_logits != before[0].low_res_logits).any()


@pytest.mark.parametrize(
    ("device", "seconds", "chosen"),
    [("cpu", 600.0, "decoder"), ("cuda", 600.0, "lora"), ("cuda", 60.0, "decoder"), ("mps", 600.0, "decoder")],
)
def test_auto_takes_an_adapter_where_the_device_has_time_for_it(
    device: str, seconds: float, chosen: str, tiny_base: BaseModel
) -> None:
    base = replace(tiny_base, device=torch.device(device))
    assert choose_method(AUTO, base, seconds=seconds) == chosen
    assert choose_method("conv-lora", base, seconds=seconds) == "conv-lora"


def test_auto_trains_the_decoder_of_an_encoder_without_a_place_for_an_adapter(
    tiny_base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(tiny_base.family), "places", lambda *_: {})
    base = replace(tiny_base, device=torch.device("cuda"))
    assert choose_method(AUTO, base, seconds=600.0) == "decoder"


def test_an_unknown_method_is_refused_with_those_that_there_are(tiny_base: BaseModel) -> None:
    with pytest.raises(BadInput, match="method 'toy' is none of conv-lora, decoder, lora; set SAMLOOP_METHOD to one"):
        new_method("toy", tiny_base)


@pytest.mark.parametrize("name", sorted(list_methods()))
def test_other_programs_get_a_methods_checkpoints_if_and_only_if_it_says_so(
    name: str, tiny_base: BaseModel, tiny_sam_dir: Path, tmp_path: Path
) -> None:
    kind = list_methods()[name]
    folder = written(new_method(name, tiny_base), tiny_base, tiny_sam_dir, tmp_path / "checkpoint")
    origin = Origin(load_as_stored(str(folder), cache_dir=tmp_path / "cache"))
    if kind.is_exported_merged:
        assert (export(origin, how="hf", out=tmp_path / "hf") / "model.safetensors").is_file()
    else:
        with pytest.raises(BadInput, match="cannot be exported as hf or sam"):
            export(origin, how="hf", out=tmp_path / "hf")
