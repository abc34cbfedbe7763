"""The server as Label Studio meets it: recorded requests, a real Valkey, a tiny random SAM, a fake Label Studio."""

import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fakes.label_studio import FakeLabelStudio
from redis import Redis
from starlette.testclient import TestClient
from support.checkpoints import make_manifest
from support.payloads import COINS, click_at, draw_blocks, read_mask, read_payload, write_request
from support.queue import connect_to_nobody

from backend.labelstudio.api.client import LabelStudio
from backend.registry.local import LocalRegistry
from backend.server.app import create_app
from backend.settings import Settings


def test_a_click_becomes_a_brush_region_of_this_version(client: TestClient, project: dict[str, Any]) -> None:
    answer = client.post("/predict", json=write_request(project, project["tasks"][0], click_at(50, 50)))
    assert answer.status_code == 200
    (prediction,) = answer.json()["results"]
    version = client.post("/setup", json={"project": f"{project['id']}.1", "schema": COINS}).json()["model_version"]
    assert prediction["model_version"] == version
    assert 0 <= prediction["score"] <= 1
    (region,) = prediction["result"]
    assert region["type"] == "brushlabels"
    assert region["value"]["brushlabels"] == ["Coin"]
    assert (region["from_name"], region["to_name"]) == ("brush", "image")
    assert region["meta"]["model_version"] == version
    assert read_mask(region).shape == (64, 96)


def test_region_ids_are_unique_over_answers(client: TestClient, project: dict[str, Any]) -> None:
    body = write_request(project, project["tasks"][0], click_at(50, 50))
    ids = {client.post("/predict", json=body).json()["results"][0]["result"][0]["id"] for _ in range(5)}
    assert len(ids) == 5


def test_two_labels_give_two_regions(client: TestClient, project: dict[str, Any]) -> None:
    body = write_request(project, project["tasks"][0], click_at(20, 20), click_at(80, 80, label="Other"))
    regions = client.post("/predict", json=body).json()["results"][0]["result"]
    assert [region["value"]["brushlabels"] for region in regions] == [["Coin"], ["Other"]]


def test_an_exif_rotated_photograph_gets_the_size_that_the_annotator_sees(
    client: TestClient, shared_studio: FakeLabelStudio, project: dict[str, Any]
) -> None:
    label_studio = LabelStudio(shared_studio.url, shared_studio.token)
    label_studio.import_images(project["id"], {"turned.jpg": draw_blocks(99, orientation=6)})
    task = max(label_studio.tasks(project["id"]), key=lambda task: task["id"])
    (region,) = client.post("/predict", json=write_request(project, task, click_at(50, 50))).json()["results"][0][
        "result"
    ]
    assert (region["original_width"], region["original_height"]) == (64, 96)
    assert read_mask(region).shape == (96, 64)


def test_sixteen_clients_on_sixteen_images_never_see_each_others_masks(
    client: TestClient, project: dict[str, Any]
) -> None:
    def answer(index: int) -> bytes:
        body = write_request(project, project["tasks"][index], click_at(30 + index, 40))
        (prediction,) = client.post("/predict", json=body).json()["results"]
        return b"".join(read_mask(region).tobytes() for region in prediction["result"])  # a small model may see nothing

    alone = [answer(index) for index in range(16)]
    assert len(set(alone)) > 8, "the pictures must differ for this test to mean anything"
    rounds = [index for _ in range(4) for index in range(16)]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(answer, rounds))
    assert together == [alone[index] for index in rounds]


def test_a_recorded_batch_gets_one_prediction_a_task(client: TestClient) -> None:
    body = read_payload("10-predict-batch-5tasks.json")
    results = client.post("/predict", json=body).json()["results"]
    assert len(results) == len(body["tasks"])
    assert all(prediction["model_version"] and prediction["score"] == 0 for prediction in results)


def test_a_second_click_does_not_fetch_the_image_again(
    client: TestClient, shared_studio: FakeLabelStudio, project: dict[str, Any]
) -> None:
    # An image that no other test has asked for: what was read a minute ago may be read again.
    label_studio = LabelStudio(shared_studio.url, shared_studio.token)
    label_studio.import_images(project["id"], {"clicked twice.jpg": draw_blocks(100)})
    task = max(label_studio.tasks(project["id"]), key=lambda task: task["id"])
    clicks = click_at(50, 50), click_at(10, 10, positive=False)
    for number in (1, 2):
        assert client.post("/predict", json=write_request(project, task, *clicks[:number])).status_code == 200
    # By its path: the next tasks are being embedded meanwhile.
    assert [request.path for request in shared_studio.requests].count(task["data"]["image"]) == 1


