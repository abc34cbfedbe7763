"""`samloop connect`: introduces a Label Studio project and this backend to one another."""

from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.console import ProjectOption, err, load_settings, out
from backend.settings.bounds import TRAIN_AFTER

if TYPE_CHECKING:
    from backend.labelstudio.api.client import LabelStudio

SCORES_TAB = "samloop: lowest scores first"
UNTOUCHED = (
    {"filter": "filter:tasks:total_annotations", "operator": "equal", "type": "Number", "value": 0},
    {"filter": "filter:tasks:cancelled_annotations", "operator": "equal", "type": "Number", "value": 0},
)


def connect(
    project: ProjectOption,
    url: Annotated[
        str | None, typer.Option(help="The backend's address as Label Studio reaches it; default: SAMLOOP_BACKEND_URL.")
    ] = None,
    train_after: Annotated[
        int | None,
        typer.Option(
            min=int(TRAIN_AFTER.lowest),
            max=int(TRAIN_AFTER.highest),
            help="Train automatically after so many new, changed or deleted annotations; 0: never; default: as before.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Register the backend and its webhook, with credentials, in a project; safe to repeat.

    It also creates a data-manager tab with the untouched tasks, lowest score first, links the review page in the
    project's instructions and description, and says what the labelling interface lacks.
    """
    from backend.cli.doctor.project import ProjectDoctor
    from backend.labelstudio.api.client import label_studio_of
    from backend.registry.opening import open_registry
    from backend.work.train_after import TrainAfter

    settings = load_settings()
    client = label_studio_of(settings)
    known = client.project(project)  # before anything is registered: an unknown project is told by its number
    user, password = settings.backend.basic_auth_user, settings.backend.basic_auth_pass
    url = (url or settings.backend.url).rstrip("/")
    backend = client.backends.connect(
        project, url=url, title="samloop", basic_auth=(user, password) if user and password else None
    )
    out.print(f"project {project} predicts with {url} (model {backend}): open a task and switch on Auto-Annotation")
    review_url = f"{settings.backend.public_url or url}/review/{project}"
    show_analysts(client, project, review_url=review_url)
    if train_after is not None:
        state, default = open_registry(settings).state_dir, settings.training.train_after
        TrainAfter(state.train_after, default=default, sharing=state.sharing).keep(project, train_after)
        out.print(f"it trains after {train_after} changed annotations" if train_after else "it trains only on request")
    out.print(
        f'for analysts: {review_url}, also behind "Instructions" in Label Studio, and the tab "{SCORES_TAB}"',
    )
    for fault in ProjectDoctor(client, project, settings=settings).find_config_faults(known):
        err.print(f"before people can click: {fault}")


def show_analysts(client: "LabelStudio", project_id: int, *, review_url: str) -> None:
    """Create the tab of untouched tasks by score, and link the review page in description and instructions.

    Safe to repeat.
    """
    from backend.labelstudio.description import with_review_link, with_review_link_in_html

    client.tabs.save(
        project_id,
        SCORES_TAB,
        ordering=["tasks:predictions_score"],
        filters=UNTOUCHED,
        shown=["predictions_score", "predictions_model_versions"],
    )
    project = client.project(project_id)
    told = {
        "description": with_review_link(project.get("description"), review_url),
        "expert_instruction": with_review_link_in_html(project.get("expert_instruction"), review_url),
    }
    if any(project.get(field) != text for field, text in told.items()):
        client.update_project(project_id, **told)
