"""Reads the labelling interface of a project: the images that it shows, and the controls that draw on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from backend.errors import BadInput
from backend.labelstudio.controls.shape import Shape
from backend.labelstudio.controls.shapes import SHAPES, is_drawing
from backend.labelstudio.tags import parse_tags, read_kind
from backend.labelstudio.task_data import ImagePlace, count_items, pages_at, read_variable

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MOST_CONTROLS = 256
MOST_IMAGES = 32
# The most names of labels. A name counts once for every control that may carry it, since every request reads them all.
MOST_NAMES = 50_000
MOST_TOLERANCE_PX = 100.0
_LABELS = "labels"
_INDEX_FLAG = "{{idx}}"  # Label Studio's own default
_TRUE = frozenset({"1", "true", "yes"})


@dataclass(frozen=True, slots=True)
class LabelsTag:
    """A <Labels> tag. It labels the regions of controls without labels of their own, by a result with the same id."""

    from_name: str
    labels: tuple[str, ...]
    takes_any_label: bool = False


@dataclass(frozen=True, slots=True)
class Control:
    """A tag that draws on the image.

    Attributes:
        kind: the tag's name in small letters, and the `type` of its regions.
        from_name: the tag's `name`.
        to_name: the name of the image tag that it draws on.
        labels: its labels; if it has none of its own, those of the <Labels> tags beside it.
        takes_any_label: whether the tasks name labels too (`value="$labels"`), beside those of the interface.
        is_smart: whether the editor has a smart tool for it, whose regions are prompts: yes, unless the tag says
            `smart="false"`.
        is_skipped: its attribute `model_skip`: it gets no masks.
        score_threshold: its attribute `model_score_threshold`, in [0, 1]: regions that score less are left out.
        polygon_tolerance_px: its attribute `model_polygon_tolerance_px`, image px; None where it has none.
        predicted: pairs of a name in some label's `predicted_values`, and that label.
        other_names: pairs of another name of some label, such as its alias on another control, and that label.
        labels_beside: the <Labels> tags that label its regions, if it has no labels of its own.
        page: the page, from 0, of a `valueList` that it draws on; None if its image is no list.
    """

    kind: str
    from_name: str
    to_name: str
    labels: tuple[str, ...] = ()
    takes_any_label: bool = False
    is_smart: bool = True
    is_skipped: bool = False
    score_threshold: float = 0.0
    polygon_tolerance_px: float | None = None
    predicted: tuple[tuple[str, str], ...] = ()
    other_names: tuple[tuple[str, str], ...] = ()
    labels_beside: tuple[LabelsTag, ...] = ()
    page: int | None = None
    _labels: Mapping[str, str] = field(init=False, repr=False, compare=False)
    _names: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Built once: a request with a thousand labels looks every label up on every control.
        small = {label.lower(): label for label in reversed(self.labels)}
        labels = small | {label: label for label in self.labels}
        object.__setattr__(self, "_labels", labels)
        object.__setattr__(self, "_names", dict(self.other_names) | labels | dict(self.predicted))

    @property
    def shape(self) -> Shape:
        """What it draws."""
        return SHAPES[self.kind.removesuffix("labels")]

    @property
    def has_labels(self) -> bool:
        """Whether its regions carry labels themselves: true for <BrushLabels>, false for <Brush>."""
        return self.kind.endswith("labels")

    def labels_tag(self, label: str | None) -> LabelsTag | None:
        """Return the <Labels> tag beside it that has this label, or else takes it from a task; None if no tag does."""
        named = (tag for tag in self.labels_beside if label in tag.labels)
        return next(named, next((tag for tag in self.labels_beside if label and tag.takes_any_label), None))

    def label_for(self, name: str | None) -> str | None:
        """Return this control's label for the name of a prompt's label or of a model's class; None if none fits.

        The label whose `predicted_values` hold the name goes first, then the label of that name, then the label that
        has this name on another control or without its alias, then a label that differs from it in capitals only. A
        control whose tasks name labels too takes any other name as it is.
        """
        if name is None:
            return None
        return self._names.get(name) or self._labels.get(name.lower()) or (name if self.takes_any_label else None)


@dataclass(frozen=True, slots=True)
class Repeat:
    """A <Repeater on="$key" indexFlag="{{idx}}">: it repeats its tags for every item of the list at that key.

    The item's number, from 0, replaces the flag in their names and values.
    """

    list_key: str
    flag: str


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """An image of a labelling interface, with the controls that draw on it.

    Of several images, this is the first that has controls.

    Attributes:
        image_name: the image tag's `name`.
        image_key: the image's path in a task's data for `image_at`: "image" for `value="$image"`.
        controls: the controls on the image, in order.
        list_key: the key of a `valueList`, of which `image_key` is a page; None if the image is no list.
        others: the further images that have controls.
        repeat: the <Repeater> around the tags, whose names still hold its flag; None if there is none.
    """

    image_name: str
    image_key: str
    controls: tuple[Control, ...]
    list_key: str | None = None
    others: tuple["LabelConfig", ...] = ()
    repeat: Repeat | None = None

    @property
    def place(self) -> ImagePlace:
        """Which of a task's images this is."""
        page = next((control.page for control in self.controls), None) if self.list_key is not None else None
        return ImagePlace(name=self.image_name, key=self.image_key, page=page)

    @property
    def labels(self) -> frozenset[str]:
        """All labels that regions may carry; empty if tasks name labels too, because then any label is possible."""
        controls = [control for config in (self, *self.others) for control in config.controls]
        if any(control.takes_any_label for control in controls):
            return frozenset()
        return frozenset(label for control in controls for label in control.labels)

    @property
    def other_names(self) -> Mapping[str, str]:
        """The labels by their other names, such as their values where they have aliases: the editor takes these too.

        Left out are names that are labels themselves, or that several labels have.
        """
        controls = [control for config in (self, *self.others) for control in config.controls]
        found: dict[str, set[str]] = {}
        for name, label in (pair for control in controls for pair in control.other_names):
            found.setdefault(name, set()).add(label)
        labels = self.labels
        return {name: min(of) for name, of in found.items() if labels and name not in labels and len(of) == 1}

    def images(self, data: object) -> tuple["LabelConfig", ...]:
        """Return the config of every image that a task with this data shows; at least one.

        Of a list, only the first 32 pages or items count.
        """
        images = [image for config in (self, *self.others) for image in config.list_own_images(data)]
        return tuple(images) or (replace(self, others=()),)

    def list_own_images(self, data: object) -> list["LabelConfig"]:
        """Return what `images` does, but without `others`; nothing for an empty list."""
        if self.repeat is not None:
            return [self.at_item(number) for number in range(min(count_items(data, self.repeat.list_key), MOST_IMAGES))]
        if self.list_key is not None:
            return [replace(self.at_page(page), others=()) for page in pages_at(data, self.list_key)[:MOST_IMAGES]]
        return [replace(self, others=())]

    def at_page(self, page: int) -> "LabelConfig":
        """Return the config of a page, from 0, of its list."""
        controls = tuple(replace(control, page=page) for control in self.controls)
        return replace(self, image_key=f"{self.list_key}[{page}]", controls=controls)

    def at_item(self, number: int) -> "LabelConfig":
        """Return the config of an item, from 0, of the list that its <Repeater> repeats for."""

        def name_of(text: str) -> str:
            return text if self.repeat is None else text.replace(self.repeat.flag, str(number))

        image_name = name_of(self.image_name)
        controls = tuple(
            replace(
                control,
                from_name=name_of(control.from_name),
                to_name=image_name,
                labels_beside=tuple(replace(tag, from_name=name_of(tag.from_name)) for tag in control.labels_beside),
            )
            for control in self.controls
        )
        return LabelConfig(image_name, name_of(self.image_key), controls)


