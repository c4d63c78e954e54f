"""How values look to people, pure: sizes, rates, times, and names that may be hostile."""

from __future__ import annotations

import unicodedata

# Joiners are needed to write some scripts; other invisible format characters reorder a line.
_KEPT_FORMAT = "\u200c\u200d"
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean(text: str) -> str:
    """A text that came from elsewhere, safe to print: one line, nothing that steers a terminal."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        "\ufffd" if unicodedata.category(char) in _UNSAFE and char not in _KEPT_FORMAT else char
        for char in text
    )


def size(amount: float) -> str:
    """Bytes in decimal units: 96.0 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5 or (unit == "B" and amount < 1000):
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def rate(amount: float) -> str:
    """Bytes a second."""
    return f"{size(amount)}/s"


def duration(seconds: float) -> str:
    """A length of time: 7 s, 3 min 20 s, 2 h 5 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def count(number: int, thing: str) -> str:
    """1 peer, 2 peers."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
