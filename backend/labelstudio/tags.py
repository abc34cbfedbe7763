"""Reads the tags of a labelling interface as Label Studio's editor does."""

from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from backend.errors import BadInput

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MOST_BYTES = 1 << 20
# The tags that show data in Label Studio 1.23.2. Every other tag with a name is a control.
_OBJECTS = frozenset(
    {
        "audio",
        "audioplus",
        "chat",
        "custominterface",
        "hypertext",
        "image",
        "list",
        "paragraphs",
        "pdf",
        "table",
        "text",
        "timeseries",
        "video",
    }
)


def parse_tags(xml: str) -> "Element":
    """Return the root of a labelling interface.

    The editor does not tell capital letters in the names of attributes, so all are in small letters here: `toname`,
    `valuelist`. It also adds a missing `toname` to controls, if a single tag shows data.

    Raises:
        BadInput: over 1 MiB, no well-formed XML, a DTD or an entity.
    """
    size = len(xml.encode(errors="replace"))
    if size > MOST_BYTES:
        raise BadInput(f"the label config has {size} bytes; at most {MOST_BYTES} are allowed")
    try:
        root: Element = fromstring(xml, forbid_dtd=True)
    except DefusedXmlException as fault:
        raise BadInput("the label config declares a document type or entities; leave them out") from fault
    except (ParseError, ValueError) as fault:
        raise BadInput(f"the label config is not well-formed XML: {fault}") from fault
    for tag in root.iter():
        tag.attrib = {name.lower(): value for name, value in tag.attrib.items()}
    _add_missing_to_names(root)
    return root


def read_kind(tag: "Element") -> str:
    """A tag's name, in small letters."""
    return tag.tag.lower()


def _add_missing_to_names(root: "Element") -> None:
    named = [tag for tag in root.iter() if tag.get("name")]
    shown = [tag.get("name", "") for tag in named if read_kind(tag) in _OBJECTS]
    for tag in named if len(shown) == 1 else ():
        if read_kind(tag) not in _OBJECTS and not tag.get("toname"):
            tag.set("toname", shown[0])
