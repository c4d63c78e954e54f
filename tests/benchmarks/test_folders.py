"""The folders that are moved are what their names say, and a wrong copy is seen."""

from __future__ import annotations

import random
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks.folders import (
    FLAT,
    LARGE,
    MIB,
    MIXED,
    SMALL,
    TEN_GB,
    Shape,
    bytes_below,
    different,
    make_games,
)
from benchmarks.places import place
from benchmarks.tools.syncthing import Home, configure

TINY = Shape(large_mib=1, medium_files=1, small_files=25)


def test_the_mixed_folder_is_the_one_that_is_quoted() -> None:
    files = MIXED.files(random.Random(1))
    sizes = sorted(files.values(), reverse=True)
    assert sizes[0] == 700 * MIB
    assert sizes[1:301] == [MIB] * 300
    assert len(sizes) == 2_301
    assert all(4 * 1024 <= size <= 16 * 1024 for size in sizes[301:])
    assert len({str(Path(path).parent) for path in files if path.startswith("small")}) == 200


def test_the_others_are_too() -> None:
    assert list(LARGE.files(random.Random(1)).values()) == [700 * MIB]
    assert len(SMALL.files(random.Random(1))) == len(FLAT.files(random.Random(1))) == 5_000
    assert len({Path(path).parent for path in FLAT.files(random.Random(1))}) == 1
    assert sum(TEN_GB.files(random.Random(1)).values()) >= 10**10


def test_a_smaller_one_says_so() -> None:
    assert "one file of 87 MiB" in str(MIXED.scaled(8))
    assert "2,000 of 4-16 KiB in 200 folders" in str(MIXED)
    assert "one folder" in str(FLAT)


def test_games_are_made_the_same_each_time(tmp_path: Path) -> None:
    totals = [make_games(tmp_path / name, {"game": TINY}) for name in ("one", "two")]
    one, two = tmp_path / "one" / "game", tmp_path / "two" / "game"
    assert totals[0] == totals[1]
    assert totals[0]["game"] == bytes_below(one)
    assert different(one, two) is None


@pytest.mark.parametrize("harm", ["changed", "shorter", "missing"])
def test_a_wrong_copy_is_seen(tmp_path: Path, harm: str) -> None:
    make_games(tmp_path, {"game": TINY})
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "game", copy)
    victim = copy / "small" / "1" / "11.dat"
    match harm:
        case "changed":
            data = bytearray(victim.read_bytes())
            data[-1] ^= 1
            victim.write_bytes(data)
        case "shorter":
            victim.write_bytes(victim.read_bytes()[:-1])
        case _:
            victim.unlink()
    assert different(tmp_path / "game", copy) == "small/1/11.dat"
    assert (different(tmp_path / "game", copy, whole=False) is None) == (harm == "changed")


def test_what_peers_keep_for_themselves_is_not_compared(tmp_path: Path) -> None:
    make_games(tmp_path, {"game": TINY})
    shutil.copytree(tmp_path / "game", tmp_path / "copy")
    (tmp_path / "game" / ".stfolder").mkdir()
    (tmp_path / "game" / ".stfolder" / "mark").write_text("x")
    assert bytes_below(tmp_path / "game") == bytes_below(tmp_path / "copy")
    assert different(tmp_path / "game", tmp_path / "copy") is None


def test_a_place_gives_its_room_back_and_must_have_some(tmp_path: Path) -> None:
    with place("disk" if _on_disk(tmp_path) else "memory", tmp_path, needed_bytes=1) as folder:
        (folder / "file").write_text("x")
    assert sum(path.stat().st_size for path in folder.glob("*")) == 0
    with pytest.raises(SystemExit, match="free"):
        place("memory", None, needed_bytes=10**18).__enter__()


def test_a_disk_that_is_memory_is_refused() -> None:
    with pytest.raises(SystemExit, match="--disk"):
        place("disk", Path("/dev/shm"), needed_bytes=1).__enter__()


def _on_disk(path: Path) -> bool:
    from benchmarks.folders import file_system

    return file_system(path) not in ("tmpfs", "ramfs")


def test_syncthing_talks_to_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "config.xml").write_text(
        '<configuration version="36"><device id="ME"><address>dynamic</address></device>'
        "<gui><address>0.0.0.0:8384</address></gui>"
        "<options><listenAddress>default</listenAddress>"
        "<globalAnnounceEnabled>true</globalAnnounceEnabled></options>"
        '<folder id="default" path="/home"/></configuration>'
    )
    home = Home(tmp_path, "ME", "tcp://127.0.0.1:22001", 8385)
    other = Home(tmp_path / "other", "YOU", "tcp://127.0.0.1:22002", 8386)
    configure(home, tmp_path / "shared", other, dials=True, paused=True)
    config = ElementTree.parse(tmp_path / "config.xml").getroot()
    options = {one.tag: one.text for one in config.findall("options/*")}
    assert options["listenAddress"] == "tcp://127.0.0.1:22001"
    for name in ("globalAnnounce", "localAnnounce", "relays", "nat", "crashReporting"):
        assert options[f"{name}Enabled"] == "false"
    assert (options["urAccepted"], options["autoUpgradeIntervalH"]) == ("-1", "0")
    assert config.findtext("gui/address") == "127.0.0.1:8385"
    (folder,) = config.findall("folder")
    assert [one.attrib["id"] for one in folder.findall("device")] == ["ME", "YOU"]
    assert folder.findtext("paused") == "true"
    assert (tmp_path / "shared" / ".stfolder").is_dir()
