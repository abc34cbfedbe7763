"""Deleted annotations are told from others in few requests. With a real Label Studio: tests/contracts."""

from collections.abc import Iterator

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.studio_setup import StudioSetup

from backend.errors import Upstream


@pytest.fixture
def studio() -> Iterator[FakeLabelStudio]:
    with FakeLabelStudio() as studio:
        yield studio


def test_where_nothing_was_deleted_a_request_answers_for_200_annotations(studio: FakeLabelStudio) -> None:
    client = StudioSetup(studio.url, studio.token)
    project_id = int(client.create_project("many", "<View/>")["id"])
    client.import_tasks(project_id, [{"data": {}}] * 10)
    ids = [int(client.create_annotation(task["id"], [])["id"]) for task in client.tasks(project_id)]
    asked = len(studio.requests)
    assert client.annotations.find_deleted(project_id, ids * 25) == []
    assert client.annotations.find_deleted(project_id, []) == []
    assert len(studio.requests) == asked + 2


def test_a_label_studio_that_fails_is_no_deletion(studio: FakeLabelStudio) -> None:
    client = StudioSetup(studio.url, studio.token)
    project_id = int(client.create_project("many", "<View/>")["id"])
    studio.fail("/api/annotations/7/", status=502)
    with pytest.raises(Upstream, match="502"):
        client.annotations.find_deleted(project_id, [7])
    assert client.annotations.find_deleted(project_id, [7]) == [7]
