"""The server as Label Studio meets it: recorded requests, a real Valkey, a tiny random SAM, a fake Label Studio."""

import json
import re
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.label_studio import FakeLabelStudio
from PIL import Image
from redis import Redis
from starlette.testclient import TestClient
from support.pictures import encode_image
from support.waiting import wait_until

from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.rle import decode_mask, encode_mask
from backend.server.app import create_app
from backend.settings import Settings
from backend.work.embedded import Valkey

PAYLOADS = Path(__file__).resolve().parents[2] / "data" / "payloads"
CONFIG = json.loads((PAYLOADS / "00-project-created.json").read_text())["label_config"]


def recorded(name: str) -> dict[str, Any]:
    return json.loads((PAYLOADS / name).read_text())["body"]


def picture(seed: int, *, size: tuple[int, int] = (96, 64), orientation: int | None = None) -> bytes:
    """A JPEG of coloured blocks, different for every seed."""
    blocks = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    image = Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    return encode_image(image, "JPEG", quality=95, exif=exif)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Valkey(tmp_path_factory.mktemp("queue")) as valkey:
        yield valkey.start()


@pytest.fixture(scope="module")
def studio() -> Iterator[FakeLabelStudio]:
    with FakeLabelStudio() as studio:
        yield studio


@pytest.fixture(scope="module")
def client(
    tiny_sam_dir: Path, redis_url: str, studio: FakeLabelStudio, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    settings = Settings(
        model=str(tiny_sam_dir),
        model_dir=tmp_path_factory.mktemp("models"),
        cache_dir=tmp_path_factory.mktemp("cache"),
        label_studio_url=studio.url,
        label_studio_api_key=studio.token,
        poll_seconds=0.2,
    )
    with TestClient(
        create_app(settings, connection=Redis.from_url(redis_url)),
        raise_server_exceptions=False,
        base_url="http://localhost",
    ) as client:
        wait_until(lambda: client.get("/health").json()["model"] == "ready")
        yield client


@pytest.fixture(scope="module")
def project(studio: FakeLabelStudio) -> dict[str, Any]:
    """A project of 16 different images; `uris` in order."""
    label_studio = LabelStudio(studio.url, studio.token)
    created = label_studio.create_project("pictures", CONFIG)
    label_studio.import_images(created["id"], {f"{seed:02d}.jpg": picture(seed) for seed in range(16)})
    tasks = sorted(label_studio.tasks(created["id"]), key=lambda task: task["id"])
    return {"id": created["id"], "tasks": tasks}


def interactive(project: dict[str, Any], task: dict[str, Any], *regions: dict[str, Any]) -> dict[str, Any]:
    return {
        "tasks": [task],
        "project": f"{project['id']}.1795418479",
        "label_config": CONFIG,
        "params": {"login": None, "password": None, "context": {"result": list(regions)}},
    }


def keypoint(x: float, y: float, *, label: str = "Coin", positive: bool = True) -> dict[str, Any]:
    return {
        "type": "keypointlabels",
        "from_name": "kp",
        "to_name": "image",
        "is_positive": positive,
        "value": {"x": x, "y": y, "width": 0.3, "keypointlabels": [label]},
    }


def mask_of(region: dict[str, Any]) -> np.ndarray:
    return decode_mask(region["value"]["rle"], height_px=region["original_height"], width_px=region["original_width"])


def test_a_click_becomes_a_brush_region_of_this_version(client: TestClient, project: dict[str, Any]) -> None:
    answer = client.post("/predict", json=interactive(project, project["tasks"][0], keypoint(50, 50)))
    assert answer.status_code == 200
    (prediction,) = answer.json()["results"]
    version = client.post("/setup", json={"project": f"{project['id']}.1", "schema": CONFIG}).json()["model_version"]
    assert prediction["model_version"] == version
    assert 0 <= prediction["score"] <= 1
    (region,) = prediction["result"]
    assert region["type"] == "brushlabels"
    assert region["value"]["brushlabels"] == ["Coin"]
    assert (region["from_name"], region["to_name"]) == ("brush", "image")
    assert region["meta"]["model_version"] == version
    assert mask_of(region).shape == (64, 96)


def test_region_ids_are_unique_over_answers(client: TestClient, project: dict[str, Any]) -> None:
    body = interactive(project, project["tasks"][0], keypoint(50, 50))
    ids = {client.post("/predict", json=body).json()["results"][0]["result"][0]["id"] for _ in range(5)}
    assert len(ids) == 5


def test_two_labels_give_two_regions(client: TestClient, project: dict[str, Any]) -> None:
    body = interactive(project, project["tasks"][0], keypoint(20, 20), keypoint(80, 80, label="Other"))
    regions = client.post("/predict", json=body).json()["results"][0]["result"]
    assert [region["value"]["brushlabels"] for region in regions] == [["Coin"], ["Other"]]


def test_an_exif_rotated_photograph_gets_the_size_that_the_annotator_sees(
    client: TestClient, studio: FakeLabelStudio, project: dict[str, Any]
) -> None:
    label_studio = LabelStudio(studio.url, studio.token)
    label_studio.import_images(project["id"], {"turned.jpg": picture(99, orientation=6)})
    task = max(label_studio.tasks(project["id"]), key=lambda task: task["id"])
    (region,) = client.post("/predict", json=interactive(project, task, keypoint(50, 50))).json()["results"][0][
        "result"
    ]
    assert (region["original_width"], region["original_height"]) == (64, 96)
    assert mask_of(region).shape == (96, 64)


def test_sixteen_clients_on_sixteen_images_never_see_each_others_masks(
    client: TestClient, project: dict[str, Any]
) -> None:
    def answer(index: int) -> bytes:
        body = interactive(project, project["tasks"][index], keypoint(30 + index, 40))
        return mask_of(client.post("/predict", json=body).json()["results"][0]["result"][0]).tobytes()

    alone = [answer(index) for index in range(16)]
    assert len(set(alone)) > 8, "the pictures must differ for this test to mean anything"
    rounds = [index for _ in range(4) for index in range(16)]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(answer, rounds))
    assert together == [alone[index] for index in rounds]


