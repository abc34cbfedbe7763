"""A project's status as server-sent events, for as long as a browser listens."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from backend.errors import SamloopError
from backend.server.status import ProjectStatus

_LOOK_S, _QUIET_S = 0.5, 15.0


async def status_events(
    read: Callable[[], ProjectStatus],
    *,
    has_left: Callable[[], Awaitable[bool]],
    is_ending: Callable[[], bool] = lambda: False,
    look_s: float = _LOOK_S,
    quiet_s: float = _QUIET_S,
) -> AsyncIterator[str]:
    """Yield an event whenever the status changes, and a comment now and then to keep the connection open.

    No events come while the queue or the registry cannot be reached: both come back, and the connection must last.

    Args:
        read: returns the current status; called in a thread, since it asks Redis.
        has_left: whether the browser is gone.
        is_ending: whether the server stops; the stream then ends within `look_s`, and the browser reconnects.
        look_s: how often the status is read, s.
        quiet_s: the longest silence, s.
    """
    last, silent_s = "", 0.0
    while not is_ending() and not await has_left():
        try:
            now = (await asyncio.to_thread(read)).model_dump_json()
        except SamloopError:
            now = last
        if now != last:
            last, silent_s = now, 0.0
            yield f"event: status\ndata: {now}\n\n"
        elif silent_s >= quiet_s:
            silent_s = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(look_s)
        silent_s += look_s
