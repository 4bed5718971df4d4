"""asyncio: an event loop goes on while a model computes, and cancelled tasks stop it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llamasmith import Session
from llamasmith.errors import InvalidOption

GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True}


def test_the_same_text_as_without(session: Any) -> None:
    expected = session.generate("hello", max_tokens=20, **GREEDY)

    async def work() -> None:
        assert (await session.agenerate("hello", max_tokens=20, **GREEDY)).tokens == expected.tokens
        stream = session.astream("hello", max_tokens=20, **GREEDY)
        with pytest.raises(InvalidOption, match="not begun"):
            _ = stream.result
        assert "".join([piece async for piece in stream]) == expected.text
        assert stream.result.tokens == expected.tokens

    asyncio.run(work())


def test_errors_come_through(session: Any) -> None:
    async def work() -> None:
        with pytest.raises(InvalidOption):
            await session.agenerate([])
        with pytest.raises(InvalidOption):
            await session.agenerate("a", top_p=7)
        with pytest.raises(InvalidOption):
            await session.achat([])

    asyncio.run(work())


def test_the_loop_goes_on(tiny: Any) -> None:
    """Many sessions and a clock, in one event loop."""

    async def work() -> int:
        sessions = [Session(tiny, n_ctx=512, n_threads=1) for _ in range(3)]
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        results = await asyncio.gather(
            *(s.agenerate([1, 50 + i], max_tokens=300, **GREEDY) for i, s in enumerate(sessions))
        )
        ticking.cancel()
        assert [len(result.tokens) for result in results] == [300] * 3
        for session in sessions:
            session.close()
        return ticks

    assert asyncio.run(work()) > 3


def test_a_cancelled_task_stops_the_session(tiny: Any) -> None:
    with Session(tiny, n_ctx=512, n_threads=1) as session:

        async def work() -> None:
            task = asyncio.create_task(session.agenerate([1, 50], max_tokens=400, **GREEDY))
            while not session.busy and not task.done():
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not session.busy
            assert (await session.agenerate([1, 50], max_tokens=3, **GREEDY)).stop_reason == "length"

        asyncio.run(work())


def test_a_stream_that_is_left_leaves_the_session_usable(session: Any) -> None:
    async def work() -> None:
        async for _ in session.astream("hello", max_tokens=100, **GREEDY):
            break
        assert (await session.agenerate("hello", max_tokens=3, **GREEDY)).stop_reason == "length"

    asyncio.run(work())


def test_a_task_that_waits_for_its_turn_stops_nobody(tiny: Any) -> None:
    with Session(tiny, n_ctx=512, n_threads=1, on_busy="wait") as session:

        async def work() -> None:
            first = asyncio.create_task(session.agenerate([1, 50], max_tokens=400, **GREEDY))
            while not session.busy and not first.done():
                await asyncio.sleep(0)
            second = asyncio.create_task(session.agenerate([1, 60], max_tokens=400, **GREEDY))
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            assert (await first).stop_reason == "length"

        asyncio.run(work())
