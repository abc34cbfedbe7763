"""Bad inputs 27 to 30: what stands around the server. And where all thirty have their tests."""

import ast
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from fakes.served import Served, data_uri, picture, refused
from support.checkpoints import make_manifest
from support.waiting import wait_until

from backend.registry.local import LocalRegistry
from backend.sam.loading import BaseModel, decoder_bytes, load_base

ROOT = Path(__file__).resolve().parents[3]

# Tests of the same cases where they do not come in through the door, or where a smaller test says more.
ELSEWHERE = {
    9: ["backend/images/test_source.py::test_a_name_that_turns_to_loopback_after_the_check_is_not_followed"],
    10: ["backend/net/test_download.py::test_a_byte_now_and_then_runs_into_the_time_limit"],
    16: [
        "backend/labelstudio/controls/test_regions.py::test_what_is_no_mask_of_this_image_is_refused_with_the_reason",
        "finetuner/data/test_annotations.py::test_unusable_regions_are_left_out_each_with_its_reason",
    ],
    21: [
        "backend/labelstudio/test_rle.py::test_a_bomb_of_half_a_megabyte_is_refused_at_once_and_in_little_memory",
        "backend/labelstudio/test_rle.py::test_nonsense_is_refused_with_the_reason",
    ],
    25: ["backend/work/test_queue.py::test_a_thousand_requests_in_a_second_are_one_training"],
    27: [
        "backend/sam/loading/test_trained.py::test_a_decoder_with_the_right_digest_and_wrong_content_is_refused",
        "backend/sam/loading/test_trained.py::test_a_flipped_byte_is_refused",
        "backend/sam/loading/test_trained.py::test_a_decoder_of_another_base_or_method_is_refused",
        "backend/registry/test_checkpoint.py::test_damaged_weights_are_refused",
        "backend/registry/test_checkpoint.py::test_a_manifest_that_is_none_of_ours_is_refused",
        "backend/serving/test_slot.py::test_a_corrupt_champion_is_refused_once_and_the_old_one_goes_on",
        "integration/test_hot_swap.py::test_a_corrupt_checkpoint_is_refused_and_told_and_the_old_one_goes_on",
    ],
    28: [
        "finetuner/data/test_annotations.py::test_unusable_regions_are_left_out_each_with_its_reason",
        "finetuner/data/test_annotations.py::test_a_task_without_a_usable_annotation_is_left_out_with_the_reason",
        "finetuner/test_pipeline.py::test_without_annotations_there_is_nothing_to_learn",
        "integration/test_training.py::test_a_project_without_annotations_is_refused_in_words_that_the_status_shows",
    ],
    29: [
        "backend/labelstudio/api/test_client.py::test_every_failure_is_one_sentence",
        "backend/labelstudio/api/test_client.py::test_half_a_page_is_read_again",
        "finetuner/test_pipeline.py::test_an_image_that_is_gone_is_left_out",
    ],
    30: [
        "backend/registry/test_local.py::test_a_full_disk_leaves_the_champion_as_it_was_and_says_so",
        "backend/registry/test_local.py::test_a_read_only_folder_says_so_and_serves_on",
        "backend/registry/test_local.py::test_a_registry_that_went_away_is_not_an_empty_one",
        "backend/files/test_watch.py::test_it_survives_what_looking_raises_and_tells_each_reason_once",
    ],
}


def names_in(path: Path) -> list[str]:
    return [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]


def test_each_of_the_thirty_has_a_test() -> None:
    here = [name for path in Path(__file__).parent.glob("test_*.py") for name in names_in(path)]
    found = {int(name[5:7]) for name in here if name[5:7].isdigit()}
    assert found | set(ELSEWHERE) == set(range(1, 31))
    for node in (node for nodes in ELSEWHERE.values() for node in nodes):
        path, _, name = node.partition("::")
        assert name in names_in(ROOT / "tests" / path), node


