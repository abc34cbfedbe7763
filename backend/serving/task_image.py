"""A task, and the way to its image: the value that clicks, batches and embedding ahead pass on."""

from dataclasses import dataclass, field, replace

from backend.errors import BadInput
from backend.images.source import ImageSource
from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.payloads import Task
from backend.labelstudio.task_data import image_at, task_at
from backend.labelstudio.values import read_id


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskImage:
    """A task of one project, and the source of its image.

    Attributes:
        task: as Label Studio sends it.
        config: the project's labelling config, which says where in the task the image is.
        images: fetches the project's images.
        project_id: None where the request names no project.
    """

    task: Task = field(repr=False)
    config: LabelConfig = field(repr=False)
    images: ImageSource
    project_id: int | None = None

    @property
    def name(self) -> str:
        """The task's id for logs: whatever the client sent, at most 40 characters."""
        return str(self.task.get("id"))[:40]

    @property
    def task_id(self) -> int | None:
        """The task's id; None where it is neither a number nor digits."""
        return read_id(self.task.get("id"))

    def parts(self) -> tuple["TaskImage", ...]:
        """Return every image of the task that the labelling config draws on, with its own regions alone; at least one.

        Images that the task's data lack are left out.
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
        """The image's address.

        Raises:
            BadInput: the task has no image where the labelling config reads it.
        """
        return image_uri(self.task, self.config)

    def fetch(self) -> bytes:
        """Fetch the bytes at the image's address, without checking that they are an image.

        Raises:
            BadInput: the task has no image where the labelling config reads it, or its address is unusable.
            Upstream, NotFound, ForbiddenUrl, KeyRefused: the image cannot be fetched.
        """
        return self.images.fetch(self.uri, task_id=self.task_id)


def image_uri(task: Task, config: LabelConfig) -> str:
    """Return the address of the task's image.

    Raises:
        BadInput: the task has no image where the labelling config reads it.
    """
    uri = image_at(task.get("data"), config.image_key)
    if uri is None:
        raise BadInput(
            f"task {str(task.get('id'))[:40]} has no image in data[{config.image_key[:80]!r}], "
            "where the labelling config reads it"
        )
    return uri
