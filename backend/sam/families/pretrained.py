"""Reads a `save_pretrained` folder. A missing weight is an error, and never a random number."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from backend.errors import BadWeights


def read_architectures(folder: Path) -> tuple[str, ...]:
    """Return the names of classes in the folder's `config.json`; nothing if it names none or cannot be read."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return ()
    names = config.get("architectures") if isinstance(config, dict) else None
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


def read_pretrained(kind: type[PreTrainedModel], folder: Path) -> Any:  # noqa: ANN401 - transformers types few calls
    """Return the folder's model, in float32 on the CPU.

    Raises:
        BadWeights: the folder holds no such model, or lacks weights.
    """
    reader: Any = kind
    try:
        with without_progress_bars():
            model, loading = reader.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as fault:
        raise BadWeights(f"{folder} holds no SAM that can be loaded: {str(fault)[:300]}") from fault
    # transformers fills a missing weight with random numbers, and only logs it.
    if lacking := sorted(map(str, (*loading["missing_keys"], *loading["mismatched_keys"]))):
        raise BadWeights(f"{folder} lacks weights of a SAM, or has them in other shapes: {', '.join(lacking[:5])}")
    return model


def fill(model: nn.Module, state: Mapping[str, Tensor], *, title: str) -> None:
    """Load a state into a model, which must have exactly the state's names and shapes. Sets evaluation mode.

    Args:
        model: of the size that the state has.
        state: with the model's own names.
        title: what the error calls the weights, such as "a SAM's".

    Raises:
        BadWeights: a weight is missing, unknown, of another shape or not finite. The message names it.
    """
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    odd = {
        "missing": sorted(shapes.keys() - state.keys()),
        "unknown": sorted(state.keys() - shapes.keys()),
        "of another shape": [name for name, value in state.items() if shapes.get(name, value.shape) != value.shape],
        "not finite": [name for name, value in state.items() if not torch.isfinite(value).all()],
    }
    if any(odd.values()):
        listed = "; ".join(f"{', '.join(names[:3])} {fault}" for fault, names in odd.items() if names)
        raise BadWeights(
            f"These are not {title} weights, or not all of them ({listed}): fetch or write the file again."
        )
    model.load_state_dict(state)
    model.eval()


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing progress bars on stderr, where our log goes."""
    was_enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if was_enabled:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
