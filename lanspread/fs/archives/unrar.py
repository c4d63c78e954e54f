"""The calls of the UnRAR library that we make, typed, with its codes turned into errors.

`unrar2-cffi` wraps UnRAR's `dll.hpp`; of it we use the raw calls, because its own classes read
whole files into memory, read comments, and swallow what goes wrong between two headers.
Only `rar_files` imports this module, and only where the package is there.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable
from typing import Any, Final, Protocol

import attrs
from unrar.cffi import unrarlib

from lanspread import limits
from lanspread.fs.archives.members import (
    ArchiveDamaged,
    ArchiveEncrypted,
    ArchiveError,
    ArchiveUnsupported,
)
from lanspread.fs.archives.rar_common import split_path
from lanspread.fs.closing import Closing

_ffi: Final = unrarlib.ffi
_NULL: Final = _ffi.NULL

# dll.hpp
_OK: Final = 0
_END_ARCHIVE: Final = 10
_NO_MEMORY: Final = 11
_UNKNOWN_FORMAT: Final = 14
_MISSING_PASSWORD: Final = 22
_BAD_PASSWORD: Final = 24
_LARGE_DICT: Final = 25
_LIST: Final = 2  # with what other volumes began
_EXTRACT: Final = 1
_SKIP: Final = 0
_TEST: Final = 1
_PROCESS_DATA: Final = 1
_CHANGE_VOLUME: Final = 3
_VOLUME_MISSING: Final = 0
_GO_ON: Final = 1
_STOP: Final = -1
# The size of the buffer behind a volume's name.
_NAME_CHARS: Final = 1024
_HOST_UNIX: Final = 3
_WIDE_BYTES: Final = int(_ffi.sizeof("wchar_t"))
_ORDER: Final = "le" if sys.byteorder == "little" else "be"
# What it gives as the size of a file whose packer did not know it.
_SIZE_UNKNOWN: Final = (0x7FFFFFFF7FFFFFFF, 0x7FFFFFFFFFFFFFFF)


class Mode(enum.Enum):
    """What an archive is opened for."""

    LIST = _LIST
    UNPACK = _EXTRACT


class Redirection(enum.IntEnum):
    """A member that stands for another file."""

    NONE = 0
    COPY = 5


@attrs.frozen
class Header:
    """A member's header as UnRAR reads it. `name` has slashes, whatever the system."""

    name: str
    size: int
    continued: bool
    encrypted: bool
    folder: bool
    unix_mode: int | None
    redirection: int
    dictionary_bytes: int
    mtime_ns: int


class Events(Protocol):
    """What happens while a member is read. What these raise stops it and comes out of the call."""

    def volume(self, name: str) -> None:
        """Going on in the volume of this name."""

    def missing(self, name: str) -> str | None:
        """No such volume; another name to try, or None."""

    def data(self, chunk: memoryview) -> None:
        """Bytes of the member, good until this returns."""


