"""Many predictions at once: one contract, the fake Label Studio and the real one."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from fakes.ml_backend import ml_backend

from backend.errors import BadInput
from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.api.predictions import PredictionStore
from backend.refresh.old_predictions import delete_version

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Coin"/></BrushLabels></View>'
)


@pytest.fixture
def store(studio: Any, client: LabelStudio) -> Iterator[PredictionStore]:
    project_id = int(client.create_project("predictions", CONFIG)["id"])
    client.import_tasks(project_id, [{"data": {"image": f"http://127.0.0.1:9/{number}.png"}} for number in range(6)])
    yield PredictionStore(studio.url, studio.token, project_id=project_id)
    client.delete_project(project_id)


@pytest.fixture
def ids(store: PredictionStore) -> list[int]:
    return [task.task_id for task in store.list_untouched(after=0, limit=100)[0]]


def row(task_id: int, version: str, *, label: str = "Coin") -> dict[str, Any]:
    value = {"format": "rle", "rle": [0, 0, 0, 64, 1, 2, 3], "brushlabels": [label]}
    region = {
        "id": "r1",
        "from_name": "brush",
        "to_name": "image",
        "type": "brushlabels",
        "value": value,
        "original_width": 4,
        "original_height": 4,
        "image_rotation": 0,
        "meta": {"model_version": version},
    }
    return {"task": task_id, "result": [region], "score": 0.25, "model_version": version}


def draft(studio: Any, task_id: int) -> None:
    """What the editor saves by itself while somebody draws."""
    requests.post(
        f"{studio.url}/api/tasks/{task_id}/drafts",
        headers={"Authorization": f"Token {studio.token}"},
        json={"result": row(task_id, "person")["result"], "lead_time": 1},
        timeout=30,
    ).raise_for_status()


def test_untouched_tasks_come_by_id_with_their_versions(
    studio: Any, client: LabelStudio, store: PredictionStore, ids: list[int]
) -> None:
    client.create_annotation(ids[0], [])
    client.create_annotation(ids[1], [], was_cancelled=True)
    draft(studio, ids[2])
    assert store.add([row(ids[3], "v1"), row(ids[3], "v2"), row(ids[5], "v1")]) == 3

    found, total = store.list_untouched(after=0, limit=2)
    rest, left = store.list_untouched(after=found[-1].task_id, limit=2)

    assert [(state.task_id, state.versions, state.stored) for state in (*found, *rest)] == [
        (ids[3], {"v1", "v2"}, 2),
        (ids[4], frozenset(), 0),
        (ids[5], {"v1"}, 1),
    ]
    assert (total, left) == (3, 1)
    assert found[0].data == {"image": "http://127.0.0.1:9/3.png"}
    assert store.list_untouched(after=ids[-1], limit=2)[0] == []


def test_a_task_tells_whether_it_was_touched_or_is_gone(
    studio: Any, client: LabelStudio, store: PredictionStore, ids: list[int]
) -> None:
    client.create_annotation(ids[0], [])
    client.create_annotation(ids[1], [], was_cancelled=True)
    draft(studio, ids[2])
    states = store.states([*ids[:4], 10**9])
    assert {key: state.touched for key, state in states.items()} == dict(
        zip(ids, [True, True, True, False], strict=False)
    )
    assert store.states([]) == {}


def test_full_tasks_hold_their_predictions(store: PredictionStore, ids: list[int]) -> None:
    store.add([row(ids[1], "v1")])
    (task,) = store.tasks([ids[1]])
    assert [prediction["model_version"] for prediction in task["predictions"]] == ["v1"]
    assert task["data"]["image"] == "http://127.0.0.1:9/1.png"
    assert store.tasks([]) == []


def test_a_batch_with_a_task_that_is_gone_is_refused_as_a_whole(store: PredictionStore, ids: list[int]) -> None:
    with pytest.raises(BadInput, match=r"refused POST .*import/predictions"):
        store.add([row(ids[0], "v1"), row(10**9, "v1")])
    assert store.counts() == {}


def test_a_label_that_the_project_lacks_is_left_out_in_silence(store: PredictionStore, ids: list[int]) -> None:
    assert store.add([row(ids[0], "v1"), row(ids[1], "v1", label="Nut")]) == 1
    assert store.counts() == {"v1": 1}


def test_doubles_go_and_the_first_one_stays(client: LabelStudio, store: PredictionStore, ids: list[int]) -> None:
    store.add([row(ids[0], "v1"), row(ids[0], "v1"), row(ids[0], "v2"), row(ids[0], "v1")])
    first = min(prediction["id"] for prediction in client.predictions(task_id=ids[0]))
    assert store.states([ids[0]])[ids[0]].stored == 4
    assert store.remove_doubles(ids[0], "v1") == 2
    assert {prediction["id"]: prediction["model_version"] for prediction in client.predictions(task_id=ids[0])}[
        first
    ] == "v1"
    store.add([row(ids[1], "v1")])  # Label Studio counts anew when it adds, not when it deletes
    assert store.states([ids[0]])[ids[0]].stored == 2


def test_an_old_version_goes_but_from_tasks_that_people_touched(
    client: LabelStudio, store: PredictionStore, ids: list[int]
) -> None:
    store.add([row(task_id, version) for task_id in ids for version in ("v1", "v2")])
    assert not store.on_touched_tasks("v1")
    client.create_annotation(ids[2], [])
    assert store.on_touched_tasks("v1")
    assert not store.on_touched_tasks("v3")
    assert delete_version("v1", store=store, patiently=lambda ask: ask()) == 5
    assert store.counts() == {"v1": 1, "v2": 6}
    assert [state.versions for state in store.states(ids).values()].count(frozenset({"v2"})) == 5
    assert {prediction["model_version"] for prediction in client.predictions(task_id=ids[2])} == {"v1", "v2"}


def test_the_lowest_scores_of_the_version_that_is_shown_come_first(
    client: LabelStudio, store: PredictionStore, ids: list[int]
) -> None:
    for task_id, score in zip(ids, (0.9, 0.2, 0.5, 0.7, 0.1, 0.3), strict=True):
        store.add([row(task_id, "v1") | {"score": score}])
    store.show("v1")
    client.create_annotation(ids[4], [])
    assert store.lowest_scores(limit=4) == [ids[1], ids[5], ids[2], ids[3]]
    assert store.count_annotated() == 1


def test_deleting_a_whole_version_takes_live_answers_off_the_screen(
    client: LabelStudio, store: PredictionStore, ids: list[int]
) -> None:
    """Which is why a refresh shows again what was shown."""
    store.add([row(task_id, version) for task_id in ids for version in ("v1", "v2")])
    with ml_backend() as (url, _):
        client.backends.connect(store.project_id, url=url, title="samloop")
        store.show("samloop")
        assert store.delete_version("v1") == 6
        assert not store.project()["model_version"]
        store.show("samloop")
        assert store.project()["model_version"] == "samloop"
    assert {version: count for version, count in store.counts().items() if count} == {"v2": 6}
    assert {state.versions for state in store.states(ids).values()} == {frozenset({"v2"})}
