"""Our own peers: whole `lanspread run` processes that fetch games from each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.downloads import Way, download
from benchmarks.folders import Shape, different, make_durable, make_games, warm
from benchmarks.leftovers import put_away
from benchmarks.our_peer import RunningPeer, running_peer, wait_until_offered
from benchmarks.processes import Result


def way_options(way: Way) -> list[str]:
    """The flags of `lanspread run` for this path."""
    return ["--no-bulk"] if way is Way.QUIC else []


@contextmanager
def our_source(folder: Path, shapes: Mapping[str, Shape], way: Way) -> Iterator[RunningPeer]:
    """A peer that has the games, all of them hashed and in the page cache."""
    make_games(folder / "games", shapes)
    make_durable(folder)
    with running_peer(folder, *way_options(way)) as source:
        warm(folder / "games")
        yield source


@contextmanager
def our_targets(
    folder: Path, count: int, sources: Sequence[RunningPeer], games: set[str], way: Way
) -> Iterator[list[RunningPeer]]:
    """Peers with nothing, connected to all the sources, that see what these have.

    Each has an address of its own, as machines have: a source shares its turns out by address.
    What they fetched stays in `folder`, target0 and so on, until the next ones come.
    """
    put_away(folder)
    options = [part for source in sources for part in ("--peer", source.address)]
    with ExitStack() as stack:
        targets = [
            stack.enter_context(
                running_peer(
                    folder / f"target{number}",
                    *options,
                    *way_options(way),
                    listen=f"127.0.0.{number + 2}:0",
                )
            )
            for number in range(count)
        ]
        for target in targets:
            wait_until_offered(target, games, sources=len(sources))
        make_durable(folder)
        yield targets


def fetch(source: RunningPeer, folder: Path, game_id: str, way: Way) -> Result:
    """One game from one source to a new peer; what arrived is compared."""
    with our_targets(folder, 1, [source], {game_id}, way) as targets:
        result = download([source], targets, game_id, way)
        check_arrived(source, targets, game_id)
        return result


def check_arrived(source: RunningPeer, targets: Sequence[RunningPeer], game_id: str) -> None:
    for target in targets:
        wrong = different(source.games / game_id, target.games / game_id)
        if wrong is not None:
            raise SystemExit(f"{game_id}: {wrong} did not arrive as it was sent")
