"""A run, as it is kept in `benchmarks/results`: every transfer as JSON, the medians as a page."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from benchmarks.claims import HEADINGS as CLAIM_HEADINGS
from benchmarks.claims import Claim
from benchmarks.processes import Result
from benchmarks.tables import HEADINGS, Row, row_of

RESULTS = Path(__file__).parent / "results"


@attrs.define
class Section:
    """Transfers of one kind of folder on one kind of file system, by what moved it."""

    title: str
    runs: dict[str, list[Result]] = attrs.field(factory=dict)

    def add(self, name: str, result: Result) -> None:
        self.runs.setdefault(name, []).append(result)

    def rows(self) -> dict[str, Row]:
        return {name: row_of(name, runs) for name, runs in self.runs.items() if runs}


@attrs.frozen(kw_only=True)
class Record:
    name: str
    machine: Mapping[str, str]
    sections: Sequence[Section]
    claims: Sequence[Claim]
    notes: Sequence[str] = ()


def as_json(record: Record, when: datetime.datetime) -> str:
    found = {
        "name": record.name,
        "when": when.isoformat(timespec="minutes"),
        "machine": dict(record.machine),
        "sections": [
            {
                "title": section.title,
                "runs": {
                    name: [
                        {**attrs.asdict(run), "mb_per_s": round(run.mb_per_s, 2)} for run in runs
                    ]
                    for name, runs in section.runs.items()
                },
            }
            for section in record.sections
        ],
        "claims": [{**attrs.asdict(claim), "passed": claim.passed} for claim in record.claims],
        "notes": list(record.notes),
    }
    return json.dumps(found, indent=1) + "\n"


def as_page(record: Record, when: datetime.datetime) -> str:
    """Markdown."""
    parts = [f"# {record.name}", f"Measured on {when:%Y-%m-%d}."]
    parts.append(_table(("machine", ""), [(name, str(v)) for name, v in record.machine.items()]))
    parts.append(
        "Medians, in brackets the slowest and the fastest round; MB are 10^6 bytes; "
        "sender + receiver."
    )
    for section in record.sections:
        parts.append(f"## {section.title}")
        parts.append(_table(HEADINGS, [row.cells() for row in section.rows().values()]))
    parts.append("## What is judged")
    parts.append(_table(CLAIM_HEADINGS, [claim.cells() for claim in record.claims]))
    parts += record.notes
    return "\n\n".join(parts) + "\n"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def keep(record: Record, file_name: str, folder: Path = RESULTS) -> None:
    """Write both; the last run replaces the one before."""
    when = datetime.datetime.now(datetime.UTC)
    folder.mkdir(exist_ok=True)
    (folder / f"{file_name}.json").write_text(as_json(record, when))
    (folder / f"{file_name}.md").write_text(as_page(record, when))
