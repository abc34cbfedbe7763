"""Reads the tags of a labelling interface as Label Studio's editor does."""

from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from backend.errors import BadInput

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MOST_BYTES = 1 << 20


def parse_tags(xml: str) -> "Element":
    """Return the root of a labelling interface.

    The editor does not tell capital letters in the names of attributes, so all are in small letters here: `toname`,
    `valuelist`.

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
    return root


def read_kind(tag: "Element") -> str:
    """A tag's name, in small letters."""
    return tag.tag.lower()
