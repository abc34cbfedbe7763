"""`samloop predict`: pre-annotations without a prompt, in a file that Label Studio imports."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import requests
import safetensors.torch
import torch
from fakes.studio_setup import StudioSetup
from PIL import Image
from support.checkpoints import make_manifest
from support.domains import set_apart
from support.waiting import wait_until
from typer.testing import CliRunner

from backend.__main__ import app
from backend.cli import predict
from backend.cli.demo.label_studio import LabelStudioProcess
from backend.cli.predict import _Folder
from backend.errors import BadCheckpoint, BadInput
from backend.images.folder import ImageFolder
from backend.labelstudio.controls.regions import mask_of_region
from backend.registry.checkpoint import read_manifest, write_checkpoint
from backend.registry.metrics import CheckpointMetrics, SemanticMetrics
from backend.sam.loading import BaseModel, decoder_bytes, load_base, new_head
from backend.sam.predictor import PredictedMask, base_predictor, encode, predictor_of
from backend.sam.scoring import task_score
from backend.sam.semantic.head import SemanticHead, with_semantic
from backend.sam.semantic.objects import SemanticRules, semantic_maps, semantic_masks
from backend.sam.semantic.touching import draw_with

CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="tag" toName="image"><Label value="Disc"/></BrushLabels></View>"""


