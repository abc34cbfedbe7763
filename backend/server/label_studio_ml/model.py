"""`SamBackend`: the class that label-studio-ml's own harness calls, in 1.0.9 (PyPI) and in 2.x (git).

Prefer `samloop serve`. label-studio-ml 1.0.9 is from 2023 and is the last on PyPI: it pins Flask 1.1.2, Werkzeug 2.0.2
and Jinja2 3.0.3, all with published vulnerabilities, has an unfixed vulnerability of its own (CVE-2025-5173), needs no
credentials, answers with tracebacks, and serves with Flask's development server. flask_app.py checks every request
before the harness does and so blocks these attacks, but we cannot change the harness's dependencies. This class is for
people who start every backend with `label-studio-ml start DIR`.

The harness makes objects of this class whenever it likes, so the constructor cannot pass in the service:
`SamBackend.over(service)` returns a class that has it. The service is a Protocol, so that this module need not know
models, queues and servers.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, Self

from label_studio_ml import model as harness

from backend.errors import SamloopError
from backend.labelstudio.payloads import LabelStudioJson, Task

IS_1X = hasattr(harness, "LabelStudioMLManager")


class Service(Protocol):
    """Answers requests: Label Studio's JSON goes in and comes out. Its methods raise only SamloopErrors."""

    def version(self, project: str | None) -> str:
        """Return the `model_version` of a project's ("1.1795418479") predictions now."""

    def predict(self, body: LabelStudioJson) -> list[Any]:
        """Return a prediction, or [], a task of `{"tasks", "project", "label_config", "params": {"context"}}`."""

    def webhook(self, body: LabelStudioJson) -> LabelStudioJson:
        """Queue a training on START_TRAINING and return its job; acknowledge all other events."""

    def versions(self, project: str) -> list[str]:
        """Return a project's versions, the base first."""

    def is_training(self, project: str) -> bool:
        """Return whether a training of the project runs."""


class SamBackend(harness.LabelStudioMLBase):  # type: ignore[misc]  # the harness carries no types
    """The service, as either harness asks for it.

    Args:
        project_id: from 2.x, where "None" stands for none; 1.0.9 does not pass it, so the tasks give it.
        label_config: the project's labelling interface, XML.
        told: what 1.0.9 adds: `train_output`, `hostname`, `access_token`, `model_version`.

    Attributes:
        serving: the service of its class.

    Raises:
        SamloopError: the object is of the bare class, which has no service.
    """

    service: ClassVar[Service | None] = None

    def __init__(self, project_id: str | None = None, label_config: str | None = None, **told: object) -> None:
        # 2.x turns an absent project into this text.
        self._project, self._label_config = None if project_id == "None" else project_id, label_config
        self.serving = self._bind()
        if IS_1X:
            # Not the config: the harness's reader resolves external entities; ours, which runs later, refuses them.
            super().__init__(**told)
        else:
            super().__init__(project_id=project_id, label_config=label_config)

    @classmethod
    def over(cls, service: Service) -> type[Self]:
        """Return a class of the same name whose objects answer with `service`."""
        return type(cls.__name__, (cls,), {"service": service, "__module__": cls.__module__})

    def use_label_config(self, label_config: str) -> None:
        """Keep the config unparsed, away from the harness's own reader. 2.x's constructor calls this."""
        self._label_config = label_config

    def get(self, key: str) -> Any:  # noqa: ANN401 - as in 2.x
        """Return what 2.x sends to /setup. Not from its SQLite, which processes cache while the version changes."""
        return self.serving.version(self._project) if key == "model_version" else super().get(key)

    def predict(self, tasks: Sequence[Task], context: LabelStudioJson | None = None, **_: object) -> list[Any]:
        """Return one prediction a task: dicts with `result`, `score` and `model_version`, which both harnesses accept.

        A task that ran out of time gets an empty list: Label Studio stores nothing and asks again.

        Args:
            tasks: of one project.
            context: prompts of an interactive request; None, or the {} that 2.x makes of an absent one: a batch.
        """
        return self.serving.predict(
            {
                "tasks": tasks,
                "project": self._project or _project_of(tasks),
                "label_config": self._label_config,
                "params": {"context": context or None},
            }
        )

    def fit(self, event: str, data: LabelStudioJson | None = None, **_: object) -> LabelStudioJson:
        """Queue a job; nothing trains here. 2.x calls this for annotations and START_TRAINING."""
        return self.serving.webhook({**(data or {}), "action": event})

    def process_event(self, event: str, data: LabelStudioJson, *_: object) -> LabelStudioJson:
        """Answer a webhook. 1.0.9 calls this for all of them."""
        return self.fit(event, data)

    def _bind(self) -> Service:
        if self.service is None:
            raise SamloopError("SamBackend has no service: start it with `label-studio-ml start backend`")
        return self.service


def _project_of(tasks: Sequence[Task]) -> str | None:
    project = tasks[0].get("project") if tasks else None
    return str(project) if isinstance(project, int) else None
