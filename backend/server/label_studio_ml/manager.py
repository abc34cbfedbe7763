"""Replaces the class in which label-studio-ml 1.0.9 keeps its models, without its faults. 2.x has no such class.

The original has three faults. It holds ONE model for all projects (the last project set up). It tells /setup a version
of its own ("INITIAL", or a folder's number) while predictions carry ours, so that every "retrieve predictions" would
add a duplicate. And it answers a webhook before its forked process has even imported torch. Here every request gets an
object of its own, which is cheap because the service holds the models; the service names the versions; and a webhook is
answered once its job is on the queue.
"""

from types import SimpleNamespace
from typing import Any

from label_studio_ml.model import LabelStudioMLManager, ModelWrapper

from backend.labelstudio.payloads import LabelStudioJson
from backend.server.label_studio_ml.model import SamBackend, Service


class SamManager(LabelStudioMLManager):  # type: ignore[misc]  # the harness carries no types
    """Replaces `label_studio_ml.api._manager` before `init_app`. Its methods take what the harness's routes pass."""

    model_class: type[SamBackend]

    @classmethod
    def initialize(cls, model_class: type[SamBackend], **_: object) -> None:
        """Remember the class, without making folders or asking Redis."""
        cls.model_class = model_class

    @classmethod
    def fetch(cls, project: str | None = None, label_config: str | None = None, *_: object, **__: object) -> Any:  # noqa: ANN401 - their ModelWrapper
        """Return a project's model with its version, for /setup."""
        model = cls.model_class(project_id=project, label_config=label_config)
        return ModelWrapper(model=model, model_version=model.get("model_version"))

    @classmethod
    def predict(
        cls,
        tasks: list[LabelStudioJson],
        project: str | None = None,
        label_config: str | None = None,
        force_reload: bool = False,  # noqa: ARG003, FBT001, FBT002 - as their route calls it
        try_fetch: bool = True,  # noqa: ARG003, FBT001, FBT002 - as their route calls it
        **params: Any,  # noqa: ANN401 - login, password, context
    ) -> tuple[list[LabelStudioJson], Any]:
        """Return the predictions, and the model that made them."""
        model = cls.model_class(project_id=project, label_config=label_config)
        predictions = model.predict(tasks, **params)
        version = next((answer["model_version"] for answer in predictions if answer), None) or model.get(
            "model_version"
        )
        return predictions, ModelWrapper(model=model, model_version=version)

    @classmethod
    def webhook(cls, event: str, data: LabelStudioJson) -> LabelStudioJson:
        """Queue the job and return it, once Redis has acknowledged it."""
        return cls.model_class().process_event(event, data)

    @classmethod
    def train(cls, tasks: object, project: str | None = None, *_: object, **__: object) -> SimpleNamespace:  # noqa: ARG003 - as their route calls it
        """Queue the same job for the deprecated /train."""
        return SimpleNamespace(id=cls.webhook("START_TRAINING", {"project": project})["job"])

    @classmethod
    def is_training(cls, project: str) -> LabelStudioJson:
        """Return whether a training of the project runs."""
        return {"is_training": cls._service().is_training(project), "backend": "redis"}

    @classmethod
    def _get_models_from_workdir(cls, project: str) -> list[str]:
        """Return the list for the harness's /versions."""
        return cls._service().versions(project)

    @classmethod
    def _service(cls) -> Service:
        return cls.model_class().serving
