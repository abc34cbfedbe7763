"""Tasks as the pages need them: links into Label Studio, and its tab of those to be labelled again."""

from collections.abc import Iterable
from urllib.parse import quote

from backend.errors import BadInput, NotFound
from backend.labelstudio.api.client import NAME_LABEL_STUDIO, LabelStudio

TAB = "samloop: label again"
_MOST = 500  # filters of one tab; Label Studio makes one query of them all


def project_url(label_studio: LabelStudio | None, project_id: int) -> str | None:
    """The project's data manager in Label Studio; None where no Label Studio is known."""
    return None if label_studio is None else f"{label_studio.public_url}/projects/{project_id}/data"


def task_url(label_studio: LabelStudio | None, project_id: int, task_id: int | str | None) -> str | None:
    """The task in Label Studio's data manager; None where no Label Studio is known, or no task."""
    if label_studio is None or task_id is None:
        return None
    return f"{label_studio.public_url}/projects/{project_id}/data?task={quote(str(task_id), safe='')}"


def send_to_labelling(label_studio: LabelStudio | None, project_id: int, task_ids: Iterable[str]) -> str:
    """Make, or fill again, a tab of the data manager that holds just these tasks; return its URL.

    Label Studio's API has no queue to put a task at the top of, and its label streams, "Label Tasks As Displayed" too,
    leave out what is annotated already (tests/e2e/test_label_stream.py), as everything is that was held out. So
    annotators open these from the tab's list, with the annotation that is to be mended.

    Raises:
        NotFound: no task is to be labelled again.
        BadInput: Label Studio is not known, or there are more than 500 tasks.
        SamloopError: Label Studio refuses, or is away.
    """
    ids = sorted({int(task_id) for task_id in task_ids if task_id.isascii() and task_id.isdecimal()})
    if not ids:
        raise NotFound('no mask is flagged "too loose" or "wrong": flag some on the page of masks')
    if len(ids) > _MOST:
        raise BadInput(f"{len(ids)} tasks are too many for one tab, {_MOST} the most: take some flags back")
    if label_studio is None:
        raise BadInput(f"which Label Studio is not known: {NAME_LABEL_STUDIO}")
    filters = [
        {"filter": "filter:tasks:id", "operator": "equal", "type": "Number", "value": task_id} for task_id in ids
    ]
    view = label_studio.tabs.save(project_id, TAB, ordering=["tasks:id"], filters=filters, conjunction="or")
    return f"{label_studio.public_url}/projects/{project_id}/data?tab={view}"
