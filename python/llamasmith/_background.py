"""Native work for asyncio: in threads of our own, so that an event loop goes on, and cancelled with its task."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["in_thread"]

_Result = TypeVar("_Result")

# Threads that wait for native code, which brings its own threads: as many as sessions may wait at once.
_executor: ThreadPoolExecutor | None = None
MAX_WAITING = 64
# A session forgets a cancel() that comes before its call has begun: it is repeated until the call has ended.
_AGAIN_SECONDS = 0.02


def _threads() -> ThreadPoolExecutor:
    global _executor
    if _executor is None:
        _executor = ThreadPoolExecutor(MAX_WAITING, thread_name_prefix="llamasmith")
    return _executor


async def in_thread(work: Callable[[], _Result], cancel: Callable[[], None]) -> _Result:
    """The result of `work`, done in a thread. Where the task is cancelled, `cancel` stops it, and is waited for."""
    running: Future[_Result] = _threads().submit(work)
    try:
        return await asyncio.shield(asyncio.wrap_future(running))
    except asyncio.CancelledError:
        while not running.done() and not running.cancel():
            cancel()
            await asyncio.sleep(_AGAIN_SECONDS)
        raise