class OpenRar(Closing):
    """A RAR archive, read from its first header to its last. Not to be shared between threads."""

    def __init__(self, path: str, name: str, mode: Mode, events: Events) -> None:
        """`path` is the first volume's, `name` is for errors. Raises `ArchiveError`."""
        self._name = name
        self._events = events
        self._failure: BaseException | None = None
        self._handle = _NULL
        data = unrarlib.RAROpenArchiveDataEx(path, mode.value)
        # Not the comment: old ones are compressed, and nobody reads it.
        data.value.CmtBufW = _NULL
        data.value.CmtBufSize = 0
        self._handle = unrarlib.RAROpenArchiveEx(data.value)
        if data.value.OpenResult != _OK:
            self.close()
            raise self._error(int(data.value.OpenResult))
        self._user_data = _ffi.new_handle(self._called)
        unrarlib.RARSetCallbackPtr(self._handle, unrarlib.PyUNRARCALLBACKStub, self._user_data)

    def next_header(self) -> Header | None:
        """The next member, None at the end. Raises `ArchiveError`."""
        raw = _ffi.new("struct RARHeaderDataEx *")
        code = self._call(unrarlib.RARReadHeaderEx, self._handle, raw)
        if code == _END_ARCHIVE:
            return None
        if code != _OK:
            raise self._error(code)
        return self._header(raw)

    def skip(self) -> None:
        """Pass over the member whose header was read."""
        self._process(_SKIP)

    def read(self) -> None:
        """Give the member's bytes to `Events.data`. Raises `ArchiveError`, also for a bad sum."""
        self._process(_TEST)

    def close(self) -> None:
        handle, self._handle = self._handle, _NULL
        if handle != _NULL:
            unrarlib.RARCloseArchive(handle)

    def _process(self, operation: int) -> None:
        code = self._call(unrarlib.RARProcessFileW, self._handle, operation, _NULL, _NULL)
        if code != _OK:
            raise self._error(code)

    def _call(self, function: Callable[..., int], *args: object) -> int:
        self._failure = None
        code = int(function(*args))
        if self._failure is not None:
            raise self._failure
        return code

    def _called(self, message: int, first: int, second: int) -> int:
        """UnRAR's callback. An exception cannot pass through C: it waits for the call's end."""
        if self._failure is not None:
            return _STOP
        try:
            return self._on(message, first, second)
        except BaseException as error:
            self._failure = error
            return _STOP

    def _on(self, message: int, first: int, second: int) -> int:
        if message == _PROCESS_DATA:
            chunk = _ffi.buffer(_ffi.cast("char *", first), second)
            with memoryview(chunk) as view:
                self._events.data(view)
            return _GO_ON
        if message != _CHANGE_VOLUME:
            return 0  # An older form of the same; a password; a larger dictionary: we have none.
        pointer = _ffi.cast("wchar_t *", first)
        folder, name = split_path(_ffi.string(pointer, _NAME_CHARS))
        if second != _VOLUME_MISSING:
            self._events.volume(name)
            return _GO_ON
        other = self._events.missing(name)
        if other is None or len(folder + other) >= _NAME_CHARS:
            return _STOP
        text = folder + other + "\0"
        _ffi.memmove(pointer, _ffi.new("wchar_t[]", text), _ffi.sizeof("wchar_t") * len(text))
        return _GO_ON

    def _header(self, raw: Any) -> Header:
        size = raw.UnpSize + (raw.UnpSizeHigh << 32)
        if size in _SIZE_UNKNOWN:
            raise ArchiveUnsupported(self._name, "does not say how large a file in it is")
        try:
            name = _name(bytes(_ffi.buffer(raw.FileNameW)))
        except UnicodeDecodeError as error:
            raise ArchiveDamaged(self._name, "is damaged") from error
        if len(name) >= _NAME_CHARS - 2:
            raise ArchiveUnsupported(self._name, "holds a file with an over-long name")
        return Header(
            name=name,
            size=int(size),
            continued=bool(raw.Flags & 0x01),
            encrypted=bool(raw.Flags & 0x04),
            folder=bool(raw.Flags & 0x20),
            unix_mode=int(raw.FileAttr) if raw.HostOS == _HOST_UNIX else None,
            redirection=int(raw.RedirType),
            dictionary_bytes=int(raw.DictSize) * limits.KIB,
            # 100 ns since 1601, as Windows counts.
            mtime_ns=(((raw.MtimeHigh << 32) + raw.MtimeLow) - 116_444_736_000_000_000) * 100,
        )

    def _error(self, code: int) -> ArchiveError:
        if code in (_MISSING_PASSWORD, _BAD_PASSWORD):
            return ArchiveEncrypted(self._name)
        if code in (_NO_MEMORY, _LARGE_DICT):
            return ArchiveUnsupported(
                self._name, "needs more memory to be unpacked than is allowed"
            )
        if code == _UNKNOWN_FORMAT:
            return ArchiveUnsupported(self._name, "uses a compression that is not supported")
        return ArchiveDamaged(self._name, "is damaged or cut off")


def _name(wide_untrusted: bytes) -> str:
    """A member's name from an array of `wchar_t`. Raises `UnicodeDecodeError`.

    Not by `ffi.string`: of numbers that are no characters it makes a broken str, which fails or
    worse wherever it is used. RAR 4 stores UTF-16, and where `wchar_t` is wider the halves of a
    character come apart. UnRAR gives the system's separator; elsewhere a backslash is part of a
    name.
    """
    if _WIDE_BYTES == 4:
        name = wide_untrusted.decode(f"utf-32-{_ORDER}", "surrogatepass").partition("\0")[0]
        if name.isascii():
            return name
        wide_untrusted = name.encode(f"utf-16-{_ORDER}", "surrogatepass")
    name = wide_untrusted.decode(f"utf-16-{_ORDER}", "surrogatepass").partition("\0")[0]
    return name.replace("\\", "/") if sys.platform == "win32" else name
