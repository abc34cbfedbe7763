"""One contract, two Label Studios: the fake that other tests stand on, and the real one.

Whatever holds here for the real one holds for the fake, so that a test on the fake means something.
"""

import json
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from fakes.ml_backend import ml_backend
from fakes.regions import brush_region, control_of
from fakes.studio_setup import StudioSetup
from PIL import Image
from support.pictures import encode_image
from support.waiting import wait_until

from backend.errors import BadInput, NotAuthorized, NotFound, Upstream
from backend.images.source import ImageSource
from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.controls.regions import mask_of_region
from backend.labelstudio.controls.results import regions_of_mask
from backend.labelstudio.webhook import annotation_changes
from backend.live.evaluation import LiveEvaluation
from backend.live.figures import VersionFigures
from backend.masks.metrics import iou
from backend.masks.rasterize import fill_ellipse
from backend.settings import Settings


class Studio(Protocol):
    url: str
    token: str

    def personal_access_token(self) -> str: ...


def png(side_px: int = 8) -> bytes:
    return encode_image(Image.new("RGB", (side_px, side_px), "teal"))


def test_either_kind_of_key_is_accepted_and_names_its_owner(studio: Studio) -> None:
    for key in (studio.token, studio.personal_access_token()):
        assert "@" in StudioSetup(studio.url, key).whoami()


@pytest.mark.parametrize("key", ["0" * 40, "eyJhbGciOiJIUzI1NiJ9.e30.bm8"])
def test_a_wrong_key_is_refused_with_the_next_step(studio: Studio, key: str) -> None:
    with pytest.raises(NotAuthorized, match="LABEL_STUDIO_API_KEY is not accepted"):
        StudioSetup(studio.url, key).whoami()


def test_a_project_comes_back_with_its_label_config(client: LabelStudio, project_id: int) -> None:
    project = client.project(project_id)
    assert control_of(project["label_config"], "brushlabels") is not None
    assert client.update_project(project_id, title="another")["title"] == "another"
    with pytest.raises(NotFound, match="has no project 999999"):
        client.project(999_999)


def test_upcoming_tasks_are_those_that_the_label_stream_brings_next(client: LabelStudio, project_id: int) -> None:
    client.import_tasks(project_id, [{"data": {"image": f"/data/upload/{number}.png"}} for number in range(8)])
    ids = sorted(task["id"] for task in client.tasks(project_id))
    for done in (ids[0], ids[4]):
        client.create_annotation(done, [])

    def upcoming(after: int, limit: int) -> list[int]:
        return [task["id"] for task in client.tabs.upcoming(project_id, after=after, limit=limit)]

    assert upcoming(ids[2], 3) == [ids[3], ids[5], ids[6]]
    assert upcoming(ids[6], 3) == [ids[7], ids[1], ids[2]], "after the last one the stream begins anew"
    assert client.tabs.upcoming(project_id, after=ids[2], limit=1)[0]["data"]["image"]
    with pytest.raises(NotFound, match="/api/projects/999999/"):
        client.tabs.upcoming(999_999, after=0, limit=1)


def test_with_uncertainty_sampling_the_lowest_scores_come_next(client: LabelStudio, project_id: int) -> None:
    client.import_tasks(project_id, [{"data": {"image": f"/data/upload/{number}.png"}} for number in range(4)])
    ids = sorted(task["id"] for task in client.tasks(project_id))
    for task_id, score in zip(ids, (0.9, 0.2, 0.5, 0.7), strict=True):
        client.create_prediction(task_id, result=[], score=score, model_version="v1")
    client.update_project(project_id, sampling="Uncertainty sampling", model_version="v1")

    found = [task["id"] for task in client.tabs.upcoming(project_id, after=ids[2], limit=3)]

    assert found == [ids[1], ids[3], ids[0]]


def test_uploads_become_tasks_in_pages_and_their_bytes_need_the_key(studio: Studio, project_id: int) -> None:
    client = StudioSetup(studio.url, studio.personal_access_token())
    assert client.import_images(project_id, {f"{number}.png": png(number + 1) for number in range(7)}) == 7
    assert client.project(project_id)["task_number"] == 7
    for page_size in (1, 3, 7, 100):
        tasks = list(client.tasks(project_id, page_size=page_size))
        assert len({task["id"] for task in tasks}) == len(tasks) == 7
    path = tasks[0]["data"]["image"]
    assert path.startswith("/data/upload/")
    source = ImageSource(settings=Settings(), label_studio=client)
    assert source.fetch(path) == source.fetch(studio.url + path)
    assert {source.fetch(task["data"]["image"]) for task in tasks} == {png(number + 1) for number in range(7)}
    with pytest.raises(NotAuthorized, match="/data/upload/"):
        StudioSetup(studio.url, "0" * 40).get_bytes(path, max_bytes=10**6, deadline_s=5.0)
    with pytest.raises(BadInput, match="more than 10 bytes"):
        client.get_bytes(path, max_bytes=10, deadline_s=5.0)


