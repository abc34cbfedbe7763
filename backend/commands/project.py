"""`samloop connect`: makes a Label Studio project and this backend know each other."""

from typing import Annotated

import typer

from backend.commands.console import ProjectOption, out, settings_and_logging
from backend.errors import SettingsError
from backend.labelstudio.client import LabelStudio
from backend.settings import Settings


def connect(
    project: ProjectOption,
    url: Annotated[
        str | None, typer.Option(help="Where Label Studio reaches the backend; absent: SAMLOOP_BACKEND_URL.")
    ] = None,
) -> None:
    """Register the backend and its webhook (with its credentials) in a project; safe to repeat."""
    settings = settings_and_logging()
    client = label_studio(settings)
    user, password = settings.basic_auth_user, settings.basic_auth_pass
    backend = client.connect_backend(
        project,
        url=url or settings.backend_url,
        title="samloop",
        basic_auth=(user, password) if user and password else None,
    )
    out.print(
        f"project {project} predicts with {url or settings.backend_url} (model {backend}): "
        "open a task and switch on Auto-Annotation"
    )


def label_studio(settings: Settings) -> LabelStudio:
    """The Label Studio that the environment names.

    Raises:
        SettingsError: it names none, or no key.
    """
    if not settings.label_studio_url or not settings.label_studio_api_key:
        raise SettingsError(
            "LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY must both be set "
            "(Label Studio shows the key under Account & Settings -> Access Token)"
        )
    return LabelStudio(settings.label_studio_url, settings.label_studio_api_key)
