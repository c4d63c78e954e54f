"""The plan: every byte once, whatever sources do; driven by a stateful model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lanspread import limits
from lanspread.fs.download.reference import Reference
from lanspread.model import FileEntry, Manifest, block_count
from lanspread.transfer.plan import Assignment, Block, Plan, blocks_to_fetch, make_chunks

BLOCK = 1_024


def manifest(sizes: list[int]) -> Manifest:
    files = [FileEntry(f"f{number:04}", size) for number, size in enumerate(sizes)]
    return Manifest((*files, FileEntry("version.ini", 5)))


def digests(of: Manifest) -> tuple[bytes, ...]:
    count = sum(block_count(entry.size, BLOCK) for entry in of.files)
    return tuple(number.to_bytes(32, "big") for number in range(count))


def missing(of: Manifest, known: Sequence[int] | None = None) -> Iterator[Block]:
    """All blocks that a download would fetch of a game of which nothing, or this, is known."""
    reference = Reference(
        version="1",
        manifest=of,
        manifest_hash=bytes(32),
        content_hash=bytes(32),
        block_bytes=BLOCK,
        digests=digests(of),
    )
    there = bytes(len(reference.digests)) if known is None else known
    return blocks_to_fetch(reference, reference.wanted(None), there)


@given(st.lists(st.integers(0, 5 * BLOCK), max_size=40), st.integers(1, 20 * BLOCK))
def test_chunks_cover_every_byte_once_and_keep_the_bounds(sizes: list[int], chunk: int) -> None:
    whole = manifest(sizes)
    chunks = make_chunks(missing(whole), chunk)
    seen: dict[int, int] = {}
    for found in chunks:
        behind = (-1, 0)
        for number, offset, length in found.extents():
            assert (number, offset) >= behind
            behind = (number, offset + length)
            assert offset == seen.get(number, 0)
            seen[number] = offset + length
        assert len(found.blocks) <= limits.MAX_CHUNK_EXTENTS
        assert found.length <= max(chunk, BLOCK)
    assert seen == {number: size for number, size in enumerate(sizes) if size}
    used = [block.digest for found in chunks for block in found.blocks]
    assert len(used) == len(set(used))
    sentinel = digests(whole)[-1]
    assert sentinel not in used


class PlanMachine(RuleBasedStateMachine):
    """Sources take, finish, fail and vanish in any order."""

    def __init__(self) -> None:
        super().__init__()
        whole = manifest([3 * BLOCK, 0, 10, BLOCK, 7 * BLOCK])
        self.chunks = make_chunks(missing(whole), 2 * BLOCK)
        self.plan = Plan(self.chunks)
        self.out: list[Assignment] = []
        self.done: set[int] = set()

    @rule(source=st.sampled_from("abc"))
    def take(self, source: str) -> None:
        taken = self.plan.take(source)
        if taken is not None:
            assert taken.chunk.number not in self.done
            others = [a for a in self.out if a.chunk is taken.chunk]
            assert len(others) <= 1
            assert all(other.source != source for other in others)
            self.out.append(taken)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        assignment = data.draw(st.sampled_from(self.out))
        useless = self.plan.done(assignment)
        self.out = [a for a in self.out if a.chunk is not assignment.chunk]
        assert all(other.chunk is assignment.chunk for other in useless)
        self.done.add(assignment.chunk.number)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), failed=st.booleans())
    def give_back(self, data: st.DataObject, failed: bool) -> None:
        assignment = data.draw(st.sampled_from(self.out))
        self.out.remove(assignment)
        self.plan.give_back(assignment, failed=failed)

    @invariant()
    def nothing_is_lost(self) -> None:
        total = sum(chunk.length for chunk in self.chunks if chunk.number in self.done)
        assert self.plan.done_bytes == total
        assert self.plan.finished == (len(self.done) == len(self.chunks))
        assert self.plan.active == len(self.out)

    def teardown(self) -> None:
        # A source with a clean slate can always finish what the others left.
        for assignment in self.out:
            self.plan.give_back(assignment, failed=False)
        while (taken := self.plan.take("fresh")) is not None:
            self.plan.done(taken)
        assert self.plan.finished


TestPlanMachine = PlanMachine.TestCase
TestPlanMachine.settings = settings(max_examples=60, deadline=None)


def test_a_source_that_fails_too_often_does_not_get_the_chunk_again() -> None:
    whole = manifest([10])
    plan = Plan(make_chunks(missing(whole), BLOCK))
    for attempt in range(limits.MAX_RETRY_COUNT):
        taken = plan.take("bad")
        assert taken is not None
        assert plan.give_back(taken, failed=True) == (attempt + 1 < limits.MAX_RETRY_COUNT)
    assert plan.take("bad") is None
    assert plan.take("good") is not None
    plan.forget_failures("bad")


def test_the_last_chunk_is_given_out_twice_and_the_loser_is_named() -> None:
    whole = manifest([10])
    plan = Plan(make_chunks(missing(whole), BLOCK))
    slow, fast = plan.take("slow"), plan.take("fast")
    assert slow is not None
    assert fast is not None
    assert slow.chunk is fast.chunk
    assert plan.take("third") is None
    assert plan.done(fast) == [slow]
    assert plan.finished
    assert plan.done(slow) == []


@pytest.mark.parametrize("sizes", [[], [0, 0]])
def test_a_game_without_bytes_is_finished_at_once(sizes: list[int]) -> None:
    whole = manifest(sizes)
    blocks = missing(whole)
    assert Plan(make_chunks(blocks, BLOCK)).finished


@given(st.lists(st.integers(0, 5 * BLOCK), max_size=20), st.data())
def test_only_what_is_missing_is_fetched(sizes: list[int], data: st.DataObject) -> None:
    whole = manifest(sizes)
    count = len(digests(whole))
    known = data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    wanted = [digest for digest, how in zip(digests(whole), known, strict=True) if not how]
    found = [block.digest for block in missing(whole, known)]
    # version.ini is the last block, and never fetched so.
    assert found == [digest for digest in wanted if digest != digests(whole)[-1]]
