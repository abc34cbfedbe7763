"""The labelling interface of a project: which image it shows, and which controls draw on it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from backend.errors import BadInput

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MOST_BYTES = 1 << 20
MOST_CONTROLS = 256
_KINDS = frozenset(
    f"{shape}{suffix}"
    for shape in ("brush", "polygon", "rectangle", "ellipse", "keypoint", "bitmask", "vector")
    for suffix in ("labels", "")
)


@dataclass(frozen=True, slots=True)
class Control:
    """A tag that draws on the image. `kind` is its name in small letters, and the `type` of its regions."""

    kind: str
    from_name: str
    to_name: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """The image's tag (`name="image"`), its key in a task's data (`value="$image"`), the controls on it in order."""

    image_name: str
    image_key: str
    controls: tuple[Control, ...]

    def control(self, kind: str) -> Control | None:
        """Return the first control of this kind, such as "brushlabels"; None where the project has none."""
        return next((control for control in self.controls if control.kind == kind), None)


def parse_label_config(xml: str) -> LabelConfig:
    """Read a project's `label_config`.

    Raises:
        BadInput: over 1 MiB or 256 controls, no well-formed XML, a DTD or an entity, or not exactly one image tag
            with a name and a value of the form "$key".
    """
    root = _parse(xml)
    image_name, image_key = _image(root)
    drawing = [tag for tag in root.iter() if _kind(tag) in _KINDS]
    if len(drawing) > MOST_CONTROLS:
        raise BadInput(f"the label config has {len(drawing)} controls, and {MOST_CONTROLS} are the most")
    controls = tuple(
        Control(
            kind=_kind(tag),
            from_name=tag.get("name", ""),
            to_name=image_name,
            labels=tuple(dict.fromkeys(label for child in tag.iter("Label") if (label := _label(child)))),
        )
        for tag in drawing
        if tag.get("name") and image_name in tag.get("toName", "").split(",")
    )
    return LabelConfig(image_name, image_key, controls)


def _parse(xml: str) -> "Element":
    size = len(xml.encode(errors="replace"))
    if size > MOST_BYTES:
        raise BadInput(f"the label config has {size} bytes, and {MOST_BYTES} are the most")
    try:
        root: Element = fromstring(xml, forbid_dtd=True)
    except DefusedXmlException as fault:
        raise BadInput("the label config declares a document type or entities; leave them out") from fault
    except (ParseError, ValueError) as fault:
        raise BadInput(f"the label config is not well-formed XML: {fault}") from fault
    return root


def _image(root: "Element") -> tuple[str, str]:
    images = [tag for tag in root.iter() if _kind(tag) == "image"]
    if len(images) != 1:
        raise BadInput(f"the label config has {len(images)} <Image> tags, and samloop works on projects with one")
    name, value = images[0].get("name", ""), images[0].get("value", "")
    if not name or not value.startswith("$") or len(value) == 1:
        raise BadInput(
            f'the <Image> tag has name="{name[:80]}" value="{value[:80]}"; write name="image" value="$image"'
        )
    return name, value[1:]


def _kind(tag: "Element") -> str:
    return tag.tag.lower()


def _label(tag: "Element") -> str:
    """A label's name in results: its alias where it has one."""
    return tag.get("alias") or tag.get("value") or ""