@pytest.fixture
def folder(tmp_path: Path, tiny_sam_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two images, an export that names three, and a checkpoint whose head sees a Disc everywhere."""
    monkeypatch.setenv("SAMLOOP_MODEL", str(tiny_sam_dir))
    monkeypatch.setenv("SAMLOOP_DEVICE", "cpu")
    monkeypatch.setenv("SAMLOOP_AUTOMATIC_POINTS", "2")
    monkeypatch.setenv("SAMLOOP_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "images").mkdir()
    for name in "ab":
        Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / "images" / f"{name}.png")
    region = {
        "type": "brushlabels",
        "from_name": "tag",
        "to_name": "image",
        "value": {"brushlabels": ["Disc"]},
    }
    tasks = [
        {"id": n, "data": {"image": f"/data/upload/1/{name}.png"}, "annotations": [{"result": [region]}]}
        for n, name in enumerate(("a", "b", "gone"))
    ]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    write(tmp_path / "checkpoint", tiny_sam_dir, everywhere)
    return tmp_path


def everywhere(head: SemanticHead) -> None:
    """A Disc in every cell."""
    head.last.data.zero_()
    head.last_bias.data.zero_()
    head.offset.data.fill_(5.0)


def write(folder: Path, model: Path, make: Callable[[SemanticHead], None]) -> None:
    """A checkpoint whose head is as `make` makes it."""
    base = load_base(str(model), cache_dir=folder, device="cpu", dtype="float32")
    head = new_head(base, labels=("Disc",))
    make(head)
    manifest = make_manifest(
        version="tiny-v1",
        base_model=base.name,
        base_fingerprint=base.fingerprint,
        metrics=CheckpointMetrics(semantic=SemanticMetrics(labels=("Disc",), is_served=True)),
    )
    write_checkpoint(folder, weights=with_semantic(decoder_bytes(base.model.mask_decoder), head), manifest=manifest)


def predicted(folder: Path, *more: str) -> tuple[str, list[dict[str, Any]]]:
    (out := folder / "predictions.json").unlink(missing_ok=True)
    words = ["predict", "--export", str(folder / "export.json"), "--images", str(folder / "images"), "--out", str(out)]
    result = CliRunner().invoke(app, [*words, *more], env={"COLUMNS": "300"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output, json.loads(out.read_text())


def test_a_semantic_head_gives_every_task_its_labels_and_a_task_without_its_image_an_empty_prediction(
    folder: Path,
) -> None:
    said, tasks = predicted(folder, "--checkpoint", str(folder / "checkpoint"))
    assert [task["id"] for task in tasks] == [0, 1, 2]
    assert [len(task["predictions"][0]["result"]) for task in tasks] == [1, 1, 0]
    (region,) = tasks[0]["predictions"][0]["result"]
    assert (region["from_name"], region["value"]["brushlabels"]) == ("tag", ["Disc"])
    assert 0 < region["score"] <= 1
    assert tasks[0]["predictions"][0]["model_version"] == region["meta"]["model_version"] == "tiny-v1"
    assert "2 regions on 3 tasks by tiny-v1 (its semantic head)" in said
    assert "without regions: task 2: no file 'gone.png'" in said


def test_a_file_that_exists_is_refused_before_the_work_and_stays(folder: Path) -> None:
    words = ["--export", str(folder / "export.json"), "--images", str(folder / "images")]
    before = (folder / "export.json").read_bytes()
    with pytest.raises(BadInput, match="exists, and nothing is ever overwritten"):
        CliRunner().invoke(app, ["predict", *words, "--out", str(folder / "export.json")], catch_exceptions=False)
    assert (folder / "export.json").read_bytes() == before


def test_no_image_of_the_export_in_the_folder_is_an_error_and_no_file(folder: Path) -> None:
    for image in (folder / "images").iterdir():
        image.unlink()
    with pytest.raises(BadInput, match=r"none of 3 tasks could be predicted, so .*; task 0: no file 'a.png'"):
        predicted(folder)
    assert not (folder / "predictions.json").exists()


def test_images_that_cannot_be_read_are_not_said_to_be_missing(folder: Path) -> None:
    for image in (folder / "images").iterdir():
        image.write_bytes(b"no image")
    with pytest.raises(BadInput, match=r"none of 3 tasks .*; task 0: the file's 8 bytes are not a readable PNG"):
        predicted(folder)


def test_labels_that_nothing_tells_are_the_reason_why_nothing_is_predicted(folder: Path) -> None:
    (folder / "config.xml").write_text(CONFIG.replace("<Label ", '<Label value="Ring"/><Label ', 1))
    with pytest.raises(BadInput, match="task 0: automatic masks need a label, and the interface has 2"):
        predicted(folder, "--label-config", str(folder / "config.xml"))


@pytest.mark.parametrize("way", ["tags", "pages"])
def test_all_images_of_a_task_are_predicted_and_moved(folder: Path, way: str) -> None:
    def region(name: str, page: int | None) -> dict[str, Any]:
        place = {"from_name": f"tag_{name}", "to_name": name} | ({} if page is None else {"item_index": page})
        return {"type": "brushlabels", "value": {"brushlabels": ["Disc"]}, **place}

    if way == "tags":
        data: dict[str, Any] = {"left": "/data/upload/1/a.png", "right": "/data/upload/1/b.png"}
        regions = [region("left", None), region("right", None)]
    else:
        data = {"pages": ["/data/upload/1/a.png", "/data/upload/1/b.png"]}
        regions = [region("pages", 0), region("pages", 1)]
    (folder / "export.json").write_text(json.dumps([{"id": 1, "data": data, "annotations": [{"result": regions}]}]))
    root = "/data/local-files/?d="
    _, (task,) = predicted(folder, "--checkpoint", str(folder / "checkpoint"), "--image-root-url", root)
    found = [(region["to_name"], region.get("item_index")) for region in task["predictions"][0]["result"]]
    if way == "tags":
        assert found == [("left", None), ("right", None)]
        assert task["data"] == {"left": f"{root}a.png", "right": f"{root}b.png"}
    else:
        assert found == [("pages", 0), ("pages", 1)]
        assert task["data"] == {"pages": [f"{root}a.png", f"{root}b.png"]}


def test_a_signal_ends_the_work_and_keeps_what_is_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told_to_end_at_the_first(tasks: list[Any], **_: object) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        yield from tasks

    monkeypatch.setattr(predict, "_with_progress", told_to_end_at_the_first)
    with pytest.raises(BadInput, match="ended by a signal after 0 of 3 tasks"):
        predicted(folder, "--checkpoint", str(folder / "checkpoint"))
    assert json.loads((folder / "predictions.json").read_text()) == []


def test_a_run_that_was_killed_goes_on_when_its_command_is_repeated(folder: Path) -> None:
    """Fails where predictions are kept in memory alone: `kill -9`, and the system short of memory, lose them all."""
    expected = predicted(folder)[1]
    (folder / "predictions.json").unlink()
    words = ["--export", str(folder / "export.json"), "--images", str(folder / "images")]
    command = [sys.executable, "-m", "backend", "predict", *words, "--out", str(folder / "predictions.json")]
    left = folder / "predictions.json.unfinished"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        wait_until(lambda: left.exists() and left.read_bytes().count(b"\n") >= 2)
        process.kill()
    assert not (folder / "predictions.json").exists()
    (folder / "images" / "a.png").unlink()  # what is predicted is not predicted again

    said, tasks = predicted(folder)
    assert "of a run that was killed" in said
    assert tasks == expected
    assert not left.exists()


def test_progress_is_told_where_no_terminal_shows_it(folder: Path) -> None:
    said, _ = predicted(folder, "--checkpoint", str(folder / "checkpoint"))
    assert "predicting 1 of 3" in said
    assert "predicting 3 of 3" in said


def test_without_a_semantic_head_all_that_stands_out_is_predicted_and_that_is_said(folder: Path) -> None:
    said, tasks = predicted(folder)
    assert len(tasks) == 3
    assert "automatic masks: it has no semantic head" in said


def test_an_image_outside_the_domain_of_an_adapter_is_seen_by_the_base_too(folder: Path, tiny_base: BaseModel) -> None:
    image: Any = SimpleNamespace(uri="a.png")
    seen = encode(tiny_base, Image.open(folder / "images" / "a.png"))
    adapted = replace(base_predictor(tiny_base), base=replace(tiny_base, encoder_fingerprint="adapted"))
    apart = set_apart(adapted, inside=seen, elsewhere=seen, plain=base_predictor(tiny_base))
    apart, alone = (
        _Folder(predictor, ImageFolder(folder / "images"), max_pixels=10**6).embed(image)
        for predictor in (apart, adapted)
    )
    assert apart.by_base is not None
    assert torch.equal(apart.by_base().features, seen.features)
    assert alone.by_base is None


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (None, "do not fit: missing or unknown semantic.tokens"),
        (torch.full((1, 32), float("nan")), "semantic.tokens holds numbers that are not finite"),
        (torch.zeros(2, 32), r"semantic.tokens has shape \(2, 32\), not \(1, 32\)"),
    ],
)
def test_a_head_that_is_damaged_is_refused_in_one_sentence_and_nothing_is_written(
    folder: Path, damage: torch.Tensor | None, told: str
) -> None:
    path = folder / "checkpoint"
    state = safetensors.torch.load_file(path / "model.safetensors")
    del state["semantic.tokens"]
    if damage is not None:
        state["semantic.tokens"] = damage
    write_checkpoint(path, weights=safetensors.torch.save(state), manifest=read_manifest(path))
    with pytest.raises(BadCheckpoint, match=f"^the weights of tiny-v1.*{told}$"):
        predicted(folder, "--checkpoint", str(path))
    assert not (folder / "predictions.json").exists()


def test_images_get_the_root_where_the_importing_project_finds_them(folder: Path) -> None:
    def addresses(root: str) -> list[str]:
        return [task["data"]["image"] for task in predicted(folder, "--image-root-url", root)[1]]

    (folder / "images" / "a.png").rename(folder / "images" / "a b.png")
    tasks = json.loads((folder / "export.json").read_text())
    tasks[0]["data"] = {"image": "/data/upload/1/0123abcd-a%20b.png"}
    (folder / "export.json").write_text(json.dumps(tasks))
    gone = "/data/upload/1/gone.png"
    assert addresses("/data/local-files/?d=") == ["/data/local-files/?d=a%20b.png", "/data/local-files/?d=b.png", gone]
    assert addresses("https://host/in") == ["https://host/in/a%20b.png", "https://host/in/b.png", gone]


@pytest.mark.label_studio
def test_label_studio_imports_the_file_shows_its_images_and_keeps_version_score_and_masks(
    folder: Path, tiny_sam_dir: Path, label_studio: LabelStudioProcess, local_files_root: Path
) -> None:
    """From one project's images to another's pre-annotations, by files alone, as people do it."""
    write(folder / "checkpoint", tiny_sam_dir, in_parts)
    here = local_files_root / "predicted"
    here.mkdir()
    pictures = {name: noise(here / name, seed) for seed, name in enumerate(("one.png", "two-three.png"))}
    client = StudioSetup(label_studio.url, label_studio.token)
    first, second = (int(client.create_project(title, CONFIG)["id"]) for title in ("drawn", "imported"))
    client.import_images(first, pictures)
    exported = client._session.get(f"/api/projects/{first}/export", exportType="JSON", download_all_tasks="true")
    (folder / "export.json").write_text(json.dumps(exported))
    (folder / "config.xml").write_text(CONFIG)
    store = {"project": second, "path": str(here), "use_blob_urls": True}
    header = {"Authorization": f"Token {label_studio.token}"}
    made = requests.post(f"{label_studio.url}/api/storages/localfiles", json=store, headers=header, timeout=120)
    assert made.status_code == 201, made.text

    words = ["--images", str(here), "--label-config", str(folder / "config.xml")]
    for more in ([], ["--image-root-url", "/data/local-files/?d=predicted"]):
        predicted(folder, "--checkpoint", str(folder / "checkpoint"), *words, *more)
        client.import_images(second, {"predictions.json": (folder / "predictions.json").read_bytes()})
    tasks = list(client.tasks(second))

    roots = [task["data"]["image"].rsplit("/", 1)[0] for task in tasks]
    assert sorted(roots) == [*["/data/local-files/?d=predicted"] * 2, *[f"/data/upload/{first}"] * 2]
    shown = [client.get_bytes(task["data"]["image"], max_bytes=10**6, deadline_s=120.0) for task in tasks]
    assert sorted(shown) == sorted([*pictures.values()] * 2)
    for task, data in zip(tasks, shown, strict=True):
        (held,) = task["predictions"]
        expected = seen(folder / "checkpoint", tiny_sam_dir, data)
        assert held["model_version"] == "tiny-v1"
        assert held["score"] == pytest.approx(task_score([mask.score for mask in expected]))
        masks = [
            mask_of_region(region, height_px=48, width_px=64, rectangles_are_masks=False) for region in held["result"]
        ]
        assert len(masks) == len(expected) > 1
        assert all(np.array_equal(mask, wanted.mask) for mask, wanted in zip(masks, expected, strict=True))
    for project_id in (first, second):
        client.delete_project(project_id)


def in_parts(head: SemanticHead) -> None:
    """Some cells a Disc and some none, as the encoder sees them."""
    everywhere(head)
    head.offset.data.zero_()
    # So large because the random model gives numbers of 1e-20, and what a head hardly sees is left out.
    head.readout.data.normal_(generator=torch.Generator().manual_seed(1)).mul_(1e21)


def noise(path: Path, seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels.repeat(8, 0).repeat(8, 1)).save(path)
    return path.read_bytes()


def seen(checkpoint: Path, model: Path, data: bytes) -> list[PredictedMask]:
    """The objects that the checkpoint's head finds, the best first."""
    base = load_base(str(model), cache_dir=checkpoint, device="cpu")
    predictor = predictor_of(base, checkpoint)
    assert predictor.semantic is not None
    embedding = encode(base, Image.open(io.BytesIO(data)).convert("RGB"))
    maps, ask = semantic_maps(predictor.semantic, embedding, base=base), draw_with(predictor, embedding)
    return [mask for _, mask in semantic_masks(maps, height_px=48, width_px=64, rules=SemanticRules(), ask=ask)]