def parse_label_config(xml: str) -> LabelConfig:
    """Read a project's `label_config`.

    Raises:
        BadInput: the text is not well-formed XML, or holds a DTD or an entity; no image tag has a name and a value with
            a "$key", or two share a name; there are more than 32 images, 256 controls, 256 <Labels> tags, 50,000
            names of labels over all controls, or 1 MiB of text; or an attribute of ours is not a number in its range.
    """
    root = parse_tags(xml)
    repeats = _find_repeats(root)
    tags = [_ImageTag(tag, repeats.get(tag)) for tag in root.iter() if read_kind(tag) == "image"]
    images = _check_images(tags)
    drawing = [tag for tag in root.iter() if is_drawing(read_kind(tag))]
    if len(drawing) > MOST_CONTROLS:
        raise BadInput(f"the label config has {len(drawing)} controls; at most {MOST_CONTROLS} are allowed")
    beside = [tag for tag in root.iter() if read_kind(tag) == _LABELS]
    if len(beside) > MOST_CONTROLS:
        raise BadInput(f"the label config has {len(beside)} <Labels> tags; at most {MOST_CONTROLS} are allowed")
    names = _find_names([*drawing, *beside])
    left = MOST_NAMES
    configs: list[LabelConfig] = []
    for image in images:
        own = [_find_labelled(tag, names) for tag in drawing if _is_on(tag, image.name)]
        named = [_find_labelled(tag, names) for tag in beside if _is_on(tag, image.name)]
        left -= _count_names(own, named)
        if left < 0:
            raise BadInput(
                f"the label config names labels {MOST_NAMES - left} times over all controls; at most {MOST_NAMES} are "
                "allowed"
            )
        configs.append(image.config(own, beside=named))
    # An image without controls is there for people to look at.
    first, *others = [config for config in configs if config.controls] or configs[:1]
    return replace(first, others=tuple(others))


