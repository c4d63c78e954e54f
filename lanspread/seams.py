"""The interfaces behind which sockets, discovery, files, the index, threads, clocks and chance sit.

Production code receives one `Seams` and never reaches around it; `lanspread.platform` holds the
real ones, `lanspread.testing` the virtual ones. Which path the bytes of games take is behind
`lanspread.transfer.source.ChunkSource`, because only transfers know it.
Source: ARCHITECTURE.md, "Seams".
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from socket import socket
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, Self, TypeVar, TypeVarTuple

import attrs
import trio
from cryptography.hazmat.primitives.asymmetric import ec

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Address(NamedTuple):
    """A UDP address. `host` is an IP literal; an IPv6 scope is part of it (`fe80::1%eth0`)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


# -- datagrams ------------------------------------------------------------------------------------


class DatagramSocket(Protocol):
    """One bound UDP socket."""

    @property
    def address(self) -> Address:
        """Where it is bound; the port is never 0."""

    def reaches(self, address: Address) -> bool:
        """Whether a datagram to `address` can leave by this socket (family, loopback)."""

    def path_payload(self, address: Address) -> int | None:
        """The largest datagram that the system believes to reach `address` whole, in bytes without
        headers; None where it does not say. Never blocks for long."""

    async def receive(self) -> list[tuple[bytes, Address]]:
        """Wait for at least one datagram; return at most `limits.DATAGRAM_BATCH` that are there.

        Raises `trio.ClosedResourceError` once closed. Cancellation loses nothing.
        """

    async def send(self, datagrams: Sequence[bytes], address: Address) -> None:
        """Send all to one address, in order. What the network refuses is dropped, as UDP may."""

    def close(self) -> None: ...


class LocalAddress(NamedTuple):
    """An address of this machine and the name of its interface."""

    host: str
    interface: str


class Network(Protocol):
    """Where datagram sockets come from."""

    async def bind(self, address: Address) -> DatagramSocket:
        """Bind one socket; port 0 picks a free one. Raises `OSError`."""

    async def resolve(self, host: str, port: int) -> list[Address]:
        """The addresses behind a name or an IP literal, best first. Raises `OSError`."""

    async def local_addresses(self) -> list[LocalAddress]:
        """Unicast addresses of this machine, loopback included."""


class BulkNetwork(Protocol):
    """Where the TCP sockets of bulk data come from: threads will block in them."""

    def listen(self, address: Address) -> socket:
        """A bound, listening, non-blocking socket; port 0 picks a free one. Raises `OSError`."""

    async def connect(self, address: Address) -> socket:
        """A connected, non-blocking socket. Raises `OSError`; cancelled, nothing stays open."""


# -- discovery ------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Advertisement:
    """What one peer says of itself by mDNS. All of it is a hint until a session proved it.

    `library_rev` and `hostname` are absent where the trust mode hides them. `start` is another at
    every start of the peer, six hex digits; None if whoever wrote the record gave none.
    """

    peer_id: str
    proto_ver: int
    addresses: tuple[Address, ...]
    library_rev: int | None = None
    hostname: str | None = None
    start: str | None = None


@attrs.frozen
class Found:
    """A record appeared or changed; values are bounded and cleaned, but unverified."""

    advert: Advertisement


@attrs.frozen
class Gone:
    """The record was withdrawn. A hint: sessions are not ended by it."""

    peer_id: str


class DiscoverySession(Protocol):
    """An advertisement that stands, and the records of others."""

    async def update(self, advert: Advertisement) -> None:
        """Replace what is advertised. The same once more announces it again, and asks the network
        again who is there: for after a sleep."""

    async def next_event(self) -> Found | Gone:
        """Wait for the next record of another peer; one's own are left out."""


class Discovery(Protocol):
    """How peers hear of each other."""

    def open(self, advert: Advertisement) -> AbstractAsyncContextManager[DiscoverySession]:
        """Advertise and browse until the block is left; leaving withdraws the record."""


# -- files ----------------------------------------------------------------------------------------


