"""Embeds many tasks, several at a time, for `samloop warm`."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from backend.errors import KeyRefused, SamloopError
from backend.serving.embeddings.task_embeddings import TaskEmbeddings
from backend.serving.task_image import TaskImage
from backend.serving.turns.traffic import Priority

_SIDE_BY_SIDE = 4  # tasks at a time: images are read while another is encoded


@dataclass(frozen=True, slots=True)
class Warmed:
    """The result for a task: whether an image was `computed` now, and `why` the task was left out, if it was."""

    task_id: object
    computed: bool = False
    why: str | None = None


def warm_tasks(images: Iterable[TaskImage], *, embeddings: TaskEmbeddings) -> Iterator[Warmed]:
    """Embed all images of every task; yield a result per task, in order.

    A task that cannot be embedded costs only itself.

    Raises:
        KeyRefused: Label Studio refuses the API key, which every task needs.
    """

    def warm(image: TaskImage) -> Warmed:
        task_id = image.task.get("id")
        try:
            # As urgent as a click: nothing else runs in this process.
            computed = [embeddings.warm(part, priority=Priority.CLICK, until_s=math.inf) for part in image.parts()]
        except KeyRefused:
            raise
        except SamloopError as fault:
            return Warmed(task_id, why=str(fault))
        return Warmed(task_id, computed=any(computed))

    under_way: deque[Future[Warmed]] = deque()
    with ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="warm") as pool:
        try:
            for image in images:
                under_way.append(pool.submit(warm, image))
                if len(under_way) >= 2 * _SIDE_BY_SIDE:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
