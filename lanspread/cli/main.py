"""Where the process begins and ends: exit codes, and one line instead of a traceback.

Nothing heavy is imported up here, so that Ctrl-C and SIGTERM find us prepared while the rest loads.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

DONE, FAILED, USAGE, NO_PEER, NOT_FOUND, INTERRUPTED = 0, 1, 2, 3, 4, 130


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and end the process with its exit code (docs/operators.md)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["run"]:
        from lanspread.cli import early

        early.install()
    code = _guarded(given)
    _flush()
    sys.exit(code)


def _guarded(given: list[str]) -> int:
    try:
        from lanspread.cli.app import call

        return call(given)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        return FAILED
    except BaseException as error:
        return _last_resort(error)


def _last_resort(error: BaseException) -> int:
    """What nobody expected: one line, and the traceback only for who asks for it."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAILED
    if isinstance(error, BaseExceptionGroup) and error.subgroup(KeyboardInterrupt) is not None:
        return INTERRUPTED
    if os.environ.get("LANSPREAD_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(f"{type(error).__name__}: {error}".split())
    complain(f"internal error: {text} (LANSPREAD_DEBUG=1 shows where)")
    return FAILED


def complain(text: str) -> None:
    """One line on stderr, if anybody still listens there."""
    from lanspread.cli.text import clean

    try:
        print(f"lanspread: {clean(text)}", file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        return


def _flush() -> None:
    # The interpreter would flush as well, and complain with a traceback if the reader is gone.
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        _drop_stdout()
    # What is still to come is the interpreter's own end: no traceback from there either.
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _drop_stdout() -> None:
    """Nobody reads stdout any more: whatever is still written goes nowhere."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        return