def test_a_recorded_batch_gets_one_prediction_a_task(client: TestClient) -> None:
    body = recorded("10-predict-batch-5tasks.json")
    results = client.post("/predict", json=body).json()["results"]
    assert len(results) == len(body["tasks"])
    assert all(prediction["model_version"] and prediction["score"] == 0 for prediction in results)


def test_a_second_click_does_not_fetch_the_image_again(
    client: TestClient, studio: FakeLabelStudio, project: dict[str, Any]
) -> None:
    # An image that no other test has asked for: what was read a minute ago may be read again.
    label_studio = LabelStudio(studio.url, studio.token)
    label_studio.import_images(project["id"], {"clicked twice.jpg": picture(100)})
    task = max(label_studio.tasks(project["id"]), key=lambda task: task["id"])
    clicks = keypoint(50, 50), keypoint(10, 10, positive=False)
    for number in (1, 2):
        assert client.post("/predict", json=interactive(project, task, *clicks[:number])).status_code == 200
    # By its path: the next tasks are being embedded meanwhile.
    assert [request.path for request in studio.requests].count(task["data"]["image"]) == 1


def test_start_training_is_on_the_queue_by_name_before_it_is_answered(client: TestClient, redis_url: str) -> None:
    answer = client.post("/webhook", json=recorded("40-webhook-START_TRAINING.json"))
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


def test_a_refresh_is_queued_by_name_shown_and_cancelled(client: TestClient, redis_url: str) -> None:
    """What the review page's button calls."""
    answer = client.post("/projects/9/refresh")
    assert (answer.status_code, answer.json()) == (201, {"status": "queued", "job": "refresh-9-1"})
    stored = Redis.from_url(redis_url).hgetall("rq:job:refresh-9-1")
    assert b"finetuner.refreshing.run" in zlib.decompress(stored[b"data"])
    status = client.get("/projects/9/status").json()
    assert status["phase"] == "idle", "it is no training"
    assert {name: status["refresh"][name] for name in ("phase", "job", "queued", "error", "last")} == {
        "phase": "queued",
        "job": "refresh-9-1",
        "queued": 1,
        "error": None,
        "last": None,
    }
    assert client.post("/projects/9/refresh").json()["job"] == "refresh-9-1", "two requests are one refresh"
    assert client.delete("/projects/9/refresh").json() == {"status": "cancelling"}
    assert client.delete("/projects/10/refresh").json() == {"status": "none"}
    assert client.post("/projects/0/refresh").status_code == 400


def test_a_refused_click_stands_on_the_overview_and_every_answer_in_the_log(
    client: TestClient, project: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="backend.server.routes.predicting")
    task = project["tasks"][0]
    lost = {**task, "data": {"image": "/data/upload/none.png"}}
    assert client.post("/predict", json=interactive(project, lost, keypoint(50, 50))).status_code >= 400
    refusal, *_ = client.get(f"/projects/{project['id']}/status").json()["refusals"]
    assert refusal["task"] == task["id"]
    page = client.get(f"/review/{project['id']}", headers={"Host": "127.0.0.1:9090"}).text
    assert "Last refusals" in page
    assert f"task {task['id']}" in page
    assert client.post("/predict", json=interactive(project, task, keypoint(50, 50))).status_code == 200
    told = [record.getMessage() for record in caplog.records if record.name == "backend.server.routes.predicting"]
    assert told[0].startswith(f"a click in project {project['id']} on task {task['id']} was refused: ")
    assert re.fullmatch(
        rf"click project={project['id']}\.\d+ tasks=1 task={task['id']} regions=\d version=\S+ ms=\d+", told[1]
    )


