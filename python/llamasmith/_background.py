"""Native work for asyncio: in threads of our own, so that an event loop goes on, and cancelled with its task."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

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


class _GivenUp(Exception):
    """The task was cancelled before its turn came; nobody asks for the result."""


async def in_thread(
    turn: AbstractContextManager[Any], work: Callable[[], _Result], cancel: Callable[[], None]
) -> _Result:
    """The result of `work`, done in a thread that waits for its `turn`.

    A task that is cancelled meanwhile does not get its turn any more. If it has it, `cancel` stops the work, which is
    waited for; the call of somebody else, who may have the turn, is never stopped.
    """
    lock = threading.Lock()
    at_work = given_up = False

    def run() -> _Result:
        nonlocal at_work
        with turn:
            with lock:
                if given_up:
                    raise _GivenUp
                at_work = True
            try:
                return work()
            finally:
                with lock:
                    at_work = False

    running: Future[_Result] = _threads().submit(run)
    try:
        return await asyncio.shield(asyncio.wrap_future(running))
    except asyncio.CancelledError:
        with lock:
            given_up, begun = True, at_work
        while begun and not running.done():
            with lock:
                if at_work:
                    cancel()
            await asyncio.sleep(_AGAIN_SECONDS)
        raise
