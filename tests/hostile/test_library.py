"""Libraries that lie, contradict themselves, never end or are made to be ugly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from tests.hostile.claims import game_summary, page, serve
from tests.hostile.support import BLOCK, Scene, address_of, closed, open_virtual_node
from tests.peers.support import listed, until
from tests.protocol import wire
from tests.protocol.independent import Node, Session
from tests.protocol.links import Pipe
from tests.protocol.wire import Game, Message, message

PROTOCOL, REFUSED = 0x01, 0x03


Pages = Callable[[Node], Sequence[bytes]]
WRONG: Mapping[str, tuple[Pages, str]] = {
    "a digest of something else": (
        lambda node: [page(node, [game_summary()], bytes(32))],
        "the library does not match its digest",
    ),
    "another's library": (
        lambda node: [page(node, [], peer_id="00000000-0000-8000-8000-000000000000")],
        "pages of different libraries in one answer",
    ),
    "pages of different revisions": (
        lambda node: [
            page(node, [game_summary()], bytes(32), more=True),
            page(node, [], bytes(32), page=1, library_rev=2),
        ],
        "pages of different libraries in one answer",
    ),
    "pages of different digests": (
        lambda node: [
            page(node, [game_summary()], bytes(32), more=True),
            page(node, [], b"\1" * 32, page=1),
        ],
        "pages of different libraries in one answer",
    ),
    "the second page first": (
        lambda node: [page(node, [], page=1)],
        "a page came out of order",
    ),
    "the first page again": (
        lambda node: [page(node, [game_summary()], bytes(32), more=True)] * 2,
        "a page came out of order",
    ),
    "an empty page that is not the last": (
        lambda node: [page(node, [], more=True)] * 2,
        "an empty page that is not the last",
    ),
    "an end before the last page": (
        lambda node: [page(node, [game_summary()], more=True)],
        "the answer ended before it was complete",
    ),
    "an answer of another type": (
        lambda node: [message("GameList", page=0, more=False, games=[])],
        "asked for LibrarySnapshot, answered with GameList",
    ),
    "a delta that nobody asked for": (
        lambda node: [
            message(
                "LibraryDelta",
                peer_id=node.peer_id,
                library_epoch=bytes(16),
                from_rev=0,
                to_rev=1,
                library_digest=bytes(32),
                added=[],
                updated=[],
                removed=[],
            )
        ],
        "asked for LibrarySnapshot, answered with LibraryDelta",
    ),
    "20,001 games in a page": (
        lambda node: [page(node, [b"\xa0"] * 19_900, bytes(32), game_count=20_001)],
        "malformed LibrarySnapshot: game_count is out of range",
    ),
    "a summary above 4 KiB": (
        lambda node: [page(node, [game_summary(more=bytes(4_096))], bytes(32))],
        "a summary that is too large",
    ),
    "a summary that is no map": (
        lambda node: [page(node, [b"\x80"], bytes(32))],
        "malformed WireSummary: expected a map",
    ),
    "a tag in a summary": (
        lambda node: [page(node, [b"\xc2\x41\x01"], bytes(32))],
        "malformed CBOR: tags are not used",
    ),
    "an unknown availability": (
        lambda node: [page(node, [game_summary(availability="maybe")])],
        "malformed WireSummary: 'maybe' is not a valid Availability",
    ),
    "a size of 2^60": (
        lambda node: [page(node, [game_summary(size=2**60)])],
        "malformed WireSummary: size is out of range",
    ),
    "a size of -1": (
        lambda node: [page(node, [game_summary(size=-1)])],
        "malformed WireSummary: size is out of range",
    ),
    "a long id": (
        lambda node: [page(node, [game_summary("x" * 65)])],
        "malformed WireSummary: id is longer than 64 characters",
    ),
    "a long name": (
        lambda node: [page(node, [game_summary(name="x" * 129)])],
        "malformed WireSummary: name is longer than 128 characters",
    ),
    "a long version": (
        lambda node: [page(node, [game_summary(eti_version="1" * 65)])],
        "malformed WireSummary: eti_version is longer than 64 characters",
    ),
    "a short hash": (
        lambda node: [page(node, [game_summary(manifest_hash=bytes(31))])],
        "malformed WireSummary: manifest_hash is not 32 bytes long",
    ),
    "downloaded: 1": (
        lambda node: [page(node, [game_summary(downloaded=1)])],
        "malformed WireSummary: expected bool, found int",
    ),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_library_that_breaks_a_rule(
    autojump_clock: MockClock, scene: Scene, name: str
) -> None:
    pages, reason = WRONG[name]
    async with open_virtual_node(scene.machine()) as node:
        serve(node, *pages(node))
        session = await node.dial(address_of(scene.victim))
        assert await closed(session.link, within=10) == (PROTOCOL, reason)
    assert not listed(scene.victim, "Game")
    await scene.still_well()


async def test_more_than_20000_games(autojump_clock: MockClock, scene: Scene) -> None:
    """In pages that are each in order; and the same game again and again, without end."""
    many = [game_summary(f"{number}") for number in range(20_001)]
    sizes = range(0, len(many), 3_000)
    async with open_virtual_node(scene.machine()) as node:
        serve(
            node,
            *(
                page(
                    node,
                    many[at : at + 3_000],
                    bytes(32),
                    page=number,
                    more=at + 3_000 < len(many),
                    game_count=20_000,
                )
                for number, at in enumerate(sizes)
            ),
        )
        session = await node.dial(address_of(scene.victim))
        assert await closed(session.link) == (PROTOCOL, "a library of too many games")
        await trio.sleep(3.5)
        again = [game_summary("again")] * 4_000
        serve(
            node,
            *(page(node, again, bytes(32), page=n, more=True, game_count=1) for n in range(7)),
        )
        session = await node.dial(address_of(scene.victim))
        assert await closed(session.link) == (PROTOCOL, "a library of too many games")
    await scene.still_well()


async def test_a_library_that_never_comes(autojump_clock: MockClock, scene: Scene) -> None:
    """The session goes on: what it offers is only not known."""
    game = Game.of("Late", "1.0", {"version.ini": b"1.0\n"}, BLOCK)
    async with open_virtual_node(scene.machine(), [game]) as node:

        async def handler(session: Session, pipe: Pipe, request: Message) -> None:
            await trio.sleep_forever()

        node.handlers["GetLibrary"] = handler
        session = await node.dial(address_of(scene.victim))
        await trio.sleep(120)
        assert session.link.closed is None
        assert not listed(scene.victim, "Late")
        await session.library()
    await scene.still_well()


# -- how much may be known ------------------------------------------------------------------------


async def test_many_identities_with_large_libraries_do_not_push_others_out(
    autojump_clock: MockClock, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound on all libraries together is paid by the largest, not by who comes last."""
    monkeypatch.setattr(limits, "MAX_REMOTE_GAMES", 1_000)
    nodes: list[Any] = []
    async with trio.open_nursery() as nursery:

        async def attack(number: int, task_status: trio.TaskStatus[Session]) -> None:
            games = [game_summary(f"{number}/{game}".replace("/", "-")) for game in range(333)]
            async with open_virtual_node(scene.machine()) as node:
                serve(node, page(node, games))
                task_status.started(await node.dial(address_of(scene.victim)))
                await trio.sleep_forever()

        for number in range(6):
            nodes.append(await nursery.start(attack, number))
            await trio.sleep(1)
        held = [record.library for record in scene.victim.directory]
        assert sum(len(library.games) for library in held if library) <= 1_000
        # One that comes now has room.
        honest = Game.of("Honest", "1.0", {"version.ini": b"1.0\n"}, BLOCK)
        async with open_virtual_node(scene.machine(), [honest]) as node:
            session = await node.dial(address_of(scene.victim))
            await until(lambda: listed(scene.victim, "Honest"))
            assert session.link.closed is None
        assert listed(scene.victim, "FromBystander")
        nursery.cancel_scope.cancel()
    await scene.still_well()


