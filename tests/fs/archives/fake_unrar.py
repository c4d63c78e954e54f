"""Stands in for the program `unrar`, as far as rarfile calls it.

`unrar p -inul -p- -- ARCHIVE FILE` writes a file's bytes to stdout. Its exit codes are unrar's.
"""

from __future__ import annotations

import sys

from lanspread.fs.archives import ArchiveError
from lanspread.fs.archives.unrar import Mode, OpenRar


class Writing:
    """Writes what it is given to stdout."""

    def volume(self, name: str) -> None:
        """It may go on."""

    def missing(self, name: str) -> str | None:
        return None

    def data(self, chunk: memoryview) -> None:
        sys.stdout.buffer.write(chunk)


def main() -> int:
    assert sys.argv[1:5] == ["p", "-inul", "-p-", "--"]
    archive, path = sys.argv[5:]
    try:
        with OpenRar(archive, archive, Mode.UNPACK, Writing()) as rar:
            while (header := rar.next_header()) is not None:
                if header.name == path:
                    rar.read()
                else:
                    rar.skip()
    except ArchiveError:
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
