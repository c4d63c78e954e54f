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
from lanspread.transfer.plan import Assignment, Block, Chunk, Plan, blocks_to_fetch, make_pieces

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
def test_pieces_cover_every_byte_once_and_keep_the_bounds(sizes: list[int], most: int) -> None:
    whole = manifest(sizes)
    pieces = make_pieces(missing(whole), most)
    seen: dict[int, int] = {}
    for found in pieces:
        behind = (-1, 0)
        chunk = Chunk((found,), found.length)
        assert sum(extent[2] for extent in chunk.extents()) == found.length
        for number, offset, length in chunk.extents():
            assert (number, offset) >= behind
            behind = (number, offset + length)
            assert offset == seen.get(number, 0)
            seen[number] = offset + length
        assert len(found.blocks) <= limits.MAX_CHUNK_EXTENTS
        assert found.length <= max(most, BLOCK)
    assert seen == {number: size for number, size in enumerate(sizes) if size}
    used = [block.digest for found in pieces for block in found.blocks]
    assert len(used) == len(set(used))
    sentinel = digests(whole)[-1]
    assert sentinel not in used


class PlanMachine(RuleBasedStateMachine):
    """Sources take, double, finish, fail and vanish in any order."""

    def __init__(self) -> None:
        super().__init__()
        whole = manifest([3 * BLOCK, 0, 10, BLOCK, 7 * BLOCK])
        self.pieces = make_pieces(missing(whole), 2 * BLOCK)
        self.plan = Plan(self.pieces)
        self.out: list[Assignment] = []
        self.done: set[int] = set()

    @rule(source=st.sampled_from("abc"), most=st.integers(0, 10 * BLOCK))
    def take(self, source: str, most: int) -> None:
        taken = self.plan.take(source, most)
        if taken is None:
            return
        numbers = [piece.number for piece in taken.chunk.pieces]
        assert numbers == sorted(set(numbers))
        assert len(numbers) == 1 or taken.chunk.length <= most
        assert taken.chunk.length == sum(extent[2] for extent in taken.chunk.extents())
        # What waits is nobody's, and not done.
        assert not self.done & set(numbers)
        assert not any(self.fetches(other) & set(numbers) for other in self.out)
        self.out.append(taken)

    @rule(source=st.sampled_from("abc"), data=st.data())
    def double(self, source: str, data: st.DataObject) -> None:
        found = list(self.plan.elsewhere(source))
        if not found:
            return
        chosen = data.draw(st.sampled_from(found))
        assert chosen in self.out
        assert chosen.source != source
        assert not self.done & self.fetches(chosen)
        rivals = [other for other in self.out if self.fetches(other) & self.fetches(chosen)]
        assert self.plan.rivals(chosen) == set(rivals)
        assert all(rival.source != source for rival in rivals)
        self.out.append(self.plan.double(chosen, source))

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        assignment = data.draw(st.sampled_from(self.out))
        self.out.remove(assignment)
        useless = self.plan.done(assignment)
        self.done |= self.fetches(assignment)
        assert set(useless) == {other for other in self.out if self.fetches(other) <= self.done}
        self.out = [other for other in self.out if other not in useless]
        for other in useless:
            # As the shell does for what it cancels.
            self.plan.give_back(other, failed=False)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), failed=st.booleans())
    def give_back(self, data: st.DataObject, failed: bool) -> None:
        assignment = data.draw(st.sampled_from(self.out))
        self.out.remove(assignment)
        self.plan.give_back(assignment, failed=failed)

    @staticmethod
    def fetches(assignment: Assignment) -> set[int]:
        return {piece.number for piece in assignment.chunk.pieces}

    @invariant()
    def nothing_is_lost(self) -> None:
        total = sum(piece.length for piece in self.pieces if piece.number in self.done)
        assert self.plan.done_bytes == total
        assert self.plan.finished == (len(self.done) == len(self.pieces))
        assert self.plan.active == len(self.out)
        out = self.done.union(*(self.fetches(other) for other in self.out))
        waiting = sum(piece.length for piece in self.pieces if piece.number not in out)
        assert self.plan.waiting_bytes == waiting
        assert (self.plan.next_bytes > 0) == (waiting > 0)

    def teardown(self) -> None:
        # A source with a clean slate can always finish what the others left.
        for assignment in self.out:
            self.plan.give_back(assignment, failed=False)
        while (taken := self.plan.take("fresh", BLOCK)) is not None:
            self.plan.done(taken)
        assert self.plan.finished


TestPlanMachine = PlanMachine.TestCase
TestPlanMachine.settings = settings(max_examples=60, deadline=None)


def test_a_source_that_fails_too_often_does_not_get_the_piece_again() -> None:
    whole = manifest([10])
    plan = Plan(make_pieces(missing(whole), BLOCK))
    for attempt in range(limits.MAX_RETRY_COUNT):
        taken = plan.take("bad", BLOCK)
        assert taken is not None
        assert plan.give_back(taken, failed=True) == (attempt + 1 < limits.MAX_RETRY_COUNT)
    assert plan.take("bad", BLOCK) is None
    good = plan.take("good", BLOCK)
    assert good is not None
    assert list(plan.elsewhere("bad")) == []
    plan.forget_failures("bad")
    assert list(plan.elsewhere("bad")) == [good]


def test_a_piece_that_may_not_be_had_does_not_hide_those_behind_it() -> None:
    whole = manifest([BLOCK] * 4)
    plan = Plan(make_pieces(missing(whole), BLOCK))
    for _ in range(limits.MAX_RETRY_COUNT):
        taken = plan.take("bad", BLOCK)
        assert taken is not None
        assert [piece.number for piece in taken.chunk.pieces] == [0]
        plan.give_back(taken, failed=True)
    rest = plan.take("bad", 10 * BLOCK)
    assert rest is not None
    assert [piece.number for piece in rest.chunk.pieces] == [1, 2, 3]
    # And it is still the first for the others.
    first = plan.take("good", 10 * BLOCK)
    assert first is not None
    assert [piece.number for piece in first.chunk.pieces] == [0]


def test_what_was_fetched_twice_is_counted_once_and_the_loser_is_named() -> None:
    whole = manifest([10])
    plan = Plan(make_pieces(missing(whole), BLOCK))
    slow = plan.take("slow", BLOCK)
    assert slow is not None
    assert list(plan.elsewhere("slow")) == []
    assert list(plan.elsewhere("fast")) == [slow]
    fast = plan.double(slow, "fast")
    assert list(plan.elsewhere("fast")) == []
    assert set(plan.elsewhere("third")) == plan.rivals(slow) == {slow, fast}
    assert plan.done(fast) == [slow]
    assert plan.finished
    assert plan.done(slow) == []
    assert plan.done_bytes == plan.total_bytes == 10


@pytest.mark.parametrize("sizes", [[], [0, 0]])
def test_a_game_without_bytes_is_finished_at_once(sizes: list[int]) -> None:
    whole = manifest(sizes)
    blocks = missing(whole)
    assert Plan(make_pieces(blocks, BLOCK)).finished


@given(st.lists(st.integers(0, 5 * BLOCK), max_size=20), st.data())
def test_only_what_is_missing_is_fetched(sizes: list[int], data: st.DataObject) -> None:
    whole = manifest(sizes)
    count = len(digests(whole))
    known = data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    wanted = [digest for digest, how in zip(digests(whole), known, strict=True) if not how]
    found = [block.digest for block in missing(whole, known)]
    # version.ini is the last block, and never fetched so.
    assert found == [digest for digest in wanted if digest != digests(whole)[-1]]
