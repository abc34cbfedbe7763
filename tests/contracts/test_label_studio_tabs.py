"""One contract, two Label Studios: the data manager's tabs, and what analysts find there."""

import json

import pytest

from backend.cli.project import SCORES_TAB, show_analysts
from backend.errors import BadInput, NotFound
from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.api.filters import filter_untouched
from backend.review.tasks import TAB, send_to_labelling

NOT_ANNOTATED = {"filter": "filter:tasks:total_annotations", "operator": "equal", "type": "Number", "value": 0}


def test_a_tab_is_made_once_and_changed_when_it_is_saved_again(client: LabelStudio, project_id: int) -> None:
    order, columns = ["tasks:predictions_score"], ["predictions_score", "predictions_model_versions"]
    made = client.tabs.save(project_id, "Least certain", ordering=order, filters=[NOT_ANNOTATED], shown=columns)
    other = client.tabs.save(project_id, "Newest", ordering=["-tasks:id"])
    assert client.tabs.save(project_id, "Least certain", ordering=["-tasks:predictions_score"]) == made != other

    tabs = {tab["data"]["title"]: tab for tab in client.tabs.all(project_id)}

    assert list(tabs) == ["Default", "Least certain", "Newest"], "the editor makes no Default beside tabs of others"
    assert tabs["Least certain"]["id"] == made
    data = tabs["Least certain"]["data"]
    assert data["ordering"] == ["-tasks:predictions_score"]
    assert data["filters"]["items"] == []
    hidden = data["hiddenColumns"]["explore"]
    assert "tasks:updated_at" in hidden, "what is hidden by default stays hidden"
    assert not {f"tasks:{name}" for name in columns} & set(hidden)


def test_a_tabs_order_and_filter_are_those_that_the_data_manager_applies(client: LabelStudio, project_id: int) -> None:
    """As the data manager does it: the tab's own order and filter, asked for as a query."""
    client.tabs.save(project_id, "Least certain", ordering=["tasks:predictions_score"], filters=[NOT_ANNOTATED])
    client.import_tasks(project_id, [{"data": {"image": f"/data/upload/{number}.png"}} for number in range(3)])
    ids = sorted(task["id"] for task in client.tasks(project_id))
    for task_id, score in zip(ids, (0.9, 0.2, 0.5), strict=True):
        client.create_prediction(task_id, result=[], score=score, model_version="v1")
    client.create_annotation(ids[2], [])
    client.update_project(project_id, model_version="v1")  # the score is that of the version which the project names
    (tab,) = [view["data"] for view in client.tabs.all(project_id) if view["data"]["title"] == "Least certain"]
    query = json.dumps({"filters": tab["filters"], "ordering": tab["ordering"]})

    found = client._session.get("/api/tasks", project=project_id, query=query)

    assert [task["id"] for task in found["tasks"]] == [ids[1], ids[0]]


def test_a_tab_may_hold_just_the_tasks_that_somebody_chose(client: LabelStudio, project_id: int) -> None:
    client.import_tasks(project_id, [{"data": {"image": f"/data/upload/{number}.png"}} for number in range(4)])
    ids = sorted(task["id"] for task in client.tasks(project_id))
    client.create_annotation(ids[3], [])
    url = send_to_labelling(client, project_id, [str(ids[3]), str(ids[1])])
    assert send_to_labelling(client, project_id, [str(ids[3]), str(ids[1])]) == url, "the same tab once more"
    (tab,) = [view for view in client.tabs.all(project_id) if view["data"]["title"] == TAB]
    assert url == f"{client.url}/projects/{project_id}/data?tab={tab['id']}"
    query = json.dumps({"filters": tab["data"]["filters"], "ordering": tab["data"]["ordering"]})

    found = client._session.get("/api/tasks", project=project_id, query=query)

    assert [task["id"] for task in found["tasks"]] == [ids[1], ids[3]]


def test_a_tab_of_no_project_is_an_error(client: LabelStudio) -> None:
    with pytest.raises((BadInput, NotFound), match="/api/dm/"):
        client.tabs.save(999_999, "Least certain")


def test_analysts_find_the_tab_and_the_page_and_a_second_time_changes_nothing(
    client: LabelStudio, project_id: int
) -> None:
    client.update_project(project_id, description="Coins & <b>keys</b>.\nOn a table.")
    url = f"http://127.0.0.1:9090/review/{project_id}"
    for _ in range(2):
        show_analysts(client, project_id, review_url=url)
    assert client.project(project_id)["description"] == (
        f"Coins & <b>keys</b>.\nOn a table.\n\nsamloop, what got tighter: {url}"
    )
    instructions = client.project(project_id)["expert_instruction"]
    assert instructions == f'<p><a href="{url}">samloop: what got tighter</a></p>', (
        "as Label Studio's cleaning leaves it"
    )
    assert [tab["data"]["title"] for tab in client.tabs.all(project_id)] == ["Default", SCORES_TAB]
    default, ours = (tab["data"]["hiddenColumns"]["explore"] for tab in client.tabs.all(project_id))
    assert "tasks:updated_at" in default, "it hides what Label Studio's own hides"
    assert "tasks:annotators" not in default
    assert "tasks:annotators" in ours, "else the image is off the screen"
    assert "tasks:predictions_score" not in ours


def test_a_tab_of_chosen_tasks_loses_those_that_are_annotated(client: LabelStudio, project_id: int) -> None:
    client.import_tasks(project_id, [{"data": {"image": f"/data/upload/{number}.png"}} for number in range(3)])
    ids = sorted(task["id"] for task in client.tasks(project_id))
    chosen = [filter_untouched(task_id) for task_id in ids[:2]]
    for _ in range(2):  # made, and changed
        client.tabs.save(project_id, "Next", ordering=["tasks:id"], filters=chosen, conjunction="or")
    client.create_annotation(ids[0], [])
    (tab,) = [view["data"] for view in client.tabs.all(project_id) if view["data"]["title"] == "Next"]
    query = json.dumps({"filters": tab["filters"], "ordering": tab["ordering"]})
    found = client._session.get("/api/tasks", project=project_id, query=query)
    assert [task["id"] for task in found["tasks"]] == [ids[1]]