async def test_features_are_not_kept_as_they_came(autojump_clock: MockClock, scene: Scene) -> None:
    """64 KiB of nested arrays would cost a megabyte for each of a thousand peers."""
    async with open_virtual_node(scene.machine()) as node:
        node.claims = {"features": {"x": [[]] * 15_000, "version": "0.1"}}
        await node.dial(address_of(scene.victim))
        record = scene.victim.directory.get(node.peer_id)
        assert record is not None
        assert record.features["version"] == "0.1"
        assert len(repr(record.features)) < 1_000
        session = scene.victim.sessions.get(node.peer_id)
        assert session is not None
        assert len(repr(session.body.features)) < 1_000
    await scene.still_well()


async def test_libraries_that_change_all_the_time_do_not_fill_the_history(
    autojump_clock: MockClock, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of events is bounded by what they hold, not only by their number."""
    monkeypatch.setattr(limits, "EVENT_HISTORY_BYTES", 250_000)
    node_games = [[game_summary(f"{turn}-{game}") for game in range(1_000)] for turn in range(10)]
    async with open_virtual_node(scene.machine()) as node:
        turn = 0

        async def handler(session: Session, pipe: Pipe, request: Message) -> None:
            pipe.send(page(node, node_games[turn], library_rev=turn + 1), end=True)

        node.handlers["GetLibrary"] = handler
        session = await node.dial(address_of(scene.victim))
        for turn in range(10):
            position: dict[str, Any] = {
                "library_epoch": node.library.epoch,
                "library_rev": turn + 1,
                "library_digest": wire.library_digest(node_games[turn]),
                "game_count": 1_000,
            }
            session.control.send(message("LibrarySummary", peer_id=node.peer_id, **position))
            await until(lambda: listed(scene.victim, f"{turn}-0"))  # noqa: B023
        held = scene.victim.events._history
        assert sum(len(event.data.get("games", ())) for event in held) <= 7_000
    await scene.still_well()