def test_an_upload_that_is_gone_is_an_error_with_its_path(client: LabelStudio, project_id: int) -> None:
    with pytest.raises((Upstream, NotFound), match=r"/data/upload/1/gone\.png"):
        client.get_bytes("/data/upload/1/gone.png", max_bytes=10**6, deadline_s=5.0)


def test_tasks_of_an_empty_project_and_of_none(client: LabelStudio, project_id: int) -> None:
    assert list(client.tasks(project_id)) == []
    with pytest.raises(NotFound, match="999999"):
        list(client.tasks(999_999))


def test_annotations_and_predictions_come_with_the_tasks(client: LabelStudio, project_id: int) -> None:
    client.import_tasks(project_id, [{"data": {"image": "http://127.0.0.1:9/x.png"}}] * 2)
    first, second = client.tasks(project_id)
    client.create_annotation(first["id"], [], lead_time=2.5, was_cancelled=True)
    made = client.create_prediction(second["id"], result=[], score=0.5, model_version="v1")
    first, second = client.tasks(project_id)
    assert [(annotation["was_cancelled"], annotation["lead_time"]) for annotation in first["annotations"]] == [
        (True, 2.5)
    ]
    assert [(prediction["model_version"], prediction["score"]) for prediction in second["predictions"]] == [("v1", 0.5)]
    assert client.task(first["id"])["annotations"][0]["was_cancelled"]
    assert [prediction["id"] for prediction in client.predictions(project_id=project_id)] == [made["id"]]
    assert client.predictions(task_id=first["id"]) == []
    client.delete_prediction(made["id"])
    assert client.predictions(task_id=second["id"]) == []


def test_annotated_tasks_that_changed_after_a_date_come_with_their_annotations(
    client: LabelStudio, project_id: int
) -> None:
    """Once nothing has changed since, the answer is empty."""
    client.import_images(project_id, {"a.png": png(), "b.png": png(9)})
    first, _ = sorted(client.tasks(project_id), key=lambda task: int(task["id"]))
    annotation = client.create_annotation(first["id"], [])
    after = "2020-01-05T09:30:00.000000Z"
    (changed,) = client.list_annotated_since(project_id, after=after, most=10)
    assert (changed["id"], changed["annotations"][0]["id"]) == (first["id"], annotation["id"])
    assert changed["updated_at"] >= annotation["updated_at"]
    assert list(client.list_annotated_since(project_id, after=changed["updated_at"], most=10)) == []


def test_deleted_annotations_are_told_from_those_that_are_still_there(client: LabelStudio, project_id: int) -> None:
    """The data manager shows no more of a task's ids than fit into 500 characters."""
    client.import_tasks(project_id, [{"data": {"image": f"/data/upload/{number}.png"}} for number in range(3)])
    crowded, deleted, emptied = sorted(task["id"] for task in client.tasks(project_id))
    kept = [int(client.create_annotation(crowded, [])["id"]) for _ in range(130)]
    gone, beside, alone = (int(client.create_annotation(task, [])["id"]) for task in (deleted, crowded, emptied))
    client.create_annotation(crowded, [], was_cancelled=True)
    assert client.annotations.count(project_id) == 133
    client._session.send("DELETE", f"/api/tasks/{deleted}/")
    for annotation_id in (beside, alone):
        client._session.send("DELETE", f"/api/annotations/{annotation_id}/")
    assert client.annotations.count(project_id) == 130
    assert client.annotations.find_deleted(project_id, [*kept, gone, beside, alone]) == sorted([gone, beside, alone])
    with pytest.raises(NotFound, match="/api/projects/999999/"):
        client.annotations.count(999_999)