class Kind(enum.Enum):
    """What a directory entry is; links are never followed to find out."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


@attrs.frozen
class Entry:
    """One name in a folder and its `lstat`.

    `allocated` is what the file takes on the disk, in bytes, None where that is not known. `links`
    is how many names the file has; an entry is the same when another name comes or goes.
    """

    name: str
    kind: Kind
    size: int
    mtime_ns: int
    inode: int
    device: int
    allocated: int | None = None
    links: int = attrs.field(default=1, eq=False)


# (name, kind, size, mtime_ns, inode): a tuple, because a start makes one for every name it sees.
Glance = tuple[str, Kind, int, int, int]


class File(Protocol):
    """An open regular file. Calls block: they run behind `Threads`."""

    def read_at(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes; fewer only at the end of the file."""

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill a writable buffer of bytes; returns how many, fewer only at the end of the file."""

    def write_at(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        """Write all of `data`."""

    def truncate(self, size: int) -> None: ...

    def start_sync(self, offset: int, size: int) -> None:
        """Let the system begin to bring these bytes to the disk. Promises nothing, never raises."""

    def sync(self) -> None:
        """Data and size are on the disk when this returns."""

    def set_attributes(self, *, mtime_ns: int | None, executable: bool) -> None:
        """What an archive says of the file: when it was changed, and whether it is a program.

        As far as the file system can keep it: what it cannot is no error. None leaves the time as
        it is. To be called after the last write, which sets a time of its own.
        """

    def entry(self) -> Entry: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Folder(Protocol):
    """A folder held open. Names are relative to it, parts joined by `/`, `""` is itself.

    No call follows a symbolic link below the folder (`OSError` with `ELOOP` or `ENOTDIR` instead),
    and no name reaches outside it: that is what keeps a peer's paths inside a game. Calls block.
    """

    @property
    def path(self) -> str:
        """For messages and watching only; never joined to open something."""

    def list(self, rel: str = "") -> list[Entry]: ...

    def peek(self, details: Callable[[str], bool]) -> Sequence[Glance]:
        """What is directly in the folder, at the least cost.

        Size, time and inode are told of the names for which `details` is true, else 0.
        """

    def entry(self, rel: str = "") -> Entry: ...

    def exists(self, rel: str) -> bool: ...

    def folder(self, rel: str, *, follow: bool = False) -> Folder:
        """Open a folder below; `follow` lets its last name be a symbolic link."""

    def open(self, rel: str, mode: Literal["read", "write", "create", "new"]) -> File:
        """`write` needs the file to be there; `create` makes or keeps it, never truncates;
        `new` makes it and raises `FileExistsError` for whatever is there, a link too."""

    def make_folder(self, rel: str, *, like: str | None = None) -> None:
        """Make one folder; that it is there already is no error.

        It gets the permissions of the folder `like`, as far as the system keeps such; its owner may
        do everything in it all the same.
        """

    def rename(self, source: str, target: str) -> None:
        """Give a file, a link or a folder with all that is in it another name, in one step.

        Replaces `target` if it is a file or a link and `source` is no folder. Raises `OSError`
        where a folder is in the way; an empty one may be replaced by a folder.
        """

    def link_or_copy(self, source: str, target: str) -> None:
        """Give `target` what `source` is: another name of the same file or link where the system
        can, else a copy, of a link a link.

        So a write to one of them may be seen in the other. Raises `OSError`: `FileExistsError` if
        `target` is there, `EISDIR` for a folder, and then nothing has changed.
        """

    def remove_file(self, rel: str) -> None: ...

    def remove_folder(self, rel: str) -> None: ...

    def sync_folder(self, rel: str = "") -> None:
        """The names in this folder are on the disk when this returns."""

    def sync_all(self, files: Sequence[str], folders: Sequence[str]) -> None:
        """These files' bytes and these folders' names are on the disk when this returns."""

    def system_path(self, rel: str) -> str | None:
        """A path by which a library that knows only paths can open this file now.

        It holds while the folder is open and nobody puts a link in the file's place; None where
        files have no such path. Raises `OSError` if it is no regular file now, or behind a link.
        """

    def free_bytes(self) -> int: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class FileSystem(Protocol):
    """Where folders come from."""

    def open_folder(self, path: str) -> Folder:
        """Open a folder by its path in the system, following links. Raises `OSError`."""


# -- index ----------------------------------------------------------------------------------------


@attrs.frozen
class FileStamp:
    """What must be unchanged for a file's cached digests to count."""

    path: str
    size: int
    mtime_ns: int
    inode: int


