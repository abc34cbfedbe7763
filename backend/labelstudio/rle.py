"""Label Studio's brush masks: a bit-packed run-length code over the flattened RGBA image. This is not COCO's RLE.

    32 bits  how many values the code holds, 4 for every pixel
     5 bits  bits in a value, less 1; Label Studio always writes values of 8 bits
  4x 4 bits  four widths of run lengths, less 1; Label Studio writes 3, 4, 8 and 16
then, until the count is reached:
     1 bit   1 for a run of one value, 0 for a row of literal values
     2 bits  which of the four widths
     n bits  how many values, less 1
     8 bits  the value of the run, or every literal

Ours because it is bit-exact, vectorised, and bounded in memory; the SDK's code loops over every value in Python.
Source: https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack, which Label Studio's front end uses.
"""

import struct
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8

from backend.errors import BadInput
from backend.labelstudio.alpha import mask_of_alpha

_COUNT_BITS, _VALUE_BITS = 32, 8
_RUN_BITS = (3, 4, 8, 16)
_HEADER_BITS = _COUNT_BITS + 5 + 4 * len(_RUN_BITS)
_LONGEST_RUN = 1 << _RUN_BITS[-1]


def encode_mask(mask: Bool[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"]) -> list[int]:
    """Encode a mask as the bytes of `value.rle`.

    Equal, byte for byte, to `label_studio_sdk.converter.brush.mask2rle` of `mask * 255`, or of the alpha. Apart from
    one comparison of every pixel with its neighbour, time and memory grow with the number of runs, not of pixels.

    Args:
        mask: bool, written as 255 inside and 0 outside; or an alpha of uint8, written as it is. All four channels of a
            pixel get the same value.
    """
    values, lengths = _runs(mask)
    width_index = np.minimum(np.searchsorted([1 << bits for bits in _RUN_BITS], lengths), len(_RUN_BITS) - 1)
    pieces = -(-lengths // _LONGEST_RUN)
    lengths = _cut_long(lengths, pieces)
    values, width_index = np.repeat(values, pieces), np.repeat(width_index, pieces)
    run_bits = np.asarray(_RUN_BITS)[width_index]
    codes = ((4 | width_index) << run_bits | (lengths - 1)) << _VALUE_BITS | values
    widths = 3 + run_bits + _VALUE_BITS
    ends = _HEADER_BITS + np.cumsum(widths)
    # A byte more than needed if the code ends on a byte's edge, as the SDK and the front end write it.
    packed = np.zeros((int(ends[-1]) if len(ends) else _HEADER_BITS) // 8 + 1 + 4, np.uint8)
    packed[:7] = np.frombuffer(_header(4 * mask.size), np.uint8)
    _place(packed, codes, starts=ends - widths, widths=widths)
    return list(packed[:-4].tobytes())


def decode_mask(rle: object, *, height_px: int, width_px: int) -> Bool[np.ndarray, "{height_px} {width_px}"]:
    """Decode `value.rle` to the mask that its alpha shows (alpha.mask_of_alpha).

    Allocates at most a few bytes for every pixel of the stated size and for every byte of the code: a code that claims
    another size is refused before it is expanded.

    Raises:
        BadInput: the value is not a list of bytes, states another size, ends early, or runs beyond its size.
    """
    code = _check_bytes(rle, height_px=height_px, width_px=width_px)
    run_bits = _check_header(code, height_px=height_px, width_px=width_px)
    symbols = _read_symbols(code, 4 * height_px * width_px, run_bits=run_bits)
    values, ends = _values(code, symbols)
    # Value i is an alpha if i % 4 == 3, so the first n values hold n // 4 alphas.
    pixels = np.diff(ends // 4, prepend=0)
    alphas = values[pixels > 0]
    if not ((alphas > 0) & (alphas < 128)).any():
        # No faint value and no soft edge: true for nearly every mask, and many times faster.
        return np.repeat(values > 127, pixels).reshape(height_px, width_px)
    return mask_of_alpha(np.repeat(values, pixels).reshape(height_px, width_px))


class _Symbols(NamedTuple):
    """Runs and rows of literals. `start` and `end` (exclusive) count values; `value_bit` is the first value's bit."""

    start: Int[np.ndarray, " n"]
    end: Int[np.ndarray, " n"]
    value_bit: Int[np.ndarray, " n"]
    is_run: Bool[np.ndarray, " n"]


def _runs(
    mask: Bool[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"],
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """The value (0 to 255) and the length (in channels, 4 a pixel) of every run, in order."""
    flat = mask.ravel()
    if flat.size == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    edges = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]))
    return flat[edges[:-1]].astype(np.int64) * (255 if mask.dtype == np.bool_ else 1), 4 * np.diff(edges)


def _cut_long(lengths: Int[np.ndarray, " n"], pieces: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """Cut every run that is longer than the widest length field into full pieces and a rest."""
    whole = np.full(int(pieces.sum()), _LONGEST_RUN)
    whole[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * _LONGEST_RUN
    return whole


def _header(count: int) -> bytes:
    bits = count << 5 | (_VALUE_BITS - 1)
    for width in _RUN_BITS:
        bits = bits << 4 | (width - 1)
    return (bits << (56 - _HEADER_BITS)).to_bytes(7, "big")


def _place(
    packed: UInt8[np.ndarray, " bytes"],
    codes: Int[np.ndarray, " n"],
    *,
    starts: Int[np.ndarray, " n"],
    widths: Int[np.ndarray, " n"],
) -> None:
    """Write every code, `widths` bits wide, into `packed` at its first bit, by a bitwise or."""
    first_byte = starts // 8
    window = codes << (40 - widths - starts % 8)
    for k in range(5):
        # A code is wider than a byte. So no two codes begin in the same byte, and no index repeats within a pass.
        packed[first_byte + k] |= (window >> (32 - 8 * k) & 255).astype(np.uint8)


def _check_bytes(rle: object, *, height_px: int, width_px: int) -> bytes:
    if not isinstance(rle, list):
        raise BadInput(f"value.rle is {type(rle).__name__}, not a list of bytes")
    # The longest sensible code writes every value alone, in 14 bits.
    longest = height_px * width_px * 7 + 64
    if len(rle) > longest:
        raise BadInput(f"value.rle has {len(rle)} bytes, but a mask of {width_px}x{height_px} takes at most {longest}")
    try:
        code = _pack_bytes(rle)
    except (ValueError, TypeError) as fault:
        raise BadInput("value.rle holds something that is not a whole number from 0 to 255") from fault
    if len(code) * 8 < _HEADER_BITS:
        raise BadInput(f"value.rle has {len(code)} bytes, less than its header of 7")
    return code


def _pack_bytes(rle: list[Any]) -> bytes:
    try:
        return bytes(rle)
    except TypeError:
        # As JavaScript does, take 1.0 for 1: tables that files pass through write whole numbers so.
        return bytes([int(byte) if isinstance(byte, float) and byte.is_integer() else byte for byte in rle])


def _check_header(code: bytes, *, height_px: int, width_px: int) -> tuple[int, ...]:
    """The four widths of run lengths."""
    bits = int.from_bytes(code[:7], "big") >> (56 - _HEADER_BITS)
    count, value_bits = bits >> 21, (bits >> 16 & 31) + 1
    if count != 4 * height_px * width_px:
        raise BadInput(
            f"value.rle holds {count} values, but a mask of {width_px}x{height_px} has {4 * height_px * width_px}: "
            "original_width and original_height must be those of the image"
        )
    if value_bits != _VALUE_BITS:
        raise BadInput(f"value.rle has values of {value_bits} bits; Label Studio writes {_VALUE_BITS}")
    return tuple((bits >> shift & 15) + 1 for shift in (12, 8, 4, 0))


def _read_symbols(code: bytes, count: int, *, run_bits: tuple[int, ...]) -> _Symbols:
    """Find every symbol, in order.

    This must be a loop in Python: a symbol begins where the symbol before it ends.
    """
    begins: list[int] = []
    ends: list[int] = []
    padded, word_at = code + bytes(8), struct.Struct(">I").unpack_from
    # By a symbol's first 3 bits: the bits of a further literal, where the length ends, and the length's mask.
    kinds = [
        (0 if kind & 4 else _VALUE_BITS, 29 - run_bits[kind & 3], (1 << run_bits[kind & 3]) - 1) for kind in range(8)
    ]
    at, done, stop = _HEADER_BITS, 0, 8 * len(code)
    while done < count and at < stop:
        word = word_at(padded, at >> 3)[0] << (at & 7)
        further_bits, shift, mask = kinds[word >> 29 & 7]
        further = word >> shift & mask
        begins.append(at)
        at += 40 - shift + further_bits * further
        done += further + 1
        ends.append(done)
    if done < count or at > stop:
        raise BadInput(f"value.rle is cut short: its {len(code)} bytes do not contain the {count} values of its header")
    if done > count:
        raise BadInput(f"value.rle runs over its end: {done} values where its header says {count}")
    begin, end = np.asarray(begins, np.int64), np.asarray(ends, np.int64)
    kind = _bytes_at(code, begin) >> 5
    return _Symbols(
        start=end - np.diff(end, prepend=0),
        end=end,
        value_bit=begin + 3 + np.asarray(run_bits)[kind & 3],
        is_run=kind >= 4,
    )


def _values(code: bytes, symbols: _Symbols) -> tuple[UInt8[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Every value in the code, and the end (exclusive, in values) up to which it holds."""
    written = np.where(symbols.is_run, 1, symbols.end - symbols.start)
    if len(written) == written.sum():
        return _bytes_at(code, symbols.value_bit), symbols.end
    nth = np.arange(int(written.sum())) - np.repeat(np.cumsum(written) - written, written)
    values = _bytes_at(code, np.repeat(symbols.value_bit, written) + _VALUE_BITS * nth)
    # A run's only value holds up to its end; a literal holds for itself.
    left = np.where(symbols.is_run, 0, symbols.end - symbols.start - 1)
    return values, np.repeat(symbols.end - left, written) + nth


def _bytes_at(code: bytes, bit: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, " n"]:
    """The 8 bits that begin at each bit."""
    padded = np.frombuffer(code + b"\0", np.uint8)
    first = bit // 8
    pair = padded[first].astype(np.uint16) << 8 | padded[first + 1]
    return np.asarray(pair >> (8 - bit % 8).astype(np.uint16) & 255, np.uint8)