@pytest.mark.parametrize("kind", ["Brush", "Bitmask", "Polygon", "Ellipse", "Rectangle"])
def test_regions_of_every_kind_come_back_unchanged(client: LabelStudio, label_config: str, kind: str) -> None:
    config = label_config.replace("BrushLabels", f"{kind}Labels")
    project_id = int(client.create_project("shapes", config)["id"])
    client.import_tasks(project_id, [{"data": {"image": "http://127.0.0.1:9/x.png"}}])
    (task,) = client.tasks(project_id)
    control = control_of(config, f"{kind.lower()}labels")
    assert control is not None
    mask = fill_ellipse(
        center_x_px=30.0,
        center_y_px=20.0,
        radius_x_px=20.0,
        radius_y_px=10.0,
        rotation_deg=30.0,
        height_px=40,
        width_px=60,
    )
    regions = regions_of_mask(mask, control=control, label="Coin", score=0.75, model_version="v1")
    client.create_prediction(task["id"], result=regions, score=0.75, model_version="v1")
    client.create_annotation(task["id"], regions)
    stored = client.task(task["id"])
    for held in (*stored["annotations"], *stored["predictions"]):
        assert held["result"] == regions
    (region,) = stored["annotations"][0]["result"]
    again = mask_of_region(region, height_px=40, width_px=60, rectangles_are_masks=True)
    assert iou(again, mask) > (0.5 if kind == "Rectangle" else 0.95)
    client.delete_project(project_id)


def test_a_static_version_must_be_one_that_a_prediction_carries(client: LabelStudio, project_id: int) -> None:
    client.import_tasks(project_id, [{"data": {"image": "http://127.0.0.1:9/x.png"}}])
    (task,) = client.tasks(project_id)
    with pytest.raises(BadInput, match="refused PATCH"):
        client.update_project(project_id, model_version="never-seen")
    client.create_prediction(task["id"], result=[], score=0.5, model_version="seen")
    assert client.update_project(project_id, model_version="seen")["model_version"] == "seen"


def test_connecting_twice_gives_one_backend_and_one_webhook_with_credentials(
    client: LabelStudio, project_id: int
) -> None:
    with ml_backend() as (url, calls):
        first = client.backends.connect(project_id, url=url, title="samloop", basic_auth=("user", "pässword"))
        again = client.backends.connect(project_id, url=url + "/", title="samloop", basic_auth=("user", "pässword"))
        assert first == again
        (known,) = client.backends.all(project_id)
        assert (known["url"], known["is_interactive"], known["model_version"]) == (url, True, "stub-v1")
        (webhook,) = client.backends.webhooks(project_id)
        assert webhook["url"] == f"{url}/webhook"
        assert webhook["headers"] == {"Authorization": "Basic dXNlcjpww6Rzc3dvcmQ="}
        assert {path for path, *_ in calls} >= {"/health", "/setup"}


def test_connecting_without_credentials_takes_old_ones_away(client: LabelStudio, project_id: int) -> None:
    with ml_backend() as (url, _):
        client.backends.connect(project_id, url=url, title="samloop", basic_auth=("u", "p"))
        client.backends.connect(project_id, url=url, title="samloop")
        (webhook,) = client.backends.webhooks(project_id)
        assert webhook["headers"] == {}


def test_a_backend_that_is_away_cannot_be_connected(client: LabelStudio, project_id: int) -> None:
    with pytest.raises(BadInput, match="Can't connect to ML backend"):
        client.backends.connect(project_id, url="http://127.0.0.1:9", title="samloop")
    assert client.backends.all(project_id) == []


def test_an_annotation_reaches_the_webhook_and_training_the_backend(client: LabelStudio, project_id: int) -> None:
    client.import_tasks(project_id, [{"data": {"image": "http://127.0.0.1:9/x.png"}}])
    (task,) = client.tasks(project_id)
    with ml_backend() as (url, calls):
        backend_id = client.backends.connect(project_id, url=url, title="samloop", basic_auth=("u", "p"))
        client.create_annotation(task["id"], [])
        client.backends.start_training(backend_id)
        events = [(body, headers) for path, headers, body in calls if path == "/webhook"]
    assert any(b'"ANNOTATION_CREATED"' in body for body, _ in events)
    assert any(b'"START_TRAINING"' in body for body, _ in events)
    assert all(headers["Authorization"] == "Basic dTpw" for _, headers in events)


