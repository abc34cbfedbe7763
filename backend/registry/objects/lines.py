"""The lines of one file of the state: objects under numbers, and blocks of a hundred numbers each made of them.

    <key>/000000112.json             the lines that some machine appended as the hundred and twelfth
    <key>/000000001-000000100.json   a block: what the objects under the numbers 1 to 100 said

A block is made once, and the objects under its numbers are deleted after that. So a machine that lags behind may find a
number free that was taken long ago; but then the block is there, and whoever looks for the block after the number does
not miss it. Where there is a block, only the block counts.
"""

import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from backend.errors import BadCheckpoint
from backend.registry.objects.store import ObjectStore
from backend.registry.refs import name_file, parse_content, sort_numbers

BLOCK = 100  # numbers; part of what is stored
_AT_ONCE = 16  # objects that are read or deleted at once


class SharedLines:
    """The lines that machines appended to one file, in the same order for all. Safe for any number of machines.

    All methods raise:
        Unavailable: the store cannot be reached.
        BadCheckpoint: an object is not JSON of ours.

    Args:
        store: the registry's.
        key: the file's, in the store.
    """

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store, self._key = store, key

    def take(self, number: int, lines: Sequence[str]) -> bool:
        """Append lines under a number; return False where the number is taken."""
        mine = {"by": secrets.token_hex(8), "lines": list(lines)}
        if not self._store.create(self._name_number(number), json.dumps(mine).encode()):
            return False
        block = self._read_block(number)
        if block is None or block[number - _first_of(number)] == mine:
            return True
        self._store.delete((self._name_number(number),))
        return False

    def read_from(self, number: int) -> list[list[str]]:
        """Return the lines under this number and the next numbers, to the end of the block at most; [] at the end."""
        entries: list[object] = []
        for next_number in range(number, _first_of(number) + BLOCK):
            data = self._store.read(self._name_number(next_number))
            if data is None:
                break
            entries.append(self._parse(data))
        block = self._read_block(number)  # after the numbers
        return [_list_lines(entry) for entry in (entries if block is None else block[number - _first_of(number) :])]

    def read_all(self) -> Iterator[list[str]]:
        """Yield the lines under all numbers from 1 on, as a new machine reads them: many objects at once."""
        names = self._store.list_objects(self._key)
        highest = max((0, *sort_numbers(names), *(first + BLOCK - 1 for first in _list_blocks(names))))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for part in pool.map(self.read_from, range(1, highest + 1, BLOCK)):
                yield from part
                if len(part) < BLOCK:
                    return

    def compact(self, names: Iterable[str], *, most_blocks: int) -> int:
        """Make blocks of numbers, and delete the objects under them; return how many blocks were made.

        A compaction that was killed is finished by the next. Of two at once, both make the same blocks.

        Args:
            names: of the objects below the key, from a listing.
            most_blocks: how many are made at most.
        """
        names = tuple(names)
        numbers, blocks, made = sort_numbers(names), _list_blocks(names), 0
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for first in sorted({_first_of(number) for number in numbers}):
                keys = [self._name_number(number) for number in numbers if _first_of(number) == first]
                if first not in blocks:
                    if made == most_blocks or len(keys) < BLOCK:
                        continue
                    parts = list(pool.map(self._store.read, keys))
                    if None in parts:  # another machine is at it
                        continue
                    entries = [self._parse(data) for data in parts if data is not None]
                    made += self._store.create(self._name_block(first), json.dumps({"entries": entries}).encode())
                list(pool.map(lambda key: self._store.delete((key,)), keys))
        return made

    def _read_block(self, number: int) -> list[object] | None:
        """Read the entries of the block with this number; None where nobody has made it."""
        key = self._name_block(_first_of(number))
        data = self._store.read(key)
        if data is None:
            return None
        entries = self._parse(data).get("entries")
        if isinstance(entries, list) and len(entries) == BLOCK:
            return entries
        raise BadCheckpoint(f"{self._store.url}/{key} holds no {BLOCK} entries: restore it from a copy of the store")

    def _parse(self, data: bytes) -> dict[str, object]:
        return parse_content(data, where=f"{self._store.url}/{self._key}")

    def _name_number(self, number: int) -> str:
        return f"{self._key}/{name_file(number)}"

    def _name_block(self, first: int) -> str:
        return f"{self._key}/{_block_file(first)}"


def _first_of(number: int) -> int:
    """The first number of the block with this number."""
    return (number - 1) // BLOCK * BLOCK + 1


def _block_file(first: int) -> str:
    return f"{first:09d}-{name_file(first + BLOCK - 1)}"


def _list_blocks(names: Iterable[str]) -> set[int]:
    """The first numbers of the blocks among these names."""
    numbers = sort_numbers(name.partition("-")[2] for name in names)
    return {last - BLOCK + 1 for last in numbers}


def _list_lines(entry: object) -> list[str]:
    lines = entry.get("lines") if isinstance(entry, dict) else None
    return [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []
