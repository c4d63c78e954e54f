"""The log of `run`: one line an event on stderr, as text or JSON, from us and from libraries."""

from __future__ import annotations

import logging
import os
import sys

import structlog


def configure(log_format: str) -> None:
    """Send everything to stderr; `LANSPREAD_DEBUG=1` lowers the level to debug."""
    # A log that cannot be written (stderr closed) must not add to it.
    logging.raiseExceptions = False
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[structlog.typing.Processor]
    if log_format == "json":
        renderer = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        colors = sys.stderr is not None and sys.stderr.isatty()
        # Plain tracebacks: the fancy ones print local variables, and some of those are secrets.
        renderer = [
            structlog.dev.ConsoleRenderer(
                colors=colors, pad_event_to=28, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    debug = os.environ.get("LANSPREAD_DEBUG") == "1"
    logging.getLogger("lanspread").setLevel(logging.DEBUG if debug else logging.INFO)
    # Both say at WARNING what is an everyday event on a network.
    for chatty in ("quic", "trio-websocket", "zeroconf"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