def test_an_interactive_request_returns_the_backends_prediction(client: LabelStudio, project_id: int) -> None:
    client.import_tasks(project_id, [{"data": {"image": "http://127.0.0.1:9/x.png"}}])
    (task,) = client.tasks(project_id)
    with ml_backend() as (url, calls):
        backend_id = client.backends.connect(project_id, url=url, title="samloop")
        found = client.backends.interactive(backend_id, task["id"], {"result": []})
        assert found["model_version"] == "stub-v1"
        assert any(path == "/predict" and b'"context": {"result": []}' in body for path, _, body in calls)


def test_an_interactive_failure_is_told_although_label_studio_answers_200(client: LabelStudio, project_id: int) -> None:
    client.import_tasks(project_id, [{"data": {"image": "http://127.0.0.1:9/x.png"}}])
    (task,) = client.tasks(project_id)
    with ml_backend(predict_status=500) as (url, _):
        backend_id = client.backends.connect(project_id, url=url, title="samloop")
        with pytest.raises(Upstream, match="the backend gave no prediction"):
            client.backends.interactive(backend_id, task["id"], {"result": []})


def test_retrieving_predictions_stores_them_with_their_version(client: LabelStudio, project_id: int) -> None:
    client.import_tasks(project_id, [{"data": {"image": "http://127.0.0.1:9/x.png"}}])
    with ml_backend() as (url, _):
        client.backends.connect(project_id, url=url, title="samloop")
        client.retrieve_predictions(project_id)
        assert [prediction["model_version"] for prediction in client.predictions(project_id=project_id)] == ["stub-v1"]


@pytest.mark.parametrize(("answer", "asked"), [([], 2), ({"result": [], "score": 0.0, "model_version": "stub-v1"}, 1)])
def test_a_task_answered_with_an_empty_list_is_asked_for_again_and_with_an_empty_prediction_never(
    client: LabelStudio, project_id: int, answer: object, asked: int
) -> None:
    """Why a batch that is out of time answers []: see backend.serving.batches."""
    client.import_tasks(project_id, [{"data": {"image": "http://127.0.0.1:9/x.png"}}])
    with ml_backend(result=answer) as (url, calls):
        client.backends.connect(project_id, url=url, title="samloop")
        for _ in range(2):
            client.retrieve_predictions(project_id)
        assert len(client.predictions(project_id=project_id)) == 2 - asked
        assert [path for path, _, _ in calls].count("/predict") == asked


def test_what_its_webhooks_tell_is_compared_with_the_prediction_it_began_as(
    client: LabelStudio, project_id: int, label_config: str, tmp_path: Path
) -> None:
    """Created, changed and deleted: the live evaluation from Label Studio's own events alone."""
    live = LiveEvaluation(tmp_path, label_studio=lambda _: client, max_pixels=10**6)
    client.import_tasks(project_id, [{"data": {"image": "http://127.0.0.1:9/x.png"}}])
    (task,) = client.tasks(project_id)
    control = control_of(label_config, "brushlabels")
    assert control is not None
    mask = np.zeros((40, 60), np.bool_)
    mask[10:30, 10:30] = True
    ours = brush_region(mask, control=control, label="Coin", score=0.5, model_version="v1")
    less = brush_region(
        mask & (np.arange(60) < 25), control=control, label="Coin", score=0.5, model_version="v1", region_id=ours["id"]
    )

    with ml_backend() as (url, calls):
        client.backends.connect(project_id, url=url, title="samloop")

        def figures() -> dict[str, VersionFigures]:
            """Of what arrived since, after the background thread would have had its turn."""
            events = [json.loads(body) for path, _, body in calls if path == "/webhook"]
            calls.clear()
            changes = [change for event in events for change in annotation_changes(event)]
            assert changes
            live.note_changes(project_id, changes)
            wait_until(lambda: not live.compare_waiting(), every_s=0.2)
            return live.figures(project_id)

        made = client.create_prediction(task["id"], result=[ours], score=0.5, model_version="v1")
        submitted = client.create_annotation(task["id"], [ours], parent_prediction=made["id"], lead_time=2.5)
        found = figures()["v1"]
        assert (found.n, found.iou, found.untouched, found.lead_time_s) == (1, 1.0, 1.0, 2.5)

        path = f"/api/annotations/{submitted['id']}/"
        client._session.send("PATCH", path, body={"result": [less], "lead_time": 4.0})
        found = figures()["v1"]
        assert (found.n, found.iou, found.untouched, found.lead_time_s) == (1, 0.75, 0.0, 4.0)

        client._session.send("DELETE", path)
        assert figures() == {}
