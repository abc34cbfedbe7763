"""Links to tasks in Label Studio, and its tab of tasks to label again."""

from collections.abc import Iterable
from urllib.parse import quote

from backend.errors import BadInput, NotFound
from backend.labelstudio.api.client import NAME_LABEL_STUDIO, LabelStudio

TAB = "samloop: label again"
_MOST = 500  # filters of one tab; Label Studio joins them into one query


def project_url(label_studio: LabelStudio | None, project_id: int) -> str | None:
    """The project's data manager in Label Studio; None where no Label Studio is known."""
    return None if label_studio is None else f"{label_studio.public_url}/projects/{project_id}/data"


def task_url(label_studio: LabelStudio | None, project_id: int, task_id: int | str | None) -> str | None:
    """The task in Label Studio's data manager; None where no Label Studio or no task is known."""
    if label_studio is None or task_id is None:
        return None
    return f"{label_studio.public_url}/projects/{project_id}/data?task={quote(str(task_id), safe='')}"


def send_to_labelling(label_studio: LabelStudio | None, project_id: int, task_ids: Iterable[str]) -> str:
    """Make a tab of the data manager that holds exactly these tasks, or fill it again; return its URL.

    Label Studio's API cannot put a task at the top of a label stream, and its streams, "Label Tasks As Displayed" too,
    skip annotated tasks (tests/e2e/test_label_stream.py). Every held-out task is annotated. So annotators open these
    tasks from the tab's list, and correct the annotation there.

    Raises:
        NotFound: `task_ids` holds no task.
        BadInput: Label Studio is not known, or there are more than 500 tasks.
        SamloopError: Label Studio refuses the request, or does not answer.
    """
    ids = sorted({int(task_id) for task_id in task_ids if task_id.isascii() and task_id.isdecimal()})
    if not ids:
        raise NotFound('no mask is flagged "too loose" or "wrong": flag some on the Masks page first')
    if len(ids) > _MOST:
        raise BadInput(f"{len(ids)} tasks are too many for one tab, which holds at most {_MOST}: take some flags back")
    if label_studio is None:
        raise BadInput(f"the project's Label Studio is not known: {NAME_LABEL_STUDIO}")
    filters = [
        {"filter": "filter:tasks:id", "operator": "equal", "type": "Number", "value": task_id} for task_id in ids
    ]
    view = label_studio.tabs.save(project_id, TAB, ordering=["tasks:id"], filters=filters, conjunction="or")
    return f"{label_studio.public_url}/projects/{project_id}/data?tab={view}"
