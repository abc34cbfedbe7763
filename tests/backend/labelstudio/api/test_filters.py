"""Tabs are made once, keep what people changed, and say what comes next."""

from collections.abc import Iterator

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.studio_setup import StudioSetup

from backend.labelstudio.api.filters import number_filter


@pytest.fixture
def client() -> Iterator[StudioSetup]:
    with FakeLabelStudio() as studio:
        yield StudioSetup(studio.url, studio.token)


@pytest.fixture
def project(client: StudioSetup) -> int:
    made = int(client.create_project("x", "<View/>")["id"])
    client.import_tasks(made, [{"data": {"image": f"/{number}.png"}} for number in range(4)])
    return made


def test_a_tab_is_made_after_label_studios_own_and_changed_the_next_time(client: StudioSetup, project: int) -> None:
    first = client.tabs.save(project, "Next", ordering=["tasks:id"])
    again = client.tabs.save(project, "Next", ordering=["-tasks:id"], filters=[number_filter("id", "greater", 2)])
    assert first == again
    titles = {tab["data"]["title"]: tab["data"] for tab in client.tabs.all(project)}
    assert list(titles) == ["Default", "Next"]
    assert titles["Next"]["ordering"] == ["-tasks:id"]
    assert titles["Next"]["filters"]["items"] == [
        {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": 2}
    ]


def test_what_comes_next_is_not_annotated_and_goes_round(client: StudioSetup, project: int) -> None:
    ids = [int(task["id"]) for task in client.tasks(project)]
    client.create_annotation(ids[1], [])
    upcoming = client.tabs.upcoming(project, after=ids[2], limit=3)
    assert [task["id"] for task in upcoming] == [ids[3], ids[0]]