def test_changed_and_deleted_annotations_count_until_the_next_training(
    client: TestClient, studio: FakeLabelStudio
) -> None:
    project_id = int(LabelStudio(studio.url, studio.token).create_project("counted", "<View/>")["id"])
    page = {"Host": "127.0.0.1:9090", "Origin": "http://127.0.0.1:9090"}
    assert client.post(f"/review/{project_id}/train-after", data={"number": "ten"}, headers=page).status_code == 400
    kept = client.post(f"/review/{project_id}/train-after", data={"number": "10"}, headers=page, follow_redirects=False)
    assert kept.status_code == 303
    annotation = {"id": 1, "task": 1, "updated_at": "2026-01-01T00:00:00Z"}
    for action, more in (
        ("ANNOTATION_CREATED", {"annotation": annotation}),
        ("ANNOTATION_UPDATED", {"annotation": annotation}),
        ("ANNOTATIONS_DELETED", {"annotations": [{"id": 2}, {"id": 3}]}),
    ):
        assert (
            client.post("/webhook", json={"action": action, "project": {"id": project_id}, **more}).status_code == 200
        )
    assert client.get(f"/projects/{project_id}/status").json()["automatic"] == {"changed": 3, "train_after": 10}
    assert "3 of 10 until the next training" in client.get(f"/review/{project_id}", headers=page).text
    client.post("/train", json={"project": project_id})
    assert client.get(f"/projects/{project_id}/status").json()["automatic"]["changed"] == 0


def test_a_training_that_waits_is_cancelled_over_http(client: TestClient, studio: FakeLabelStudio) -> None:
    project_id = LabelStudio(studio.url, studio.token).create_project("to cancel", CONFIG)["id"]
    assert client.post(f"/projects/{project_id}/cancel").json() == {"status": "none"}
    assert client.post("/train", json={"project": project_id}).status_code == 201
    assert client.post(f"/projects/{project_id}/cancel").json() == {"status": "cancelling"}
    status = client.get(f"/projects/{project_id}/status").json()
    assert (status["phase"], status["queue"]) == ("idle", {"queued": 0, "workers": 0})
    assert status["cancelled"].endswith("+00:00")
    assert client.post("/projects/0/cancel").status_code == 400


@pytest.mark.parametrize("name", ["41-webhook-ANNOTATION_CREATED.json", "43-webhook-ANNOTATIONS_DELETED.json"])
def test_other_events_are_thanked_for_and_train_nothing(client: TestClient, name: str) -> None:
    answer = client.post("/webhook", json=recorded(name))
    assert answer.status_code == 200
    assert answer.json()["status"] == "noted"


def test_an_unknown_job_gets_404(client: TestClient) -> None:
    assert client.post("/job_status", json={"job": "train-1-999"}).status_code == 404


def test_metrics_are_in_prometheus_format(client: TestClient) -> None:
    text = client.get("/metrics").text
    assert re.search(r"^samloop_predict_seconds_count \d", text, re.MULTILINE)
    assert re.search(r"^samloop_embeddings_computed \d", text, re.MULTILINE)


def test_versions_name_the_base(client: TestClient) -> None:
    assert (
        client.get("/versions").json()["versions"][0]
        == client.post("/setup", json={"project": "77.1"}).json()["model_version"]
    )


