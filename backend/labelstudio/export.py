"""Recovers the labelling interface of an export from the regions that people drew; the export does not contain it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from backend.errors import UnusableRegion
from backend.labelstudio.controls.regions import Region, regions_of
from backend.labelstudio.controls.shapes import is_drawing
from backend.labelstudio.label_config import Control, LabelConfig, LabelsTag
from backend.labelstudio.task_data import find_image_key, image_at, pages_at

_DEFAULT = Control(kind="brushlabels", from_name="label", to_name="image")


def recover_config(tasks: Iterable[object]) -> LabelConfig:
    """Return the controls whose regions are on the tasks, with the labels that people used there, in order of name.

    The regions' image tag, or else the look of a value, says where the image is (`find_image_key`). If several image
    tags have the name of a key of the data, every such key is an image of its own. Tasks without regions give one
    control, `<BrushLabels name="label" toName="image">`, which takes every label.
    """
    rows = list(tasks)
    controls = _list_controls(rows)
    data = [task.get("data") for task in rows if isinstance(task, Mapping)]
    tags = list(dict.fromkeys(control.to_name for control in controls))
    shown = (_config_of_key(tag, data, tuple(c for c in controls if c.to_name == tag)) for tag in tags)
    configs = [config for config in shown if config is not None]
    if len(configs) > 1 or any(config.list_key for config in configs):
        return replace(configs[0], others=tuple(configs[1:]))
    image_key = next((key for given in data if (key := find_image_key(given, names=tags)) is not None), "image")
    return LabelConfig(tags[0] if tags else _DEFAULT.to_name, image_key, controls or (_DEFAULT,))


def _list_controls(rows: Iterable[object]) -> tuple[Control, ...]:
    """The controls whose regions are on the tasks and that can draw masks, in the order of their first regions."""
    used: dict[tuple[str, str, str], _Used] = {}
    for region in _regions(rows):
        draws = region.shape is not None and region.shape.write is not None
        if draws and is_drawing(region.kind) and region.from_name is not None and region.to_name is not None:
            used.setdefault((region.kind, region.from_name, region.to_name), _Used()).add(region)
    return tuple(
        labels.control(kind=kind, from_name=from_name, to_name=to_name)
        for (kind, from_name, to_name), labels in used.items()
    )


def _config_of_key(name: str, data: Iterable[object], controls: tuple[Control, ...]) -> LabelConfig | None:
    """Return the image whose tag has the name of a key of the tasks' data, an image or a list of pages; else None."""
    for given in data:
        if pages_at(given, name):
            return LabelConfig(name, name, controls, list_key=name).at_page(0)
        if image_at(given, name) is not None:
            return LabelConfig(name, name, controls)
    return None


@dataclass(slots=True)
class _Used:
    """The labels that people used with a control: its own, and those of every <Labels> tag beside it, by tag name."""

    own: set[str] = field(default_factory=set)
    beside: dict[str, set[str]] = field(default_factory=dict)

    def add(self, region: Region) -> None:
        self.own |= _labels(region)
        if region.beside is not None and region.beside.from_name is not None and not region.kind.endswith("labels"):
            self.beside.setdefault(region.beside.from_name, set()).update(_labels(region.beside))

    def control(self, *, kind: str, from_name: str, to_name: str) -> Control:
        tags = tuple(LabelsTag(name, tuple(sorted(labels))) for name, labels in self.beside.items())
        labels = sorted(self.own.union(*self.beside.values()))
        return Control(kind=kind, from_name=from_name, to_name=to_name, labels=tuple(labels), labels_beside=tags)


def _labels(region: Region) -> set[str]:
    try:
        return set(region.labels) if region.kind.endswith("labels") else set()
    except UnusableRegion:
        return set()


def _regions(tasks: Iterable[object]) -> Iterator[Region]:
    for task in tasks:
        annotations = task.get("annotations") if isinstance(task, Mapping) else None
        for annotation in annotations if isinstance(annotations, list) else ():
            if isinstance(annotation, Mapping):
                yield from regions_of(annotation.get("result"))
