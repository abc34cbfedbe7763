"""The labelling configuration as an export tells it: by the regions that people drew, since it does not hold itself."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from backend.labelstudio.controls.regions import Region, regions_of
from backend.labelstudio.label_config import Control, LabelConfig, LabelsTag

_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
_DEFAULT = Control(kind="brushlabels", from_name="label", to_name="image")


def exported_config(tasks: Iterable[object]) -> LabelConfig:
    """Return the controls whose regions stand on the tasks, with the labels that were used with each, in order of name.

    The image is the first value in a task's data that looks like one. Where nothing is drawn, there is one control,
    `<BrushLabels name="label" toName="image">`, which takes every label.
    """
    found, image_key = list(tasks), "image"
    for task in found:
        data = task.get("data") if isinstance(task, Mapping) else None
        if isinstance(data, Mapping) and (key := next((k for k, v in data.items() if _is_image(v)), None)):
            image_key = str(key)
            break
    controls: dict[tuple[str, str, str], _Used] = {}
    for region in _regions(found):
        to_name = region.json.get("to_name")
        if region.shape is None or region.shape.write is None or not isinstance(to_name, str):
            continue
        if region.from_name is not None:
            controls.setdefault((region.kind, region.from_name, to_name), _Used()).add(region)
    made = tuple(
        used.control(kind=kind, from_name=from_name, to_name=to_name)
        for (kind, from_name, to_name), used in controls.items()
    )
    return LabelConfig(made[0].to_name if made else _DEFAULT.to_name, image_key, made or (_DEFAULT,))


@dataclass(slots=True)
class _Used:
    """The labels that were used with a control: its own, and those of every <Labels> tag beside it, by its name."""

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
    value = region.json.get("value")
    labels = value.get(region.kind) if isinstance(value, Mapping) else None
    return {label for label in labels if isinstance(label, str)} if isinstance(labels, list) else set()


def _regions(tasks: Iterable[object]) -> Iterator[Region]:
    for task in tasks:
        annotations = task.get("annotations") if isinstance(task, Mapping) else None
        for annotation in annotations if isinstance(annotations, list) else ():
            if isinstance(annotation, Mapping):
                yield from regions_of(annotation.get("result"))


def _is_image(value: object) -> bool:
    return isinstance(value, str) and value.lower().split("?d=")[-1].split("?")[0].endswith(_IMAGE_ENDINGS)
