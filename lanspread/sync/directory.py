"""The peer directory: everything known of other peers, keyed by peer_id. Pure.

Methods change the directory and return nothing that waits; what they are told of time comes in as
`now` (trio time). Values from the network are bounded here once more, where they are kept.
Source: ARCHITECTURE.md, "The peer directory".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import attrs

from lanspread import limits
from lanspread.model import GameSummary
from lanspread.seams import Address
from lanspread.sync.remote import RemoteLibrary, changed_games, clean_name
from lanspread.transport.addresses import take_in_turns
from lanspread.views import PeerState


@attrs.define
class PeerRecord:
    """One peer. `verified` addresses come from its own Hello, `hinted` ones from mDNS.

    `heard_at` is when mDNS last spoke of it, `last_seen` when a packet of a session came, None if
    there never was a session; `failures` counts the dials since then that came to nothing.
    """

    peer_id: str
    name: str = ""
    state: PeerState = PeerState.DISCOVERED
    verified: tuple[Address, ...] = ()
    hinted: tuple[Address, ...] = ()
    worked: Address | None = None
    features: Mapping[str, object] = attrs.Factory(dict)
    library: RemoteLibrary | None = None
    hinted_rev: int | None = None
    last_seen: float | None = None
    proto_ver: int | None = None
    heard_at: float = 0.0
    failures: int = 0

    @property
    def connected(self) -> bool:
        return self.state is PeerState.CONNECTED

    @property
    def addresses(self) -> tuple[Address, ...]:
        """In the order in which they are to be tried: what worked, what was proved, hints."""
        known: Iterable[Address] = (
            *((self.worked,) if self.worked else ()),
            *self.verified,
            *self.hinted,
        )
        return tuple(dict.fromkeys(known))[: limits.MAX_ADDRESSES_PER_PEER]

    @property
    def to_dial(self) -> tuple[Address, ...]:
        """The same for the next dial. After one that came to nothing, every other one gives hints
        a share: eight addresses that a peer once had must not hide the one that it has now."""
        if self.failures % 2 == 0:
            return self.addresses
        proved = (*((self.worked,) if self.worked else ()), *self.verified)
        return take_in_turns((proved, self.hinted), limits.MAX_ADDRESSES_PER_PEER)

    @property
    def has_news(self) -> bool:
        """Whether mDNS names a revision of its library that is not the one we hold."""
        return self.library is None or self.library.position.rev != self.hinted_rev

    @property
    def offers(self) -> Mapping[str, GameSummary]:
        """The games of a connected peer; a peer that is not connected offers nothing."""
        return self.library.games if self.connected and self.library is not None else {}


class DirectoryFull(Exception):
    """A library does not fit any more."""

    def __init__(self) -> None:
        super().__init__("the peers together announce too many games")


class Directory:
    """All peers but ourselves."""

    def __init__(self) -> None:
        self._peers: dict[str, PeerRecord] = {}
        self._on_forgotten: list[Callable[[str], None]] = []

    def when_forgotten(self, call: Callable[[str], None]) -> None:
        """Have `call` told each peer_id whose record has just been given up."""
        self._on_forgotten.append(call)

    def __iter__(self) -> Iterator[PeerRecord]:
        return iter(tuple(self._peers.values()))

    def __len__(self) -> int:
        return len(self._peers)

    def get(self, peer_id: str) -> PeerRecord | None:
        return self._peers.get(peer_id)

    def connected(self) -> list[PeerRecord]:
        return [peer for peer in self._peers.values() if peer.connected]

    def hint(
        self,
        peer_id: str,
        addresses: tuple[Address, ...],
        name: str | None,
        rev: int | None,
        now: float,
    ) -> PeerRecord | None:
        """Take an mDNS record. None if nobody can be given up for a peer that is new."""
        record = self._peers.get(peer_id)
        if record is None:
            if not self._make_room_for_candidate() or not self._make_room():
                return None
            record = self._peers[peer_id] = PeerRecord(peer_id)
        record.heard_at = now
        record.hinted = addresses[: limits.MAX_ADDRESSES_PER_PEER]
        record.hinted_rev = rev
        # What it said in a handshake is worth more.
        if name and record.last_seen is None:
            record.name = clean_name(name)
        if record.state is PeerState.LOST:
            record.state = PeerState.DISCOVERED
        return record

    def withdraw(self, peer_id: str) -> None:
        """The mDNS record is gone; who was never met is then forgotten."""
        record = self._peers.get(peer_id)
        if record is None:
            return
        record.hinted, record.hinted_rev = (), None
        if record.last_seen is None:
            self.forget(peer_id)

    def greet(
        self,
        peer_id: str,
        *,
        name: str,
        features: Mapping[str, object],
        listen_addrs: tuple[Address, ...],
        worked: Address | None,
        proto_ver: int,
        now: float,
    ) -> PeerRecord:
        """Take what a peer said in a handshake that succeeded."""
        record = self._peers.get(peer_id)
        if record is None:
            self._make_room()
            record = self._peers[peer_id] = PeerRecord(peer_id)
        record.name = _shown_name(name, peer_id)
        record.features = features
        record.verified = listen_addrs[: limits.MAX_ADDRESSES_PER_PEER]
        if worked is not None:
            record.worked = worked
        elif record.worked not in record.verified:
            record.worked = None
        record.proto_ver = proto_ver
        record.state = PeerState.CONNECTED
        record.last_seen = now
        record.failures = 0
        return record

    def rename(self, peer_id: str, name: str) -> None:
        """Take what a peer says in its session that it is called now."""
        record = self._peers.get(peer_id)
        if record is not None:
            record.name = _shown_name(name, peer_id)

    def moved(self, peer_id: str, listen_addrs: tuple[Address, ...]) -> None:
        """Take where a peer says in its session that it listens now."""
        record = self._peers.get(peer_id)
        if record is None:
            return
        before, record.verified = record.verified, listen_addrs[: limits.MAX_ADDRESSES_PER_PEER]
        # What worked and never was on its list (a forwarded port) is not known to be gone.
        if record.worked in before and record.worked not in record.verified:
            record.worked = None

    def set_state(self, peer_id: str, state: PeerState, now: float | None = None) -> bool:
        """Whether that changed anything."""
        record = self._peers.get(peer_id)
        if record is None or record.state is state:
            return False
        record.state = state
        if now is not None:
            record.last_seen = now
        return True

    def apply(
        self, peer_id: str, library: RemoteLibrary, touched: Iterable[str] | None = None
    ) -> tuple[str, ...]:
        """Replace the view of a peer's library; returns the ids of the shown games that differ.

        `touched`: the folded ids where it can differ from the view before, None if anywhere.
        """
        record = self._peers.get(peer_id)
        if record is None:
            return ()
        before, record.library = record.library, library
        return changed_games(before, library, touched)

    def forget(self, peer_id: str) -> None:
        """Give up what is known of a peer, and let those know who act on it."""
        if self._peers.pop(peer_id, None) is not None:
            for call in self._on_forgotten:
                call(peer_id)

    def make_room_for_games(self, peer_id: str, coming: int) -> tuple[str, ...]:
        """Give up views until one more of this size fits: the lost ones, then the largest.

        So whoever brings many large libraries pays for it, and not who comes last. Returns the
        connected peers whose view was given up; raises `DirectoryFull` if it fits in no way.
        """
        others = [p for p in self._peers.values() if p.peer_id != peer_id and p.library]
        evicted = []
        total = coming + sum(_games_of(peer) for peer in others)
        others.sort(key=lambda peer: (peer.connected, -_games_of(peer)))
        for peer in others:
            if total <= limits.MAX_REMOTE_GAMES:
                break
            if not peer.connected or _games_of(peer) > coming:
                total -= _games_of(peer)
                peer.library = None
                if peer.connected:
                    evicted.append(peer.peer_id)
        if total > limits.MAX_REMOTE_GAMES:
            raise DirectoryFull
        return tuple(evicted)

    def _make_room(self) -> bool:
        """Forget somebody if there are too many: who was never met, else who was lost first."""
        if len(self._peers) < limits.MAX_KNOWN_PEERS:
            return True
        if self._forget_candidate():
            return True
        gone = [peer for peer in self._peers.values() if not peer.connected]
        if gone:
            self.forget(min(gone, key=lambda peer: peer.last_seen or 0.0).peer_id)
        return bool(gone)

    def _make_room_for_candidate(self) -> bool:
        candidates = sum(peer.last_seen is None for peer in self._peers.values())
        return candidates < limits.MAX_CANDIDATES or self._forget_candidate()

    def _forget_candidate(self) -> bool:
        """Forget the peer, of those never met, that failed most, then that was heard of first."""
        candidates = [peer for peer in self._peers.values() if peer.last_seen is None]
        if candidates:
            self.forget(max(candidates, key=lambda peer: (peer.failures, -peer.heard_at)).peer_id)
        return bool(candidates)


def _shown_name(name_untrusted: str, peer_id: str) -> str:
    return clean_name(name_untrusted) or peer_id[:8]


def _games_of(peer: PeerRecord) -> int:
    # Those that are not shown take memory as well.
    return len(peer.library.hashes) if peer.library is not None else 0


def bounded_features(features_untrusted: Mapping[str, object]) -> dict[str, object]:
    """What is kept of a peer's features: short texts, numbers and booleans by clean names.

    Of 64 KiB of empty arrays a megabyte would stay in memory, for each of a thousand peers.
    """
    return {clean_name(name): _plain(value) for name, value in features_untrusted.items()}


def _plain(value: object) -> object:
    if isinstance(value, str):
        return clean_name(value)
    return value if isinstance(value, (bool, int, float)) else None
