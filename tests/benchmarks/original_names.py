"""What a family's own code calls its weights, and what masks it makes of them.

python tests/benchmarks/original_names.py NAME FOLDER [--write] [--only CHECKPOINT]

NAME is a key of `CODE`, FOLDER a clone of that repository. Its modules are built with random weights. `--write` writes
the names and shapes of their states to tests/data/original_names. Without it every state is read as a file of that
code, and the masks of the model that was read are compared with those of the code itself: for a click, two clicks and a
box, of one image.

Packages that the clone imports and no weight depends on need not be installed. EdgeTAM needs timm, SAM 3 einops.
"""

import importlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import MagicMock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

from backend.sam.decoder import cells_of
from backend.sam.families import list_families
from backend.sam.families.original import model_of_file
from backend.sam.family import DecoderInputs, Family

LISTS = Path(__file__).resolve().parents[1] / "data" / "original_names"
_UNNEEDED = (
    "decord",
    "ftfy",
    "hydra",
    "hydra.core",
    "hydra.core.global_hydra",
    "iopath",
    "iopath.common",
    "iopath.common.file_io",
    "omegaconf",
    "pkg_resources",
    "psutil",
    "pycocotools",
    "pycocotools.mask",
    "skimage",
    "torchvision",
    "torchvision.ops",
    "torchvision.ops.boxes",
    "torchvision.ops.roi_align",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "torchvision.transforms.v2",
    "triton",
    "triton.language",
)
_FLOAT = re.compile(r"[-+]?\d+(\.\d*)?e[-+]?\d+")  # which YAML 1.1 takes for a text
# A click, two clicks, and a box's corners, in canvas px with their labels.
PROMPTS = (
    ([[400.0, 300.0]], [1]),
    ([[400.0, 300.0], [700.0, 100.0]], [1, 0]),
    ([[200.0, 250.0], [800.0, 700.0]], [2, 3]),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a family's own code says of a prompt: logits (1, 4, g, g) on the grid, and the predicted IoUs (1, 4)."""

    logits: Tensor
    ious: Tensor


Ask = Callable[[Tensor, Tensor], Answer]  # points (1, k, 2) in canvas px, and their labels (1, k)


class Code(Protocol):
    """The code that a family was published with."""

    def build(self, folder: Path) -> Iterator[tuple[str, Any]]:
        """The published checkpoints' names, and models of their shapes with random weights."""

    def show(self, model: Any, pixels: Tensor) -> Ask:
        """Encode a canvas, and return what answers prompts on it."""


class SamHq:
    """SysCV/sam-hq. Its light model, `vit_tiny`, has no class in transformers."""

    def build(self, folder: Path) -> Iterator[tuple[str, Any]]:
        """As `Code.build`."""
        del folder
        registry = importlib.import_module("segment_anything.build_sam").sam_model_registry
        for size in ("vit_b", "vit_l", "vit_h"):
            yield f"sam_hq_{size}", registry[size]()

    def show(self, model: Any, pixels: Tensor) -> Ask:
        """As `Code.show`; the mask of the further token is added to all of SAM's."""
        seen, early = model.image_encoder(pixels)
        decoder, prompts = model.mask_decoder, model.prompt_encoder
        fine = decoder.embedding_encoder(seen) + decoder.compress_vit_feat(early[0].permute(0, 3, 1, 2))

        def ask(points: Tensor, labels: Tensor) -> Answer:
            is_box = labels.tolist() == [[2, 3]]
            sparse, dense = prompts(
                points=None if is_box else (points, labels), boxes=points.view(1, 4) if is_box else None, masks=None
            )
            logits, ious = decoder.predict_masks(
                image_embeddings=seen,
                image_pe=prompts.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                hq_features=fine,
            )
            return Answer(logits[:, :4] + logits[:, 4:], ious)

        return ask


class Sam:
    """segment-anything as SysCV/sam-hq brings it along beside its own: SAM 1 and MobileSAM."""

    def build(self, folder: Path) -> Iterator[tuple[str, Any]]:
        """As `Code.build`."""
        del folder
        registry = importlib.import_module("segment_anything.build_sam_baseline").sam_model_registry_baseline
        for size, name in (
            ("vit_b", "sam_vit_b"),
            ("vit_l", "sam_vit_l"),
            ("vit_h", "sam_vit_h"),
            ("vit_tiny", "mobile_sam"),
        ):
            yield name, registry[size]()

    def show(self, model: Any, pixels: Tensor) -> Ask:
        """As `Code.show`."""
        seen, prompts = model.image_encoder(pixels), model.prompt_encoder
        seen = seen[0] if isinstance(seen, tuple) else seen

        def ask(points: Tensor, labels: Tensor) -> Answer:
            is_box = labels.tolist() == [[2, 3]]
            sparse, dense = prompts(
                points=None if is_box else (points, labels), boxes=points.view(1, 4) if is_box else None, masks=None
            )
            return Answer(
                *model.mask_decoder.predict_masks(
                    image_embeddings=seen,
                    image_pe=prompts.get_dense_pe(),
                    sparse_prompt_embeddings=sparse,
                    dense_prompt_embeddings=dense,
                )
            )

        return ask


class Sam2:
    """facebookresearch/sam2, and facebookresearch/EdgeTAM, which grew out of it.

    Args:
        configs: of the models, below `sam2/configs`.
    """

    def __init__(self, *configs: str) -> None:
        self._configs = configs

    def build(self, folder: Path) -> Iterator[tuple[str, Any]]:
        """As `Code.build`."""
        for path in sorted(path for some in self._configs for path in (folder / "sam2" / "configs").glob(some)):
            config = yaml.safe_load(path.read_text())["model"]
            yield path.stem.replace("+", "_plus"), make(config)

    def show(self, model: Any, pixels: Tensor) -> Ask:
        """As `Code.show`: as its predictor for images does it."""
        fine, middle, coarse = model.forward_image(pixels)["backbone_fpn"]
        return ask_sam2(model, coarse + model.no_mem_embed.view(1, -1, 1, 1), [fine, middle])


class Sam3:
    """facebookresearch/sam3: the encoder and its neck for the tracker, and the tracker."""

    def build(self, folder: Path) -> Iterator[tuple[str, Any]]:
        """As `Code.build`; the rest of the detector, which takes phrases, is not built."""
        del folder
        builder: Any = importlib.import_module("sam3.model_builder")
        builder._create_position_encoding = lambda **_: nn.Identity()  # without weights; its own wants a GPU
        whole: Any = nn.Module()
        whole.detector, whole.detector.backbone = nn.Module(), nn.Module()
        whole.detector.backbone.vision_backbone = builder._create_vision_backbone()
        builder.PositionEmbeddingSine = lambda **_: nn.Identity()
        whole.tracker = builder.build_tracker(apply_temporal_disambiguation=False)
        yield "sam3", whole

    def show(self, model: Any, pixels: Tensor) -> Ask:
        """As `Code.show`: as its predictor for SAM 1's task does it."""
        backbone, tracker = model.detector.backbone.vision_backbone, model.tracker
        (seen,) = backbone.trunk(pixels)[-1:]
        fine, middle, coarse = (layer(seen) for layer in backbone.sam2_convs[:3])
        decoder = tracker.sam_mask_decoder
        return ask_sam2(
            tracker, coarse + tracker.no_mem_embed.view(1, -1, 1, 1), [decoder.conv_s0(fine), decoder.conv_s1(middle)]
        )


CODE: Mapping[str, Code] = {
    "sam": Sam(),
    "sam-hq": SamHq(),
    "sam2": Sam2("sam2.1/*.yaml", "sam2/*.yaml"),
    "edgetam": Sam2("edgetam.yaml"),
    "sam3": Sam3(),
}


def main() -> None:
    """Build what is asked for, write its lists, and compare."""
    code, folder = CODE[sys.argv[1]], Path(sys.argv[2]).resolve()
    pretend_unneeded()
    sys.path.insert(0, str(folder))
    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else None
    for checkpoint, model in code.build(folder):
        if only not in {None, checkpoint}:
            continue
        if "--write" in sys.argv:
            write_list(checkpoint, model.state_dict())
            continue
        make_lively(model)
        worst = compare(code, model)
        sys.stdout.write(f"{checkpoint}: masks differ by {worst:.1e} of the largest logit\n")
        sys.stdout.flush()


def ask_sam2(model: Any, coarse: Tensor, finer: list[Tensor]) -> Ask:
    """What answers prompts by SAM 2's decoder, given the three maps of an image."""

    def ask(points: Tensor, labels: Tensor) -> Answer:
        prompts = model.sam_prompt_encoder
        sparse, dense = prompts(points=(points, labels), boxes=None, masks=None)
        logits, ious, *_ = model.sam_mask_decoder.predict_masks(
            image_embeddings=coarse,
            image_pe=prompts.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            repeat_image=False,
            high_res_features=finer,
        )
        return Answer(logits, ious)

    return ask


def make(config: Any) -> Any:
    """What a config says: `_target_` is a class, all else its arguments."""
    if isinstance(config, list):
        return [make(item) for item in config]
    if isinstance(config, str):
        return float(config) if _FLOAT.fullmatch(config) else config
    if not isinstance(config, dict):
        return config
    arguments = {name: make(value) for name, value in config.items() if name != "_target_"}
    if "_target_" not in config:
        return arguments
    module, _, name = config["_target_"].rpartition(".")
    if name == "TimmBackbone":  # its own fetches weights
        return make_timm_backbone(importlib.import_module(module), arguments)
    return getattr(importlib.import_module(module), name)(**arguments)


def make_timm_backbone(module: Any, arguments: dict[str, Any]) -> Any:
    """EdgeTAM's encoder with random weights."""
    create = module.create_model
    module.create_model = lambda *args, **options: create(*args, **{**options, "pretrained": False})
    return module.TimmBackbone(**arguments)


def pretend_unneeded() -> None:
    """Put a stand-in where a package is missing that no weight depends on."""
    for package in _UNNEEDED:
        try:
            importlib.import_module(package)
        except (ImportError, RuntimeError):
            sys.modules[package] = MagicMock()


@torch.no_grad()
def make_lively(model: nn.Module) -> None:
    """Add noise to all weights, by the same seed: some are born as zeros, which nobody could tell apart."""
    torch.manual_seed(0)
    for weight in model.parameters():
        weight.add_(0.02 * torch.randn(weight.shape))
    model.eval()


def write_list(checkpoint: str, state: Mapping[str, Tensor]) -> None:
    """A line a weight: its name, and its shape as `3x16x16`; `-` for a single number."""
    lines = [f"{name} {'x'.join(map(str, value.shape)) or '-'}" for name, value in sorted(state.items())]
    (LISTS / f"{checkpoint}.txt").write_text("\n".join(lines) + "\n")


@torch.no_grad()
def compare(code: Code, model: Any) -> float:
    """Read the model's state as a file, and ask both for the masks of every prompt.

    Returns:
        The largest difference of a logit or of a predicted IoU, as a share of the largest logit.
    """
    family, ours = read_back(model.state_dict())
    side = family.frame.canvas_px
    pixels = functional.interpolate(torch.randn(1, 3, 12, 12), (side, side), mode="bilinear")
    ask, maps = code.show(model, pixels), family.encode(ours.vision_encoder, pixels)
    positions, worst = cells_of(family.positions(ours), torch.float32), 0.0
    decoder = ours.mask_decoder.train()  # keeps all four masks, as the code's own function for them does
    for points, labels in PROMPTS:
        coords, kinds = torch.tensor([points]), torch.tensor([labels])
        is_box = labels == [2, 3]
        sparse, dense = ours.prompt_encoder(
            input_points=None if is_box else coords[None],
            input_labels=None if is_box else kinds[None],
            input_boxes=coords.view(1, 1, 4) if is_box else None,
            input_masks=None,
        )
        inputs = DecoderInputs(maps=maps, positions=positions, sparse=sparse[0], dense=dense[:1, :, :1, :1])
        decoded, theirs = family.decode(decoder, inputs), ask(coords, kinds)
        largest = float(theirs.logits.abs().max())
        worst = max(worst, float((decoded.logits - theirs.logits).abs().max()) / largest)
        worst = max(worst, float((decoded.ious - theirs.ious).abs().max()) / largest)
    return worst


def read_back(state: Mapping[str, Tensor]) -> tuple[Family, Any]:
    """The model as samloop reads it from a file of the family's own code."""
    with tempfile.TemporaryDirectory() as folder:
        torch.save({"model": dict(state)}, Path(folder) / "weights.pt")
        read: Any = model_of_file(Path(folder) / "weights.pt")
        read.save_pretrained(Path(folder) / "model")
        family = next(family for family in list_families() if type(read).__name__ in family.architectures)
        return family, family.load(Path(folder) / "model").eval()


if __name__ == "__main__":
    main()