@attrs.frozen
class IndexKey:
    """Whose rows: a games folder, told by path and inode, and the size of a block.

    The inode tells a disk from the empty folder that it is mounted on, so neither forgets the
    other's games.
    """

    folder: str
    inode: int
    block_bytes: int


class Index(Protocol):
    """A disposable cache of what is known of games: one row of bytes a game. Calls block.

    No call raises for a disk that cannot be read or written: what is lost is made again.
    """

    def load(self, key: IndexKey, games: Collection[str] | None = None) -> dict[str, bytes]:
        """The rows of these games, or of all; only rows that are as they were stored."""

    def store(self, key: IndexKey, rows: Mapping[str, bytes | None]) -> None:
        """Replace rows, all or none; None takes one away."""

    def close(self) -> None: ...


# -- watcher --------------------------------------------------------------------------------------


class Watcher(Protocol):
    """Hints that something below the games folder changed."""

    def watch(
        self,
        games: str,
        on_warning: Callable[[str, str, str], None],
        is_held: Callable[[str], bool],
    ) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[frozenset[str]]]:
        """A channel of sets of folder names directly below `games` that may have changed.

        Hints may be late, doubled or lost; a full channel drops the oldest knowledge into `{""}`,
        which means "anything". `on_warning(code, message, remedy)` is told once if not all can be
        watched. Of a folder that is new while `is_held(name)`, which any thread may call, there
        may be no hints until it is not; then comes "anything".
        """


# -- threads --------------------------------------------------------------------------------------


# Threads of "lane" wait for another machine, so they may not keep others from the disk. "files" is
# for making many small files, which several threads do slower than one.
Pool = Literal["disk", "files", "hash", "discovery", "lane"]


class Threads(Protocol):
    """The one place where work leaves the event loop."""

    async def run(
        self,
        call: Callable[[*Ts], T],
        *args: *Ts,
        pool: Pool = "disk",
        on_cancel: Callable[[], object] | None = None,
    ) -> T:
        """Run `call(*args)` in a thread of the pool and return its result.

        Cancellation is seen before the thread starts and after it ended, never while it runs: a
        write that began is finished. A call that may block for ever is given with `on_cancel`:
        cancelled meanwhile, that is called, at once and in the event loop, and has to make the call
        end; what came of it is dropped.
        """


# -- clocks ---------------------------------------------------------------------------------------


class WallClock(Protocol):
    """The date, for people to read. Nothing is decided by it."""

    def now(self) -> datetime:
        """UTC, aware."""


class SuspendClock(Protocol):
    """A clock that goes on while the machine sleeps, unlike trio's on Linux."""

    def now(self) -> float:
        """Seconds since some start."""


# -- entropy --------------------------------------------------------------------------------------


class Entropy(Protocol):
    """Everything random that a peer decides by or shows. The real one is the system's generator."""

    def token_bytes(self, size: int) -> bytes:
        """Bytes that nobody else can guess."""

    def new_key(self) -> ec.EllipticCurvePrivateKey:
        """A fresh P-256 key."""

    def signing_key(self, key: ec.EllipticCurvePrivateKey) -> ec.EllipticCurvePrivateKey:
        """The key to sign with: an ECDSA signature has a random part, its length with it."""


@attrs.frozen(kw_only=True)
class Seams:
    """Everything outside the process that a peer uses.

    `open_index(state_folder)` blocks; `discovery` is None where there is none (`--no-mdns`), `bulk`
    where all bytes go over QUIC. `measures_lag`: whether it is of use to look how late the event
    loop is; by a clock that stands still while code runs it never is.
    """

    network: Network
    discovery: Discovery | None
    files: FileSystem
    open_index: Callable[[str], Index]
    watcher: Watcher
    threads: Threads
    wall_clock: WallClock
    suspend_clock: SuspendClock
    entropy: Entropy
    measures_lag: bool = False
    bulk: BulkNetwork | None = None
