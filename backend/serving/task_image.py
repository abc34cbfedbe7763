"""A task, and how to get at its image: the one value that clicks, batches and what warms up pass on."""

from dataclasses import dataclass, field, replace

from backend.errors import BadInput
from backend.images.source import ImageSource
from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.payloads import Task
from backend.labelstudio.task_data import image_at, task_at


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskImage:
    """A task of one project, and where its image comes from.

    Attributes:
        task: as Label Studio sends it.
        config: the project's labelling config; tells where in the task the image is.
        images: where the project's images come from.
        project_id: None where a request names no project.
    """

    task: Task = field(repr=False)
    config: LabelConfig = field(repr=False)
    images: ImageSource
    project_id: int | None = None

    @property
    def name(self) -> str:
        """The task's id as logs show it: whatever a client sent, 40 characters at most."""
        return str(self.task.get("id"))[:40]

    @property
    def task_id(self) -> int | None:
        """The task's id; None where the task carries no number."""
        task_id = self.task.get("id")
        return task_id if isinstance(task_id, int) else None

    def parts(self) -> tuple["TaskImage", ...]:
        """Every image of the task that the labelling config draws on, at least one, with what stands on it alone.

        Of several, those that the task's data lacks are passed over.
        """
        configs = self.config.images(self.task.get("data"))
        places = [config.place for config in configs]
        there = [config for config in configs if image_at(self.task.get("data"), config.image_key) is not None]
        return tuple(
            replace(self, config=config, task=task_at(self.task, config.place, places=places))
            for config in there or configs[:1]
        )

    @property
    def uri(self) -> str:
        """Where the image is.

        Raises:
            BadInput: not where the labelling config reads it.
        """
        return image_uri(self.task, self.config)

    def fetch(self) -> bytes:
        """Return the bytes at the image's address; they need not be an image yet.

        Raises:
            BadInput: the task has no image where the labelling config reads it, or no address that can be used.
            Upstream, NotFound, ForbiddenUrl, KeyRefused: the image cannot be had.
        """
        return self.images.fetch(self.uri, task_id=self.task_id)


def image_uri(task: Task, config: LabelConfig) -> str:
    """Where the task's image is.

    Raises:
        BadInput: not where the labelling config reads it.
    """
    uri = image_at(task.get("data"), config.image_key)
    if uri is None:
        raise BadInput(
            f"task {str(task.get('id'))[:40]} has no image in data[{config.image_key[:80]!r}], "
            "where the labelling config reads it"
        )
    return uri