def test_refusals_leave_no_memory_behind(server: Served, caplog: pytest.LogCaptureFixture) -> None:
    """A thousand of them, of a dozen kinds; the allocator may keep a little."""
    caplog.set_level("ERROR")  # pytest keeps every record, with the error that it tells and the frames of that
    uris = [
        "file:///etc/passwd",
        "http://127.0.0.1:1/",
        "/data/local-files/?d=..",
        "data:image/png;base64," + "A" * 99_999,
    ]
    uris += [data_uri(picture(form=form)[:40]) for form in ("PNG", "JPEG", "TIFF", "WEBP", "BMP")]
    with requests.Session() as session:

        def refuse(times: int) -> None:
            for _ in range(times):
                for uri in uris:
                    assert session.post(f"{server.url}/predict", json=server.body(uri), timeout=120).status_code >= 400
                for path in ("/setup", "/webhook", "/predict"):
                    assert session.post(f"{server.url}{path}", json={"project": "x"}, timeout=120).status_code == 400

        refuse(10)
        with server.unharmed(seconds=60, mib=12):
            refuse(80)


def version_of(served: Served) -> str:
    return str(served.post("/setup", {"project": "1.1"}).json()["model_version"])


@pytest.fixture
def base(tiny_sam_dir: Path, tmp_path: Path) -> BaseModel:
    return load_base(str(tiny_sam_dir), cache_dir=tmp_path / "base", device="cpu")


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "pickle": lambda weights: pickle.dumps({"weights": weights}),
    "header of 2^63": lambda weights: struct.pack("<Q", 1 << 63) + weights[8:],
    "truncated": lambda weights: weights[: len(weights) // 2],
}


def test_27_hostile_checkpoints_are_refused_versions_and_the_base_serves_on(
    serve: Callable[..., Any], base: BaseModel, tmp_path: Path
) -> None:
    (tmp_path / "s").mkdir()
    with serve(tmp_path / "s") as served:
        registry, before = LocalRegistry(tmp_path / "s" / "models"), version_of(served)
        manifest = make_manifest(project_id=1, base_model=base.name, base_fingerprint=base.fingerprint)
        for make in HOSTILE.values():
            weights = make(decoder_bytes(base.model.mask_decoder))
            version = registry.publish(1, weights=weights, manifest=manifest).version
            registry.promote(1, version, reason="looked better")
            wait_until(lambda version=version: version in served.health()["refused"])
            assert "not safetensors" in served.health()["refused"][version]
            assert version_of(served) == before
            assert served.click(data_uri(picture())).json()["results"][0]["model_version"] == before


@pytest.mark.parametrize("status", [401, 404, 500, 200], ids=["401", "404", "500", "html"])
def test_29_label_studio_answers_nonsense_for_an_image(server: Served, status: int) -> None:
    page = b"<!doctype html><title>Log in</title><pre>Traceback</pre>"
    server.studio.fail("/data/upload/29/", status=status, body=page)
    says = {
        401: "is LABEL_STUDIO_API_KEY right?",
        404: "Label Studio has no",
        500: "answered 500",
        200: "not a readable",
    }
    with server.unharmed(seconds=5):
        answer = server.click("/data/upload/29/a.png")
        refused(answer, says[status], status={401: 424, 404: 404, 500: 424, 200: 422}[status])


def test_29_label_studio_sends_half_an_image(server: Served) -> None:
    """And says nothing more; the connection stays open."""
    whole = picture()
    server.studio.fail("/data/upload/29/", status=200, body=whole[:99], **{"Content-Length": str(len(whole))})
    with server.unharmed(seconds=5):
        refused(server.click("/data/upload/29/b.png"), "took longer than SAMLOOP_IMAGE_SECONDS", status=424)


def test_30_a_registry_that_is_gone(serve: Callable[..., Any], tmp_path: Path) -> None:
    """Who annotates does not notice; who asks for its versions is told what to mend; then it is back."""
    (tmp_path / "s").mkdir()
    with serve(tmp_path / "s") as served:
        before = version_of(served)
        (tmp_path / "s" / "models").rename(tmp_path / "away")
        wait_until(lambda: "registry" in served.health()["away"])  # its watcher has looked, and keeps looking
        for _ in range(3):
            assert (
                served.click(data_uri(picture())).json()["results"][0]["model_version"] == before == version_of(served)
            )
            refused(served.post("/versions", {"project": 1}), "is its disk mounted", status=503)
        assert not (tmp_path / "s" / "models").exists(), "an empty registry in its place would lose every version"
        (tmp_path / "away").rename(tmp_path / "s" / "models")
        assert served.post("/versions", {"project": 1}).json()["versions"] == [before]