@dataclass(frozen=True, slots=True)
class _ImageTag:
    """An <Image> tag."""

    tag: "Element"
    repeat: Repeat | None

    @property
    def name(self) -> str:
        return self.tag.get("name") or ""

    @property
    def value(self) -> str:
        return (self.tag.get("valuelist") or self.tag.get("value") or "").strip()

    @property
    def is_readable(self) -> bool:
        return bool(self.name) and "$" in self.value and len(self.value) > 1

    def config(self, own: Sequence["_Labelled"], *, beside: Sequence["_Labelled"]) -> LabelConfig:
        controls = tuple(
            _control(labelled, self.name, beside=() if read_kind(labelled.tag).endswith(_LABELS) else beside)
            for labelled in own
        )
        config = LabelConfig(self.name, read_variable(self.value), controls, repeat=self.repeat)
        return replace(config, list_key=config.image_key).at_page(0) if self.tag.get("valuelist") else config


def _find_repeats(root: "Element") -> dict["Element", Repeat]:
    """The tags within a <Repeater>, with that repeater; the innermost counts."""
    return {
        tag: Repeat(repeater.get("on", "")[1:], repeater.get("indexflag") or _INDEX_FLAG)
        for repeater in root.iter()
        if read_kind(repeater) == "repeater" and repeater.get("on", "").startswith("$")
        for tag in repeater.iter()
    }


def _check_images(tags: Sequence[_ImageTag]) -> list[_ImageTag]:
    """The image tags whose value is a key of the task's data; others show the same image on every task."""
    readable = [image for image in tags if image.is_readable]
    if not tags:
        raise BadInput(
            'the label config has no <Image> tag, and samloop masks images alone: add <Image name="image" '
            'value="$image"/>, and <BrushLabels name="mask" toName="image"> with your labels'
        )
    if not readable:
        name, value = tags[0].name, tags[0].value
        raise BadInput(
            f'the <Image> tag has name="{name[:80]}" value="{value[:80]}"; write name="image" value="$image"'
        )
    names = [image.name for image in readable]
    if len(set(names)) < len(names) or len(names) > MOST_IMAGES:
        raise BadInput(
            f"the label config has {len(names)} <Image> tags with {len(set(names))} different names: give every tag a "
            f"name of its own, and use at most {MOST_IMAGES} tags"
        )
    return readable


