"""Old predictions go, but for those on tasks that people have touched."""

from collections.abc import Iterator
from typing import Any

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.studio_setup import StudioSetup

from backend.errors import NotFound
from backend.labelstudio.api.predictions import PredictionStore
from backend.refresh.old_predictions import delete_version

CONFIG = '<View><Image name="image" value="$image"/><Brush name="brush" toName="image"/></View>'


class Lab:
    """Four tasks, with a prediction of v1 and one of v2 on every task."""

    def __init__(self, studio: FakeLabelStudio) -> None:
        self.client = StudioSetup(studio.url, studio.token)
        project_id = int(self.client.create_project("p", CONFIG)["id"])
        self.client.import_tasks(project_id, [{"data": {"image": f"/{n}.png"}} for n in range(4)])
        self.store = PredictionStore(studio.url, studio.token, project_id=project_id)
        self.ids = sorted(task["id"] for task in self.client.tasks(project_id))
        for version in ("v1", "v2"):
            self.store.add(
                [{"task": task_id, "result": [], "score": 0.5, "model_version": version} for task_id in self.ids]
            )

    def versions(self, task_id: int) -> list[str]:
        return sorted(stored["model_version"] for stored in self.client.predictions(task_id=task_id))


@pytest.fixture
def lab() -> Iterator[Lab]:
    with FakeLabelStudio() as studio:
        yield Lab(studio)


def test_where_no_touched_task_holds_any_all_of_the_version_go_in_one_request(lab: Lab) -> None:
    assert delete_version("v1", store=lab.store, patiently=lambda ask: ask()) == 4
    assert [lab.versions(task_id) for task_id in lab.ids] == [["v2"]] * 4


def test_a_touched_task_keeps_what_its_annotation_may_have_begun_as(lab: Lab) -> None:
    lab.client.create_annotation(lab.ids[1], [])
    assert delete_version("v1", store=lab.store, patiently=lambda ask: ask()) == 3
    assert [lab.versions(task_id) for task_id in lab.ids] == [["v2"], ["v1", "v2"], ["v2"], ["v2"]]


def test_one_that_is_gone_already_is_no_failure(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose answer was lost had deleted it."""
    delete = PredictionStore.delete

    def lossy(self: PredictionStore, prediction_id: int) -> None:
        delete(self, prediction_id)
        raise NotFound("deleted a moment ago")

    monkeypatch.setattr(PredictionStore, "delete", lossy)
    lab.client.create_annotation(lab.ids[0], [])
    assert delete_version("v1", store=lab.store, patiently=lambda ask: ask()) == 3
    assert lab.store.counts() == {"v1": 1, "v2": 4}


def test_every_request_goes_through_the_callers_patience(lab: Lab) -> None:
    asked: list[Any] = []
    delete_version("v1", store=lab.store, patiently=lambda ask: asked.append(ask) or ask())
    assert len(asked) == 2, "the look at touched tasks, and the deletion"
