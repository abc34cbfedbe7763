"""Lua programs that Redis runs in one step. The first lines of `lua/*.lua` give their keys, arguments and answer."""

from collections.abc import Sequence
from enum import Enum
from functools import cache
from importlib import resources
from typing import Any

from redis import Redis


class Script(Enum):
    """A Lua program, by its file's name."""

    ASK = "ask"
    BEGIN = "begin"
    FINISH = "finish"
    CANCEL = "cancel"
    PUT_BACK = "put_back"
    TAKE_LEASE = "take_lease"
    RENEW_LEASE = "renew_lease"
    RELEASE_LEASE = "release_lease"
    RELEASE_DEAD_LEASE = "release_dead_lease"

    def run(self, connection: Redis, *, keys: Sequence[str], args: Sequence[str | int] = ()) -> Any:  # noqa: ANN401 - what Lua returns
        """Run the program in Redis, atomically, and return its answer.

        Raises:
            redis.exceptions.RedisError: Redis cannot be reached, or refuses the program.
        """
        return connection.eval(_read_source(self.value), len(keys), *keys, *args)


@cache
def _read_source(name: str) -> str:
    return (resources.files("backend.work") / "lua" / f"{name}.lua").read_text(encoding="utf-8")
