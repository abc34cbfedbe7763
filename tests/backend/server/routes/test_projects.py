"""What a project's paths tell and steer: refreshes, refusals, counts, cancelling, live evaluation."""

import re
import zlib
from typing import Any

import numpy as np
import pytest
from fakes.label_studio import FakeLabelStudio
from redis import Redis
from starlette.testclient import TestClient
from support.payloads import COINS, click_at, draw_blocks, read_mask, write_request
from support.waiting import wait_until

from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.rle import encode_mask


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
    assert client.post("/predict", json=write_request(project, lost, click_at(50, 50))).status_code >= 400
    refusal, *_ = wait_until(lambda: client.get(f"/projects/{project['id']}/status").json()["refusals"])
    assert refusal["task"] == task["id"]
    page = client.get(f"/review/{project['id']}", headers={"Host": "127.0.0.1:9090"}).text
    assert "Last refusals" in page
    assert f"task {task['id']}" in page
    assert client.post("/predict", json=write_request(project, task, click_at(50, 50))).status_code == 200
    told = [record.getMessage() for record in caplog.records if record.name == "backend.server.routes.predicting"]
    assert told[0].startswith(f"a click in project {project['id']} on task {task['id']} was refused: ")
    assert re.fullmatch(
        rf"click project={project['id']}\.\d+ tasks=1 task={task['id']} regions=\d version=\S+ ms=\d+", told[1]
    )


def test_changed_and_deleted_annotations_count_until_the_next_training(
    client: TestClient, shared_studio: FakeLabelStudio
) -> None:
    label_studio = LabelStudio(shared_studio.url, shared_studio.token)
    project_id = int(label_studio.create_project("counted", COINS)["id"])
    label_studio.import_images(project_id, {"counted.jpg": draw_blocks(0)})
    (task,) = label_studio.tasks(project_id)
    page = {"Host": "127.0.0.1:9090", "Origin": "http://127.0.0.1:9090"}
    assert client.post(f"/review/{project_id}/train-after", data={"number": "ten"}, headers=page).status_code == 400
    kept = client.post(f"/review/{project_id}/train-after", data={"number": "10"}, headers=page, follow_redirects=False)
    assert kept.status_code == 303
    annotation = label_studio.create_annotation(task["id"], [])
    for action, about in (
        ("ANNOTATION_CREATED", {"annotation": annotation}),
        ("ANNOTATION_UPDATED", {"annotation": annotation}),
        ("ANNOTATIONS_DELETED", {"annotations": [{"id": annotation["id"] + more} for more in (1, 2)]}),
    ):
        assert (
            client.post("/webhook", json={"action": action, "project": {"id": project_id}, **about}).status_code == 200
        )
    assert client.get(f"/projects/{project_id}/status").json()["automatic"] == {"changed": 3, "train_after": 10}
    assert "3 of 10 until the next training" in client.get(f"/review/{project_id}", headers=page).text
    client.post("/train", json={"project": project_id})
    assert client.get(f"/projects/{project_id}/status").json()["automatic"]["changed"] == 0


def test_a_training_that_waits_is_cancelled_over_http(client: TestClient, shared_studio: FakeLabelStudio) -> None:
    project_id = LabelStudio(shared_studio.url, shared_studio.token).create_project("to cancel", COINS)["id"]
    assert client.post(f"/projects/{project_id}/cancel").json() == {"status": "none"}
    assert client.post("/train", json={"project": project_id}).status_code == 201
    assert client.post(f"/projects/{project_id}/cancel").json() == {"status": "cancelling"}
    status = client.get(f"/projects/{project_id}/status").json()
    assert (status["phase"], status["queue"]) == ("idle", {"queued": 0, "workers": 0})
    assert status["cancelled"].endswith("+00:00")
    assert client.post("/projects/0/cancel").status_code == 400


def test_a_submitted_mask_is_compared_with_what_the_click_was_answered(
    client: TestClient, shared_studio: FakeLabelStudio, project: dict[str, Any]
) -> None:
    """Status and metrics tell of it; the annotator left one mask as it was, and cut the other in half."""
    task = project["tasks"][5]
    body = write_request(project, task, click_at(20, 20), click_at(80, 80, label="Other"))
    (prediction,) = client.post("/predict", json=body).json()["results"]
    left, cut = prediction["result"]
    mask = read_mask(cut)
    half = mask & (np.arange(mask.shape[1]) <= np.median(np.nonzero(mask)[1]))
    cut["value"] = cut["value"] | {"rle": encode_mask(half)}
    label_studio = LabelStudio(shared_studio.url, shared_studio.token)
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
