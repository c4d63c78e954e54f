"""Answers of one session: one after the other, and none silent for long."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.transfer.answer_line import AnswerLine

PIECES = 4


async def answer(line: AnswerLine, name: str, sent: list[tuple[str, float]], each_s: float) -> None:
    with line.place() as place:
        for _ in range(PIECES):
            await place.turn()
            await trio.sleep(each_s)
            sent.append((name, trio.current_time()))


async def test_answers_come_one_after_the_other_as_they_were_asked_for(
    autojump_clock: MockClock,
) -> None:
    line = AnswerLine()
    sent: list[tuple[str, float]] = []
    async with trio.open_nursery() as nursery:
        for name in "abc":
            await nursery.start(started, line, name, sent)
    assert [name for name, _ in sent] == ["a"] * PIECES + ["b"] * PIECES + ["c"] * PIECES


async def started(
    line: AnswerLine,
    name: str,
    sent: list[tuple[str, float]],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    task_status.started()
    await answer(line, name, sent, 0.1)


async def test_one_that_is_cancelled_is_in_nobodys_way(autojump_clock: MockClock) -> None:
    line = AnswerLine()
    sent: list[tuple[str, float]] = []
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        await nursery.start(started, line, "first", sent)
        with trio.move_on_after(0.05) as behind:
            await answer(line, "second", sent, 0.1)
        assert behind.cancelled_caught
        await answer(line, "third", sent, 0.1)
    assert [name for name, _ in sent] == ["first"] * PIECES + ["third"] * PIECES
    assert trio.current_time() - begun < limits.ANSWER_PATIENCE_S


async def test_the_first_that_is_cancelled_lets_the_next_go_on(autojump_clock: MockClock) -> None:
    line = AnswerLine()
    sent: list[tuple[str, float]] = []
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope, line.place() as first:
            await first.turn()
            await nursery.start(started, line, "next", sent)
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert [name for name, _ in sent] == ["next"] * PIECES
    assert trio.current_time() < limits.ANSWER_PATIENCE_S


async def test_nobody_is_silent_behind_one_that_stands_still(autojump_clock: MockClock) -> None:
    line = AnswerLine()
    sent: list[tuple[str, float]] = []
    begun = trio.current_time()
    with line.place() as first:
        await first.turn()
        await answer(line, "second", sent, 0.0)
    waited = [at - begun for _, at in sent]
    assert waited == [limits.ANSWER_PATIENCE_S * (number + 1) for number in range(PIECES)]
    assert limits.ANSWER_PATIENCE_S < limits.REQUEST_SILENCE_S
