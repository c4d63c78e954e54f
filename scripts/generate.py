"""What is generated from the code, and kept beside it so that it can be read and shipped.

The API's schema and its TypeScript types, and the settings' reference. `python -m scripts.generate`
writes them (`make generate`); a test fails while any of them is not up to date.
"""

from __future__ import annotations

import json
from pathlib import Path

from lanspread.api import schema, typescript
from lanspread.config import SETTINGS

_BEGIN = "<!-- settings: from lanspread/config.py by `make generate` -->\n"
_END = "<!-- end of settings -->\n"
ROOT = Path(__file__).parent.parent


def generated() -> dict[str, str]:
    """The text of every generated file, by its path in the repository."""
    api = schema.build()
    return {
        "lanspread/api/schema.json": json.dumps(api, indent=1, ensure_ascii=False) + "\n",
        "lanspread/api/lanspread.d.ts": typescript.render(api),
        "docs/operators.md": with_settings((ROOT / "docs/operators.md").read_text("utf-8")),
    }


def with_settings(page: str) -> str:
    """The page for operators with the reference of the settings as it is now."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        raise ValueError("the page has lost its marks around the settings")
    rows = [("setting", "type", "default", "meaning"), ("---",) * 4]
    rows += [(f"`{one.name}`", one.takes, one.default, one.meaning) for one in SETTINGS.values()]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return f"{before}{begin}{table}{end}{after}"


def main() -> None:
    """Write every generated file."""
    for name, text in generated().items():
        (ROOT / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
