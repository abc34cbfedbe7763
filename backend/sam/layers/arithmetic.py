"""Chooses the dtype in which a model computes on this machine. The choice is the same at every start.

It goes by the processor's flags, not by timings. The dtype is part of an embedding's key, so a start on a busy machine
must not choose another dtype and find a cold cache.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from backend.errors import BadWeights
from backend.sam.layers.int8_linear import activation_bits

# By bits: counts up when numbers are rounded to whole ones in another way. 2: with ranges from the weights (Int8Mlp).
_ROUNDED = {7: 1, 8: 2}


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """The numbers that an encoder computes in.

    Attributes:
        dtype: of every layer, or of those that are costly and lose little precision by it.
        bits: of an activation where linear layers multiply in whole numbers; None: they multiply in `dtype`.
    """

    dtype: torch.dtype
    bits: int | None = None

    @property
    def name(self) -> str:
        """`float32`, `bfloat16`, or, say, `int7-float32`, for people."""
        dtype = str(self.dtype).removeprefix("torch.")
        return dtype if self.bits is None else f"int{self.bits}-{dtype}"

    @property
    def key(self) -> str:
        """For the keys of embeddings: those of one key are alike, also if another release made them."""
        edition = 1 if self.bits is None else _ROUNDED[self.bits]
        return self.name if edition == 1 else f"{self.name}-{edition}"


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether bfloat16 is faster than float32 on a device. Processors without it emulate it, which is slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # PyTorch before 2.7 does not have this function.
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return device.type == "cpu" and _is_fast(capabilities) and multiplies_in_bfloat16()


def _is_fast(capabilities: Mapping[str, object]) -> bool:
    """Return whether a processor, by `torch.cpu.get_capabilities`, multiplies bfloat16 faster than float32.

    Intel's processors that have float16 in AVX-512 (from Sapphire Rapids on) do so by AMX, which some hypervisors hide.
    By AVX-512 alone, bfloat16 takes them twice as long as float32; other processors take half as long.
    """
    is_slow = capabilities.get("avx512_fp16") and "Intel" in str(capabilities.get("cpu_name"))
    return bool(capabilities.get("amx_bf16") or (capabilities.get("avx512_bf16") and not is_slow))


def multiplies_in_bfloat16() -> bool:
    """Return whether oneDNN, which multiplies PyTorch's matrices, uses the processor's bfloat16.

    `ONEDNN_MAX_CPU_ISA=AVX2` forbids it, which imitates an older processor. The flags above do not show this.
    """
    # A PyTorch without oneDNN has no such operation.
    is_supported: Callable[[], bool] = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", bool)
    return is_supported()


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype that `SAMLOOP_DTYPE` names: `float32`, `bfloat16`, or `auto` for the faster of the two here."""
    if name == "auto":
        return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def choose_arithmetic(name: str, device: torch.device, *, holds_in_int8: bool) -> Arithmetic:
    """Return the arithmetic that `SAMLOOP_DTYPE` names; `auto` is the fastest that keeps the masks.

    Args:
        name: `auto`, `float32`, `bfloat16` or `int8`.
        device: computes.
        holds_in_int8: whether masks of this family of models were compared, and int8 keeps them.

    Raises:
        BadWeights: int8 is asked for, and PyTorch does not multiply in it on this device.
    """
    if name != "int8":
        dtype = choose_dtype(name, device)
        # Processors with bfloat16 take as long for rounding to int8 as the faster products save.
        gains = name == "auto" and holds_in_int8 and dtype == torch.float32
        return Arithmetic(dtype, activation_bits(device.type) if gains else None)
    if (bits := activation_bits(device.type)) is None:
        raise BadWeights(f"SAMLOOP_DTYPE=int8, but PyTorch has no such products for {device.type} here; use auto")
    return Arithmetic(choose_dtype("auto", device), bits)
