"""`lanspread` that gives a silent peer up in three seconds rather than 45: a program for tests."""

from typing import Any, cast

from lanspread import limits
from lanspread.cli.main import main

if __name__ == "__main__":
    settings = cast(Any, limits)
    settings.STALE_TIMEOUT_S = 3.0
    settings.IDLE_PING_S = settings.WAITING_PING_S = 1.0
    main()