def _count_names(own: Sequence["_Labelled"], beside: Sequence["_Labelled"]) -> int:
    with_beside = sum(not read_kind(labelled.tag).endswith(_LABELS) for labelled in own)
    return sum(len(labelled) for labelled in own) + with_beside * sum(len(labelled) for labelled in beside)


@dataclass(frozen=True, slots=True)
class _Labelled:
    """A tag, its labels, and pairs of a name and a label as in `Control`."""

    tag: "Element"
    labels: tuple[str, ...]
    predicted: tuple[tuple[str, str], ...]
    other_names: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.labels) + len(self.predicted) + len(self.other_names)

    @property
    def takes_any_label(self) -> bool:
        """Whether the tasks name labels too."""
        return self.tag.get("value", "").startswith("$")


def _find_names(tags: Sequence["Element"]) -> dict[str, tuple[str, ...]]:
    """The names of every label that has several, by its value: it may have an alias, and another one on every control.

    Raises:
        BadInput: the pairs of these names are more than 50,000.
    """
    names: dict[str, list[str]] = {}
    for label, child in (pair for tag in tags for pair in _list_labels(tag)):
        names.setdefault(child.get("value") or label, []).append(label)
    several = {value: (*dict.fromkeys((*found, value)),) for value, found in names.items() if {*found} != {value}}
    if (pairs := sum(len(names[value]) * len(found) for value, found in several.items())) > MOST_NAMES:
        raise BadInput(f"the label config has {pairs} pairs of aliases; at most {MOST_NAMES} are allowed")
    return several


def _find_labelled(tag: "Element", names: Mapping[str, Sequence[str]]) -> _Labelled:
    labels = _list_labels(tag)
    predicted = (
        (name.strip(), label)
        for label, child in labels
        for name in child.get("predicted_values", "").split(",")
        if name.strip()
    )
    others = (
        (name, label) for label, child in labels for name in names.get(child.get("value") or label, ()) if name != label
    )
    return _Labelled(tag, tuple(label for label, _ in labels), tuple(predicted), tuple(others))


def _list_labels(tag: "Element") -> list[tuple[str, "Element"]]:
    """The labels of a tag, by their names in results: the alias if there is one, else the value."""
    labels = (child for child in tag.iter() if read_kind(child) == "label")
    return [(name, child) for child in labels if (name := child.get("alias") or child.get("value"))]


def _is_on(tag: "Element", image_name: str) -> bool:
    return bool(tag.get("name")) and image_name in tag.get("toname", "").split(",")


def _control(own: _Labelled, image_name: str, *, beside: Sequence[_Labelled]) -> Control:
    tag = own.tag
    return Control(
        kind=read_kind(tag),
        from_name=tag.get("name", ""),
        to_name=image_name,
        labels=tuple(dict.fromkeys(label for source in (own, *beside) for label in source.labels)),
        takes_any_label=any(source.takes_any_label for source in (own, *beside)),
        # As in Label Studio, a control without the attribute has a smart tool.
        is_smart=tag.get("smart", "true").lower() in _TRUE or tag.get("smartonly", "").lower() in _TRUE,
        is_skipped=tag.get("model_skip", "").lower() in _TRUE,
        score_threshold=_number(tag, "model_score_threshold", "score_threshold", most=1.0) or 0.0,
        polygon_tolerance_px=_number(tag, "model_polygon_tolerance_px", most=MOST_TOLERANCE_PX),
        predicted=tuple(pair for source in (own, *beside) for pair in source.predicted),
        other_names=tuple(pair for source in (own, *beside) for pair in source.other_names),
        labels_beside=tuple(
            LabelsTag(other.tag.get("name", ""), other.labels, other.takes_any_label) for other in beside
        ),
    )


def _number(tag: "Element", *names: str, most: float) -> float | None:
    """The value, from 0 to `most`, of the first of these attributes that the tag has; None if it has none."""
    name, text = next(((name, text) for name in names if (text := tag.get(name))), ("", ""))
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 <= number <= most:
        raise BadInput(f'{name}="{text[:40]}" of <{tag.tag[:40]}> is not a number from 0 to {most:g}')
    return number