@pytest.mark.usefixtures("project")  # the event is of its id
def test_start_training_is_on_the_queue_by_name_before_it_is_answered(client: TestClient, redis_url: str) -> None:
    answer = client.post("/webhook", json=read_payload("40-webhook-START_TRAINING.json"))
    assert answer.status_code == 201
    job_id = answer.json()["job"]
    stored = Redis.from_url(redis_url).hgetall(f"rq:job:{job_id}")
    assert b"finetuner.job.run" in zlib.decompress(stored[b"data"])
    assert not any(b"nbwV1Ch4yE9PibJK3SeCegqpVBZ7n6srKQJg2cyD" in value for value in stored.values()), (
        "a token in Redis"
    )
    status = client.get("/projects/1/status").json()
    assert (status["phase"], status["queue"]) == ("queued", {"queued": 1, "workers": 0})
    assert client.post("/job_status", json={"job": job_id}).status_code == 200


@pytest.mark.parametrize("name", ["41-webhook-ANNOTATION_CREATED.json", "43-webhook-ANNOTATIONS_DELETED.json"])
def test_other_events_are_thanked_for_and_train_nothing(client: TestClient, project: dict[str, Any], name: str) -> None:
    answer = client.post("/webhook", json=read_payload(name) | {"project": {"id": project["id"]}})
    assert answer.status_code == 200
    assert answer.json()["status"] == "noted"


PARAMS = {"login": None, "password": None}
OLDER_SETUPS: dict[str, dict[str, Any]] = {
    "1.0": {},
    "1.4": {"hostname": "http://localhost:8080", "access_token": "legacy"},
    "1.8": {"hostname": "", "access_token": "legacy", "model_version": None, "force_reload": True},
    "with legacy tokens off": {"hostname": "http://x", "access_token": None, "extra_params": '{"a": 1}'},
}
OLDER_BATCHES: dict[str, dict[str, Any]] = {
    "1.0": {"model_version": None, "params": PARAMS},
    "1.7": {
        "model_version": "INITIAL",
        "force_reload": False,
        "try_fetch": True,
        "params": {**PARAMS, "context": None},
    },
    "params null": {"params": None},
    "params with credentials": {"params": {"login": "a", "password": "b", "hostname": "http://x"}},
    "no project": {"project": None},
    "the project's number": {"project": 1},
    "no label config": {"label_config": None},
}


@pytest.mark.parametrize("more", OLDER_SETUPS.values(), ids=OLDER_SETUPS)
def test_older_label_studios_learn_the_version_at_setup(client: TestClient, more: dict[str, Any]) -> None:
    for project in ("7.1700000000", "7", 7):
        answer = client.post("/setup", json={"project": project, "schema": COINS, **more})
        assert (answer.status_code, list(answer.json())) == (200, ["model_version"])


@pytest.mark.parametrize("more", OLDER_BATCHES.values(), ids=OLDER_BATCHES)
def test_older_label_studios_get_one_prediction_a_task(client: TestClient, more: dict[str, Any]) -> None:
    tasks = [
        {"id": "12", "data": {"image": "/a.png"}},
        {"data": None},
        {"id": None, "annotations": [1], "drafts": None},
    ]
    body = {"tasks": tasks, "project": "1.1700000000", "label_config": COINS, **more}
    results = client.post("/predict", json=body).json()["results"]
    assert [result["result"] for result in results] == [[], [], []]
    assert all(result["model_version"] and result["score"] == 0 for result in results)


def test_the_older_route_of_a_training_takes_the_annotations_with_it(
    client: TestClient, project: dict[str, Any]
) -> None:
    body = {"annotations": [{"id": 1, "data": {}}], "project": f"{project['id']}.1700000000", "label_config": COINS}
    answer = client.post("/train", json={**body, "params": PARAMS})
    assert (answer.status_code, answer.json()["job"][:6]) == (201, "train-")


def test_an_unknown_job_gets_404(client: TestClient) -> None:
    assert client.post("/job_status", json={"job": "train-1-999"}).status_code == 404


def test_versions_name_the_base(client: TestClient) -> None:
    assert (
        client.get("/versions").json()["versions"][0]
        == client.post("/setup", json={"project": "77.1"}).json()["model_version"]
    )


def test_of_many_projects_the_versions_of_the_newest_twenty_are_listed(tiny_sam_dir: Path, tmp_path: Path) -> None:
    """Fails without the limit: with ten thousand projects, an answer would read ten thousand manifests."""
    settings = Settings(model=str(tiny_sam_dir), model_dir=tmp_path / "models", cache_dir=tmp_path / "cache")
    registry = LocalRegistry(settings.registry.model_dir)
    published = [
        registry.publish(number, weights=b"weights", manifest=make_manifest()).version for number in range(1, 23)
    ]
    with TestClient(
        create_app(settings, connection=connect_to_nobody(tmp_path)), base_url="http://localhost"
    ) as client:
        base, *listed = client.get("/versions").json()["versions"]
    assert base == tiny_sam_dir.name
    assert listed == published[-20:]