def test_the_front_door_leads_a_browser_to_the_projects_and_tells_a_probe_the_health(client: TestClient) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    answer = client.get("/", headers=browser, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/review")
    assert client.get("/", headers=browser).headers["content-type"].startswith("text/html")
    assert client.get("/", headers={"Accept": "*/*"}).json() == client.get("/health").json()


def test_the_page_of_the_endpoints_takes_nothing_from_another_host(client: TestClient) -> None:
    page = client.get("/docs").text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert any(asset.endswith("swagger-ui-bundle.js") for asset in loaded)
    for asset in loaded:
        assert asset.startswith("/"), asset
        assert client.get(asset).status_code == 200, asset
    examples = client.get("/openapi.json").json()["components"]["schemas"]["PredictBody"]["examples"]
    assert examples[0]["tasks"], "a request to try"


def test_health_and_setup_answer_while_the_model_loads(
    tiny_sam_dir: Path, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backend.serving import engine

    may_load = threading.Event()
    real = engine.load_base
    monkeypatch.setattr(engine, "load_base", lambda *args, **kwargs: may_load.wait(120) and real(*args, **kwargs))
    settings = Settings(model=str(tiny_sam_dir), model_dir=tmp_path / "models", cache_dir=tmp_path / "cache")
    with TestClient(create_app(settings, connection=Redis.from_url(redis_url)), base_url="http://localhost") as client:
        assert client.get("/health").json()["model"] == "loading"
        promised = client.post("/setup", json={"project": "1.1"}).json()["model_version"]
        may_load.set()
        wait_until(lambda: client.get("/health").json()["model"] == "ready")
        assert client.post("/setup", json={"project": "1.1"}).json()["model_version"] == promised


def test_with_redis_away_a_training_is_refused_and_clicks_go_on(tiny_sam_dir: Path, tmp_path: Path) -> None:
    settings = Settings(model=str(tiny_sam_dir), model_dir=tmp_path / "models", cache_dir=tmp_path / "cache")
    away = Redis(unix_socket_path=str(tmp_path / "nobody.sock"))
    with TestClient(
        create_app(settings, connection=away), raise_server_exceptions=False, base_url="http://localhost"
    ) as client:
        answer = client.post("/webhook", json=recorded("40-webhook-START_TRAINING.json"))
        assert answer.status_code == 503
        assert "nothing was queued" in answer.json()["error"]
        assert client.get("/health").status_code == 200


def test_a_submitted_mask_is_compared_with_what_the_click_was_answered(
    client: TestClient, studio: FakeLabelStudio, project: dict[str, Any]
) -> None:
    """Status and metrics tell of it; the annotator left one mask as it was, and cut the other in half."""
    task = project["tasks"][5]
    body = interactive(project, task, keypoint(20, 20), keypoint(80, 80, label="Other"))
    (prediction,) = client.post("/predict", json=body).json()["results"]
    left, cut = prediction["result"]
    mask = mask_of(cut)
    half = mask & (np.arange(mask.shape[1]) <= np.median(np.nonzero(mask)[1]))
    cut["value"] = cut["value"] | {"rle": encode_mask(half)}
    label_studio = LabelStudio(studio.url, studio.token)
    submitted = label_studio.create_annotation(task["id"], [left, cut], lead_time=6.0)
    event = {"action": "ANNOTATION_CREATED", "annotation": submitted, "project": {"id": project["id"]}}
    assert client.post("/webhook", json=event).json() == {"status": "noted", "action": "ANNOTATION_CREATED"}

    wait_until(lambda: client.get(f"/projects/{project['id']}/status").json()["live"])

    live = client.get(f"/projects/{project['id']}/status").json()["live"][prediction["model_version"]]
    assert (live["n"], live["untouched"], live["lead_time_s"], live["labels"]["Coin"]["iou"]) == (2, 0.5, 6.0, 1.0)
    assert live["labels"]["Other"]["iou"] == pytest.approx(np.count_nonzero(half) / np.count_nonzero(mask), abs=1e-5)
    labels = f'{{project="{project["id"]}",version="{prediction["model_version"]}"}}'
    told = client.get("/metrics").text
    assert f"samloop_live_masks{labels} 2.0" in told
    assert f"samloop_live_boundary_iou_ema{labels} {live['boundary_iou_ema']}" in told
    # A comparison can be read a moment before what waited for it is crossed out.
    wait_until(lambda: "samloop_live_waiting 0.0" in client.get("/metrics").text)


def test_a_key_that_label_studio_refuses_is_not_told_as_the_callers_own(
    tiny_sam_dir: Path, redis_url: str, studio: FakeLabelStudio, project: dict[str, Any], tmp_path: Path
) -> None:
    """Label Studio tells of a 401 that the backend's user and password are wrong, and those are right."""
    settings = Settings(
        model=str(tiny_sam_dir),
        model_dir=tmp_path / "models",
        cache_dir=tmp_path / "cache",
        label_studio_url=studio.url,
        label_studio_api_key="0" * 40,
    )
    app = create_app(settings, connection=Redis.from_url(redis_url))
    with TestClient(app, raise_server_exceptions=False, base_url="http://localhost") as client:
        answer = client.post("/predict", json=interactive(project, project["tasks"][0], keypoint(50, 50)))
    assert answer.status_code == 424
    assert "WWW-Authenticate" not in answer.headers
    assert "LABEL_STUDIO_API_KEY" in answer.json()["error"]
