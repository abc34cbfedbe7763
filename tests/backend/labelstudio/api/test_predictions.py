"""A project's predictions: what lacks one, storing many at once, deleting a version's."""

from collections.abc import Iterator

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.studio_setup import StudioSetup

from backend.labelstudio.api.predictions import PredictionStore


@pytest.fixture
def studio() -> Iterator[FakeLabelStudio]:
    with FakeLabelStudio() as fake:
        yield fake


def test_untouched_tasks_know_the_versions_of_their_predictions(studio: FakeLabelStudio) -> None:
    client = StudioSetup(studio.url, studio.token)
    project = int(client.create_project("x", "<View/>")["id"])
    client.import_tasks(project, [{"data": {"image": f"/{number}.png"}} for number in range(3)])
    ids = [int(task["id"]) for task in client.tasks(project)]
    client.create_annotation(ids[0], [])
    store = PredictionStore(studio.url, studio.token, project_id=project)
    rows = [{"task": task_id, "result": [], "score": 0.5, "model_version": "v1"} for task_id in ids[1:]]
    assert store.add(rows) == 2

    states, total = store.list_untouched(after=0, limit=10)
    assert ([state.task_id for state in states], total) == (ids[1:], 2)
    assert {state.versions for state in states} == {frozenset({"v1"})}
    assert store.count_annotated() == 1
    assert store.counts() == {"v1": 2}
    assert store.delete_version("v1") == 2
    assert store.counts() == {}
