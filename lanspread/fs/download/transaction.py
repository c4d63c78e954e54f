"""The download transaction: a game's files change in place, and no crash leaves a false sentinel.

A regular file `version.ini` at a game's root says that the game is complete. Before anything is
written, `known` finds out which blocks are there already, and what others put there ends it. The
order of writes:

1. `.lanspread/plan.json` names what is fetched and every file that is going to be written, then
   `.lanspread/journal` is replaced by one of this content, with the blocks that are known. Both are
   synced with their folders.
2. `version.ini` is renamed to `.version.ini.discarded`.
3. The game's folder is synced. Only now does any other byte change.
4. Old files of ours where a folder is needed now (and the reverse) go, and the names of files
   that have another name elsewhere and would have to be changed; folders are made.
5. Blocks are written in place, in any order, after they were verified, and then noted in the
   journal; a file is made, and given its final size, with its first block. (Making thousands of
   files takes the kernel seconds, and meanwhile others arrive.) Now and then a checkpoint: the
   files that were written to are synced; a record in the journal says which blocks that covers; the
   journal is synced.
6. Commit: empty files are made; files of earlier downloads that the new manifest does not have go,
   if nobody changed them; every written file and every folder is synced;
   `.lanspread/download.json` is replaced.
7. `.version.ini.tmp` is written and synced.
8. `.version.ini.tmp` is renamed to `version.ini`. **This is the commit point.**
9. The game's folder is synced; `.version.ini.discarded`, the plan and the journal are removed.

A crash before 2 leaves the game as it was, and a plan and a journal that the next download
replaces; a journal of another content than the plan's, or none, only means that files are hashed.
A crash between 2 and 8 leaves no sentinel: the game is not offered, the installed game in `local/`
was not touched, and the plan explains every file to the next download, which goes on with the
blocks behind a checkpoint and with all others that still verify. If the rename of 2 did not reach
the disk, neither did anything after it. The journal of 1 is on the disk before a byte changes, so
none of another content can ever vouch for what is written in 5; and a checkpoint is on the disk
only after the data that it covers. A crash after 8 leaves a complete game; what 9 would have
removed is explained by the record and goes with the next download. An error behaves like a crash
at the same step; a sync that fails in 6 or 7 ends the commit before 8.

Which files are ours, and may be written to and removed, the plan says too: after an orderly end
without a commit each with its size and time, put down when all of them are synced. After a crash it
is every planned file that has not been written to last before the first of these downloads began,
and so every file that a crash can leave half written.

A selection of files goes through 1 and 3 to 5, only where there is no sentinel; it ends with a
checkpoint and a plan that says so. The next download of the game takes up from there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

import attrs

from lanspread import limits
from lanspread.fs.download.journal import (
    JOURNAL,
    Journal,
    JournalHeader,
    NotedBlock,
    Stamped,
)
from lanspread.fs.download.known import COVERED, MISSING, Finder
from lanspread.fs.download.ours import Ours, find_ours, folders_above, parents
from lanspread.fs.download.records import (
    PLAN,
    RECORD,
    DownloadRecord,
    Plan,
    PlanState,
    RecordedFile,
    disk_time,
    encode_record,
    replace_file,
    write_plan,
)
from lanspread.fs.download.reference import Reference
from lanspread.fs.download.survey import Survey, survey
from lanspread.fs.download.writer import BlockWriter, Written
from lanspread.fs.errors import InTheWay, NoSpace, UnsafePath, WrongVersion
from lanspread.fs.local_game import Digests
from lanspread.fs.manifest import block_digest, check_manifest, version_of
from lanspread.fs.paths import (
    OWN_FOLDER,
    VERSION_INI,
    VERSION_INI_DISCARDED,
    VERSION_INI_TMP,
)
from lanspread.seams import Entry, FileStamp, Folder

_MARGIN_BYTES: Final = limits.MIB
_MARGIN_PART: Final = 200


class DownloadTransaction:
    """One download into one game's folder. Every method blocks.

    `folder` stays the caller's and is open until after `close`. The order of calls is `look` until
    it is done, `check`, `begin`, `write` and `checkpoint` as often as needed, `commit`,
    `finish_selection` or `put_down`, `close`; without `commit`, `close` leaves the partial files,
    the plan and the journal that explain them. `has_begun`: something may have been written.
    `write` and `checkpoint` may come from any thread, the others from one at a time.
    """

    def __init__(
        self,
        folder: Folder,
        reference: Reference,
        *,
        digests: Mapping[FileStamp, tuple[bytes, ...]] | None = None,
        selection: Collection[str] | None = None,
        named: bool = False,
        update: bool = False,
        doubt: bool = False,
        must_be_in_place: Callable[[], None] = lambda: None,
    ) -> None:
        """`digests` is what the library knows of the files that are there; `selection` the paths to
        fetch if not all; `named` and `update` are kept in the plan; with `doubt` nothing counts
        only because it can be read (see `sync_failed`). `must_be_in_place` raises `MovedAway` if
        the folder is no longer the game's: then there is nothing to go on with or to commit.

        Raises `UnsafePath` if the manifest may not be written to a disk.
        """
        check_manifest(reference.manifest)
        if VERSION_INI not in reference.numbers:
            raise UnsafePath(VERSION_INI, "is not in the manifest")
        self._folder = folder
        self._reference = reference
        self._digests = {} if digests is None else digests
        self._selection = None if selection is None else tuple(sorted(selection))
        self._named = named
        self._update = update
        self._must_be_in_place = must_be_in_place
        self._doubt = doubt
        self._wanted = reference.wanted(self._selection)
        self._survey: Survey | None = None
        self._finder: Finder | None = None
        self._looked = False
        self.has_begun = False
        self._writer: BlockWriter | None = None
        self._plan: Plan | None = None
        self._ours = Ours({}, {}, frozenset())

    # -- before anything is written ----------------------------------------------------------------

    def look(self) -> bool:
        """See what is there, a bounded part a call; False when all was seen. Touches nothing.

        Raises `FolderNotEmpty`, `InTheWay`, `FileChanged`, `OSError`.
        """
        if self._survey is None:
            self._survey = survey(self._folder, self._reference.manifest)
            if self._selection is not None and self._survey.has_sentinel:
                raise InTheWay(VERSION_INI, "says that the game is complete")
            self._finder = Finder(
                self._folder,
                self._reference,
                self._survey,
                self._digests,
                self._selection,
                doubt=self._doubt,
            )
            return True
        assert self._finder is not None
        self._looked = not self._finder.step()
        return not self._looked

    def check(self) -> None:
        """See whether the download may begin. Touches nothing.

        Raises as `look`, which it finishes, and `NoSpace`.
        """
        while not self._looked:
            self.look()
        needed, free = self.space()
        if needed > free:
            raise NoSpace(needed, free)

    def space(self) -> tuple[int, int]:
        """(bytes that the missing blocks take on the disk, with a margin; bytes that are free).

        Nothing is needed where nothing is missing. Raises `OSError`.
        """
        assert self._survey is not None
        missing = sum(self._space_for(number) for number in self._wanted)
        needed = missing + _MARGIN_BYTES + missing // _MARGIN_PART if missing else 0
        return needed, self._folder.free_bytes()

    @property
    def known(self) -> bytearray:
        """A byte for every block of the reference, 0 where it is still missing."""
        assert self._finder is not None
        return self._finder.known

    @property
    def known_bytes(self) -> int:
        """How much of what is wanted was found by `look`."""
        return 0 if self._finder is None else self._finder.known_bytes

    # -- writing -----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Steps 1 to 4. Raises as `check`, if that was not called before, and `OSError`."""
        if not self._looked:
            self.check()
        assert self._survey is not None
        self._write_plan(self._survey)
        journal = self._replace_journal()
        try:
            if self._survey.has_sentinel:
                self._folder.rename(VERSION_INI, VERSION_INI_DISCARDED)
            self._folder.sync_folder()
            self._make_folders(self._survey)
        except BaseException:
            journal.close()
            raise
        assert self._finder is not None
        folders = {rel.rpartition("/")[0] for rel in self._survey.folders}
        self._writer = BlockWriter(
            self._folder, self._reference, journal, self.known, self._finder.stamps, folders
        )

    def write(self, blocks: Iterable[Written]) -> None:
        """Write whole, verified blocks in place: (file number, offset, bytes) of each.

        Raises `FileChanged`, `OSError`, or `ValueError` for what is no block of the game; what
        stands before the one that failed is written and noted.
        """
        self._begun().write(blocks)

    def checkpoint(self) -> None:
        """All that was written before the call counts after a crash when this returns.

        Nothing where `begin` did not come to its end. Raises `FileChanged` for a file that is not
        as it was written, `OSError`; `MovedAway` when it is done, in a folder that was moved away.
        """
        if self._writer is not None:
            self._writer.checkpoint()
            self._must_be_in_place()

    @property
    def unsynced_bytes(self) -> int:
        """How much was written since the last checkpoint."""
        return 0 if self._writer is None else self._writer.unsynced_bytes

    @property
    def sync_failed(self) -> bool:
        """Whether the disk refused what was written: to read it shows the memory, not the disk."""
        return self._writer is not None and self._writer.sync_failed

    # -- the end -----------------------------------------------------------------------------------

    def put_down(self, state: PlanState = PlanState.RUNNING) -> None:
        """An orderly end without a commit, after a checkpoint: the plan says which files are ours.

        Nothing where `begin` wrote no plan. Nothing is written after it. Raises `OSError`, and then
        the plan is as it was: it goes by the times of files.
        """
        if self._plan is None or self._writer is None:
            return
        numbers = self._reference.numbers
        written = self._writer.left(numbers.values())
        made = {}
        unsure = []
        for path in self._plan.files:
            if path in numbers and numbers[path] in written:
                entry = written[numbers[path]]
            else:
                entry = self._ours.unchanged(self._folder, path)
                if entry is not None and path in self._ours.unsure:
                    unsure.append(path)
            if entry is not None:
                made[path] = (entry.size, entry.mtime_ns)
        if unsure:
            # What is told by its time and size must keep them when the power goes.
            self._writer.sync(unsure, folders_above(unsure))
        self._plan = attrs.evolve(self._plan, made=made, state=state)
        write_plan(self._folder, self._plan)

    def finish_selection(self) -> None:
        """The selected files are there, and known to the next download of the game.

        Raises `FileChanged`, `ValueError` if blocks are missing, `OSError`.
        """
        writer = self._begun()
        writer.settle(self._wanted)
        writer.checkpoint()
        self.put_down(PlanState.SELECTED)

    def commit(self) -> Digests:
        """Steps 6 to 9. Returns the digests by stamp, for the library.

        Raises `WrongVersion`, `FileChanged` if a file is not what was written, `MovedAway`,
        `ValueError` if blocks are missing or version.ini does not fit its digests, `OSError`.
        """
        writer = self._begun()
        assert self._survey is not None
        if self._selection is not None:
            raise ValueError("a selection has no sentinel")
        self._check_sentinel()
        self._must_be_in_place()
        entries = writer.settle(self._wanted)
        folders = self._remove_stale(self._survey, entries.values())
        writer.sync(list(entries), folders)
        stamps = [_stamp(path, entry) for path, entry in entries.items()]
        with self._folder.open(VERSION_INI_TMP, "create") as file:
            file.truncate(len(self._reference.sentinel))
            file.write_at(self._reference.sentinel, 0)
            file.sync()
            stamps.append(_stamp(VERSION_INI, file.entry()))
        found = {stamp: self._reference.digests_of(stamp.path)[1] for stamp in stamps}
        replace_file(self._folder, RECORD, encode_record(self._record(found)))
        # Once more: to sync a large game takes its time.
        self._must_be_in_place()
        self._folder.rename(VERSION_INI_TMP, VERSION_INI)
        self._folder.sync_folder()
        writer.close()
        # Committed; what stays behind is removed by the next download.
        for rel in (VERSION_INI_DISCARDED, PLAN, JOURNAL):
            with contextlib.suppress(OSError):
                self._folder.remove_file(rel)
        return found

    def close(self) -> None:
        """Close what is open."""
        if self._writer is not None:
            self._writer.close()
        if self._finder is not None:
            self._finder.close()

    def _begun(self) -> BlockWriter:
        if self._writer is None:
            raise ValueError("the download has not begun")
        return self._writer

    # -- steps 1 to 4 ------------------------------------------------------------------------------

    def _space_for(self, number: int) -> int:
        """What a file's missing blocks take that it does not take already."""
        reference = self._reference
        start, end = reference.starts[number : number + 2]
        blocks = self.known[start:end]
        missing = blocks.count(MISSING) * reference.block_bytes
        if not missing:
            return 0
        if blocks[-1] == MISSING:
            missing -= reference.block_bytes - reference.length_of(number, len(blocks) - 1)
        file = reference.manifest.files[number]
        assert self._finder is not None
        assert self._survey is not None
        # Before the first byte is written it is as it was seen: thousands need no second look.
        entry = self._survey.present.get(file.path)
        if self._writer is not None:
            try:
                entry = self._folder.entry(file.path)
            except (FileNotFoundError, NotADirectoryError):
                entry = None
        if entry is None or (file.path in self._finder.shared and self._writer is None):
            return missing
        have = entry.allocated
        if have is None:
            # An unfinished download made it as long as it is now, with holes in it.
            planned = self._writer is not None or self._survey.is_planned(file.path)
            have = file.size - missing if planned else entry.size
        return min(missing, max(0, file.size - have))

    def _write_plan(self, found: Survey) -> None:
        reference = self._reference
        planned = {entry.path: entry.size for entry in reference.manifest.files}
        self._ours = find_ours(self._folder, found, planned)
        self.has_begun = True
        self._folder.make_folder(OWN_FOLDER)
        since = disk_time(self._folder)
        plan = Plan(
            version=reference.version,
            manifest_hash=reference.manifest_hash,
            content_hash=reference.content_hash,
            block_bytes=reference.block_bytes,
            total_bytes=reference.manifest.total_bytes,
            files={**planned, **self._ours.carried},
            copied=found.copied,
            since_ns=since if found.plan is None else min(since, found.plan.since_ns),
            named=self._named,
            update=self._update,
            selection=self._selection,
        )
        write_plan(self._folder, plan)
        self._folder.sync_folder()
        self._plan = plan

    def _replace_journal(self) -> Journal:
        """What is known goes on in a new journal; what is not yet behind a checkpoint, as such."""
        assert self._finder is not None
        covered: list[NotedBlock] = []
        found: list[NotedBlock] = []
        reference, known = self._reference, self.known
        stamps = []
        for number, stamp in self._finder.stamps.items():
            start = reference.starts[number]
            blocks = known[start : reference.starts[number + 1]]
            for block, how in enumerate(blocks):
                if how != MISSING:
                    noted = NotedBlock(number, block, reference.digests[start + block])
                    (covered if how == COVERED else found).append(noted)
            if COVERED in blocks:
                stamps.append(Stamped(number, stamp.mtime_ns, stamp.inode))
        header = JournalHeader(
            reference.manifest_hash, reference.content_hash, reference.block_bytes
        )
        return Journal.replace(self._folder, header, covered, stamps, found)

    def _make_folders(self, found: Survey) -> None:
        assert self._finder is not None
        for rel in (*found.obstacle_files, *self._finder.shared):
            self._folder.remove_file(rel)
        for rel in found.obstacle_folders:
            self._folder.remove_folder(rel)
        for rel in found.folders:
            self._folder.make_folder(rel)

    # -- commit ------------------------------------------------------------------------------------

    def _check_sentinel(self) -> None:
        reference, data = self._reference, self._reference.sentinel
        blocks = tuple(
            block_digest(data[at : at + reference.block_bytes])
            for at in range(0, len(data), reference.block_bytes)
        )
        if blocks != reference.digests_of(VERSION_INI)[1]:
            raise ValueError("version.ini does not fit its digests")
        if version_of(data) != reference.version:
            raise WrongVersion(reference.version, version_of(data))

    def _remove_stale(self, found: Survey, written: Iterable[Entry]) -> list[str]:
        """Remove what earlier downloads left; return every folder to be synced."""
        keep = {(entry.device, entry.inode) for entry in written}
        lost = {""}
        for path, seen in found.stale.items():
            try:
                entry = self._folder.entry(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            # The same file under another spelling, where the file system folds names.
            if (entry.device, entry.inode) in keep or entry != seen:
                continue
            self._folder.remove_file(path)
            lost.update(parents(path))
        needed = set(found.folders)
        for rel in sorted(lost - needed - {""}, key=lambda rel: (len(rel), rel), reverse=True):
            # One that is not empty keeps what the user put there.
            with contextlib.suppress(OSError):
                self._folder.remove_folder(rel)
                lost.discard(rel)
        return sorted(needed | lost)

    def _record(self, found: Digests) -> DownloadRecord:
        return DownloadRecord(
            version=self._reference.version,
            manifest_hash=self._reference.manifest_hash,
            block_bytes=self._reference.block_bytes,
            files={
                stamp.path: RecordedFile(stamp.path, stamp.size, stamp.mtime_ns, digests)
                for stamp, digests in found.items()
            },
        )


def _stamp(path: str, entry: Entry) -> FileStamp:
    return FileStamp(path, entry.size, entry.mtime_ns, entry.inode)
