"""`demo`: three real peers in three processes; one fetches a game from the two others.

Nothing is simulated: the processes are `lanspread run`, they find each other by mDNS on loopback,
and the demo talks to them through their local APIs, as any front-end would.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import trio

from lanspread.cli import demo_tree, output, text
from lanspread.cli.client import Client
from lanspread.cli.demo_peer import DemoPeer, open_demo_peer
from lanspread.cli.follow import ProgressBar
from lanspread.cli.interrupt import until_interrupted
from lanspread.cli.main import DONE, FAILED, complain

WHOLE_S = 90.0
DISCOVERY_S = 15.0
LIBRARY_S = 20.0
POLL_S = 0.1
LOG_TAIL_LINES = 15


class DemoError(Exception):
    """The demo did not work; the text says what did not."""


@attrs.define
class Report:
    """What the demo found; printed as one object with `--json`."""

    ok: bool = False
    discovery: str = "mdns"
    discovery_s: float = 0.0
    bytes: int = 0
    files_differing: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    sources: dict[str, int] = attrs.field(factory=dict)
    error: str | None = None


class Stage:
    """Where the demo speaks: lines on a terminal or in a log, nothing with `--json`."""

    def __init__(self, as_json: bool) -> None:
        self.quiet = as_json

    def say(self, words: str) -> None:
        if not self.quiet:
            output.line(text.clean(words))


async def run_demo(as_json: bool) -> int:
    """Run it; everything it made is removed, whatever happens."""
    stage, report = Stage(as_json), Report()

    async def work() -> int:
        with tempfile.TemporaryDirectory(prefix="lanspread-demo-") as folder:
            logs: list[Path] = []
            try:
                with trio.fail_after(WHOLE_S):
                    await _play(Path(folder), logs, stage, report)
                report.ok = True
            except* Exception as group:
                _fail(report, group, logs)
        if as_json:
            output.json_line(attrs.asdict(report))
        elif report.ok:
            stage.say(_summary(report))
        return DONE if report.ok else FAILED

    return await until_interrupted(work)


def _fail(report: Report, error: BaseException, logs: list[Path]) -> None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    late = f"it was not done after {WHOLE_S:.0f} s"
    report.error = late if isinstance(error, trio.TooSlowError) else f"{error}"
    for path in logs:
        lines = path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        for line in lines:
            complain(f"[{path.stem}] {line}")
    complain(f"the demo failed: {report.error}")


async def _play(folder: Path, logs: list[Path], stage: Stage, report: Report) -> None:
    stage.say("making a game of about 96 MB for two of three peers…")
    names = ("alice", "bob", "carol")
    games = {name: folder / name / "games" for name in names}
    for path in games.values():
        path.mkdir(parents=True)
    report.bytes = demo_tree.write_game(games["alice"])
    demo_tree.copy_game(games["alice"], games["bob"])

    async with _open_peers(folder, games, logs) as (alice, bob, carol):
        for peer in (alice, bob, carol):
            stage.say(f"  {peer.name:<6} runs at {peer.listen[0]}, its page at {peer.api_url}")
        await _meet(carol, (alice, bob), stage, report)
        await _wait_for_game(carol, stage)
        await _fetch(carol, (alice, bob), stage, report)
        found = demo_tree.differences(games["alice"], games["carol"])
        report.files_differing = len(found)
        if found:
            raise DemoError(f"the copy is not the same: {', '.join(found[:3])}")
        stage.say("compared: every file of carol's copy is byte for byte alice's")


def _summary(report: Report) -> str:
    shares = ", ".join(f"{text.size(size)} from {name}" for name, size in report.sources.items())
    return (
        f"done: {text.size(report.bytes)} in {report.seconds:.1f} s ({text.rate(report.rate)})"
        f"{', about ' + shares if shares else ''}; all three peers ended, the folder is removed"
    )


@asynccontextmanager
async def _open_peers(
    folder: Path, games: dict[str, Path], logs: list[Path]
) -> AsyncIterator[tuple[DemoPeer, DemoPeer, DemoPeer]]:
    """Start all at once; ended in any case when the block is left."""
    async with AsyncExitStack() as stack:
        opened: dict[str, DemoPeer] = {}
        for name, path in games.items():
            logs.append(folder / f"{name}.log")
            opened[name] = await stack.enter_async_context(
                open_demo_peer(name, path, folder / name / "state", logs[-1])
            )
        for peer in opened.values():
            await peer.wait_ready(stack)
        yield opened["alice"], opened["bob"], opened["carol"]
        await _end(opened.values())


async def _end(peers: Iterable[DemoPeer]) -> None:
    for peer in peers:
        code = await peer.shut_down()
        if code != 0:
            raise DemoError(f"{peer.name} ended with exit code {code}")


async def _meet(
    carol: DemoPeer, others: tuple[DemoPeer, ...], stage: Stage, report: Report
) -> None:
    start = trio.current_time()
    with trio.move_on_after(DISCOVERY_S):
        await _wait_connected(carol.client, others, stage)
    seen = await _connected(carol.client)
    missing = [peer for peer in others if peer.peer_id not in seen]
    if missing:
        # Some machines let no multicast through, not even on loopback.
        report.discovery = "connect"
        stage.say(
            f"mDNS found nobody within {DISCOVERY_S:.0f} s: multicast does not work on this "
            "machine's loopback. Falling back to `lanspread connect`:"
        )
        for peer in missing:
            stage.say(f"  lanspread connect {peer.listen[0]}")
            await carol.client.call("peers.connect", address=peer.listen[0])
        with trio.move_on_after(DISCOVERY_S):
            await _wait_connected(carol.client, others, stage)
        if {peer.peer_id for peer in others} - await _connected(carol.client):
            raise DemoError("the peers could not be connected")
    report.discovery_s = round(trio.current_time() - start, 3)
    how = "by mDNS" if report.discovery == "mdns" else "by address"
    stage.say(f"carol is connected to {len(others)} peers, found {how}")


async def _wait_connected(client: Client, others: tuple[DemoPeer, ...], stage: Stage) -> None:
    told: set[str] = set()
    while len(told) < len(others):
        seen = await _connected(client)
        for peer in others:
            if peer.peer_id in seen and peer.peer_id not in told:
                told.add(peer.peer_id)
                stage.say(f"  carol found {peer.name} ({peer.peer_id})")
        await trio.sleep(POLL_S)


async def _connected(client: Client) -> set[str]:
    peers = await client.call("peers.list")
    return {peer["peer_id"] for peer in peers if peer["state"] == "connected"}


async def _wait_for_game(carol: DemoPeer, stage: Stage) -> None:
    """Until both are known to have it, with all digests: then they are sources of one variant."""
    with trio.move_on_after(LIBRARY_S):
        while True:
            for game in await carol.client.call("games.list"):
                if len(game["peers"]) == 2 and game["content_hash"] is not None:
                    stage.say(f"carol sees {game['name']}, {text.size(game['size'])}, at both")
                    return
            await trio.sleep(POLL_S)
    raise DemoError("carol does not see the game at both peers")


async def _fetch(
    carol: DemoPeer, sources: tuple[DemoPeer, ...], stage: Stage, report: Report
) -> None:
    await carol.client.call("subscribe")
    start = trio.current_time()
    started = await carol.client.call("game.download", id=demo_tree.GAME_ID)
    rates = {peer.name: 0.0 for peer in sources}
    sent = dict.fromkeys(rates, 0.0)
    async with trio.open_nursery() as nursery:
        for peer in sources:
            nursery.start_soon(_measure, peer, rates, sent)
        await _show_download(carol.client, started["operation_id"], rates, stage)
        nursery.cancel_scope.cancel()
    report.seconds = round(trio.current_time() - start, 3)
    report.rate = round(report.bytes / report.seconds)
    total = sum(sent.values())
    if total:
        report.sources = {
            name: round(report.bytes * amount / total) for name, amount in sent.items()
        }


async def _measure(peer: DemoPeer, rates: dict[str, float], sent: dict[str, float]) -> None:
    """What a source itself says it sends, added up."""
    before = trio.current_time()
    while True:
        await trio.sleep(POLL_S)
        rates[peer.name] = (await peer.client.call("status"))["up_rate"]
        now = trio.current_time()
        sent[peer.name] += rates[peer.name] * (now - before)
        before = now


async def _show_download(
    client: Client, operation_id: str, rates: dict[str, float], stage: Stage
) -> None:
    bar = ProgressBar("carol gets it") if output.on_terminal() and not stage.quiet else None
    async with AsyncExitStack() as stack:
        if bar is not None:
            stack.enter_context(bar)
        while True:
            event = await client.next_event()
            kind, data = event["type"], event["data"]
            if data.get("operation_id") != operation_id:
                continue
            if kind == "download.progress":
                shares = ", ".join(f"{name} {text.rate(rate)}" for name, rate in rates.items())
                if bar is not None:
                    bar.update(data["done_bytes"], data["total_bytes"], shares)
                else:
                    percent = data["done_bytes"] * 100 // (data["total_bytes"] or 1)
                    stage.say(f"  {percent:3d} %  {text.rate(data['rate'])}  ({shares})")
            elif kind == "download.finished":
                if bar is not None:
                    bar.show(event)
                return
            elif kind in ("download.failed", "download.cancelled"):
                raise DemoError(data.get("message", "the download was cancelled"))
