"""Texts for people: hostile names do nothing to a terminal, numbers read well."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread.cli import output, text
from lanspread.cli.events import event_line
from lanspread.cli.output import Column

HOSTILE = "a\x1b[2J\x07\r\nb\u202ec\x9b31m\u2028d\x7f"


@given(st.text())
def test_clean_leaves_nothing_that_steers(name: str) -> None:
    cleaned = text.clean(name)
    assert len(cleaned) == len(name)
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in cleaned)
    assert "\u202e" not in cleaned
    assert len(cleaned.splitlines()) <= 1


def test_clean_keeps_other_scripts() -> None:
    for name in ("地図", "Für Élise – x", "карта", "[bold]x[/]", "e\u0301", "ക്\u200dഷ"):
        assert text.clean(name) == name


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (96_000_000, "96.0 MB"), (1.5e13, "15.0 TB")],
)
def test_size(amount: float, shown: str) -> None:
    assert text.size(amount) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (7500, "2 h 5 min")]
)
def test_duration(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


def test_plain_tables_align_and_are_clean(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(
        (Column("NAME"), Column("SIZE", right=True)), [(HOSTILE, "1"), ("地図", "22")], "none"
    )
    lines = capsys.readouterr().out.split("\n")
    assert len(lines) == 4
    assert "\x1b" not in lines[1]
    assert lines[0].endswith("SIZE")
    assert lines[2].startswith("地図 ")


def test_json_lines_are_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    output.json_line({"name": HOSTILE})
    printed = capsys.readouterr().out
    assert printed.rstrip("\n").isprintable()
    assert printed.isascii()
    assert json.loads(printed) == {"name": HOSTILE}


def test_event_lines_are_one_clean_line() -> None:
    data = {"peer_id": "p", "name": HOSTILE, "state": "lost", "reason": HOSTILE}
    line = event_line(
        {"seq": 1, "time": "2025-02-03T04:05:06.789Z", "type": "peer.lost", "data": data}
    )
    assert line.startswith("04:05:06 peer.lost")
    assert line.isprintable() or "\ufffd" in line
    assert "\x1b" not in line


OPERATION = {"operation_id": "op", "id": "quake"}


@pytest.mark.parametrize(
    ("kind", "data", "shown"),
    [
        ("install.begin", {"version": "1.0", "total_bytes": 5}, "quake: installing version 1.0"),
        ("update.begin", {"version": "2", "total_bytes": 5}, "quake: updating to version 2"),
        ("uninstall.begin", {"version": "", "total_bytes": 0}, "uninstalling unknown version"),
        (
            "install.progress",
            {"done_bytes": 500, "total_bytes": 1000, "rate": 100.0, "eta_s": 5.0},
            "50 %  500 B of 1.0 kB at 100 B/s, 5 s left",
        ),
        ("install.finished", {"version": "1", "seconds": 2.0}, "installed: version 1, in 2.0 s"),
        ("uninstall.finished", {"version": "1", "seconds": 2.0}, "quake: uninstalled, in 2.0 s"),
        ("remove.finished", {"version": "1", "seconds": 2.0, "kept": []}, "removed, in 2.0 s"),
        (
            "update.finished",
            {"version": "2", "seconds": 2.0, "kept": ["a"] * 6, "kept_omitted": 994},
            "up to date: version 2; kept a, a, a, a, a and 995 more",
        ),
        (
            "update.finished",
            {"version": "2", "seconds": 2.0, "kept": [f"save{n}" for n in range(7)]},
            "up to date: version 2; kept save0, save1, save2, save3, save4 and 2 more",
        ),
        ("install.failed", {"code": "x", "message": "no", "remedy": "yes"}, "failed: no (yes)"),
        ("update.cancelled", {}, "quake: cancelled"),
        ("recovery.repaired", {"what": "an install was undone"}, "quake: an install was undone"),
        ("recovery.blocked", {"why": "two copies"}, "quake: two copies"),
    ],
)
def test_what_is_done_with_a_game(kind: str, data: dict[str, object], shown: str) -> None:
    fields = {"id": "quake"} if kind.startswith("recovery.") else OPERATION
    line = event_line({"time": "2025-02-03T04:05:06Z", "type": kind, "data": {**fields, **data}})
    assert shown in line


def test_tables_fit_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = (
        output.Column("GAME", wide=True),
        output.Column("NAME", wide=True, spare=2),
        output.Column("PEERS", right=True, spare=1),
        output.Column("HERE"),
    )
    row = ("quake-three-arena", "Quake III: Arena [gold]", "12", "downloaded")
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    for width, shown in (
        (70, ["quake-three-arena", "Quake III: Arena [gold]", "12", "downloaded"]),
        (50, ["quake-three-arena", "Quake III: …", "12", "downloaded"]),
        (45, ["quake-three-arena", "12", "downloaded"]),
        (30, ["quake-three-arena", "downloaded"]),
        (22, ["quake-thr…", "downloaded"]),
    ):
        monkeypatch.setenv("COLUMNS", str(width))
        output.table(columns, [row], "none")
        lines = capsys.readouterr().out.splitlines()
        assert max(len(line.rstrip()) for line in lines) <= width
        assert re.split(r" {2,}", lines[1].strip()) == shown


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(1, 60)), min_size=1),
    st.integers(10, 200),
)
def test_a_table_that_can_fit_does(given_: list[tuple[bool, int, int]], room: int) -> None:
    columns = [output.Column("", wide=wide, spare=spare) for wide, spare, _ in given_]
    widths = [width for *_, width in given_]
    fitted = output.fit(columns, widths, room)
    kept = {number for number, _ in fitted}
    assert {number for number, column in enumerate(columns) if not column.spare} <= kept
    assert all(width <= widths[number] for number, width in fitted)
    taken = sum(width for _, width in fitted) + 2 * (len(fitted) - 1)
    least = [min(widths[n], 10) if columns[n].wide else widths[n] for n in kept]
    assert taken <= room or all(not columns[number].spare or len(fitted) == 1 for number in kept)
    assert taken <= room or [width for _, width in fitted] == least
