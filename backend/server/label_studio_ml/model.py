"""`SamBackend`: the class that label-studio-ml's own harness asks, in 1.0.9 (PyPI) and in 2.x (git).

Prefer `samloop serve`. label-studio-ml 1.0.9 is from 2023 and is the last on PyPI: it pins Flask 1.1.2, Werkzeug 2.0.2
and Jinja2 3.0.3, all with published holes, has one of its own that nobody mends (CVE-2025-5173), asks for no
credentials, puts tracebacks into its answers, and serves with Flask's development server. What a request can do to it
is closed off in flask_app.py, which looks at every request before the harness does; what it stands on is not ours to
change. It is here for those who start every backend with `label-studio-ml start DIR`.

The harness makes an object of this class whenever it likes, so what the class needs cannot come by its constructor:
`SamBackend.over(service)` gives a class that has it. The service is a Protocol, so that this module knows nothing of
models, queues and servers.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, Self

from label_studio_ml import model as harness

from backend.errors import SamloopError
from backend.labelstudio.payloads import LabelStudioJson, Task

IS_1X = hasattr(harness, "LabelStudioMLManager")


class Service(Protocol):
    """What answers: Label Studio's JSON goes in and comes out. No method raises anything but a SamloopError."""

    def version(self, project: str | None) -> str:
        """The `model_version` that predictions of a project ("1.1795418479") carry now."""

    def predict(self, body: LabelStudioJson) -> list[Any]:
        """One prediction, or [], a task of `{"tasks", "project", "label_config", "params": {"context"}}`."""

    def webhook(self, body: LabelStudioJson) -> LabelStudioJson:
        """START_TRAINING puts the project's training on the queue and tells its job; other events are thanked for."""

    def versions(self, project: str) -> list[str]:
        """Every version of a project, the base first."""

    def is_training(self, project: str) -> bool:
        """Whether a training of the project runs."""


class SamBackend(harness.LabelStudioMLBase):  # type: ignore[misc]  # the harness carries no types
    """The service, as either harness asks for it.

    Args:
        project_id: 2.x tells it; 1.0.9 does not, and it is read from the tasks.
        label_config: the project's labelling config, XML.
        told: what 1.0.9 adds: `train_output`, `hostname`, `access_token`, `model_version`.

    Attributes:
        serving: the service of its class.

    Raises:
        SamloopError: made from the bare class, which has nothing to serve with.
    """

    service: ClassVar[Service | None] = None

    def __init__(self, project_id: str | None = None, label_config: str | None = None, **told: object) -> None:
        self._project, self._label_config = project_id, label_config
        self.serving = self._bound()
        if IS_1X:
            # Not the config: their reader resolves external entities, ours (when something is predicted) refuses them.
            super().__init__(**told)
        else:
            super().__init__(project_id=project_id, label_config=label_config)

    @classmethod
    def over(cls, service: Service) -> type[Self]:
        """A class of the same name whose objects answer with `service`."""
        return type(cls.__name__, (cls,), {"service": service, "__module__": cls.__module__})

    def use_label_config(self, label_config: str) -> None:
        """What 2.x's constructor calls: keeps the config as it is, out of reach of the harness's own reader."""
        self._label_config = label_config

    def get(self, key: str) -> Any:  # noqa: ANN401 - as in 2.x
        """What 2.x tells at /setup. Not from its SQLite, which every process caches: the version changes under it."""
        return self.serving.version(self._project) if key == "model_version" else super().get(key)

    def predict(self, tasks: Sequence[Task], context: LabelStudioJson | None = None, **_: object) -> list[Any]:
        """One prediction a task: a list of dicts with `result`, `score` and `model_version`, which both harnesses take.

        An empty list in the place of one whose turn did not come: Label Studio stores nothing and asks again.

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
        """What 2.x calls for annotations and START_TRAINING. Nothing trains here: a job goes on the queue."""
        return self.serving.webhook({**(data or {}), "action": event})

    def process_event(self, event: str, data: LabelStudioJson, *_: object) -> LabelStudioJson:
        """What 1.0.9 calls for every webhook."""
        return self.fit(event, data)

    def _bound(self) -> Service:
        if self.service is None:
            raise SamloopError("SamBackend has no service: start it with `label-studio-ml start backend`")
        return self.service


def _project_of(tasks: Sequence[Task]) -> str | None:
    project = tasks[0].get("project") if tasks else None
    return str(project) if isinstance(project, int) else None
