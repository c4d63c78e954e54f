"""Many files of one folder by their paths, without a walk from the root for each. Blocks.

Files that follow one another are mostly in one folder: it is opened once, and its names are looked
up in it. Every folder is reached from the root without following a link, as `Folder` promises, and
then held: a link that is put in its place later is not seen, and so not followed either.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from typing import Literal

from lanspread.fs.closing import Closing
from lanspread.seams import Entry, File, Folder


class NearFolders(Closing):
    """The last folders that were needed below `root`, held open. Not for two threads at once.

    A folder that is renamed or removed while it is held stays what names are looked up in: whoever
    must know where a file is now asks anew. `root` is the caller's, and open until after `close`.
    """

    def __init__(self, root: Folder, at_most: int = 1) -> None:
        self._root = root
        self._at_most = at_most
        self._held: OrderedDict[str, Folder] = OrderedDict()

    def open(self, rel: str, mode: Literal["read", "write", "create", "new"]) -> File:
        """As `Folder.open`."""
        above, name = self.place(rel)
        return above.open(name, mode)

    def entry(self, rel: str) -> Entry:
        """As `Folder.entry`."""
        above, name = self.place(rel)
        return above.entry(name)

    def place(self, rel: str) -> tuple[Folder, str]:
        """The folder that a name is in, and the last part of the name. Raises `OSError`.

        The folder is good until the next call.
        """
        above, _, name = rel.rpartition("/")
        if not name:
            raise OSError(errno.EINVAL, "not a name below the folder", rel)
        if not above:
            return self._root, name
        folder = self._held.get(above)
        if folder is not None:
            self._held.move_to_end(above)
            return folder, name
        while len(self._held) >= self._at_most:
            self._held.popitem(last=False)[1].close()
        folder = self._held[above] = self._root.folder(above)
        return folder, name

    def close(self) -> None:
        while self._held:
            self._held.popitem()[1].close()
