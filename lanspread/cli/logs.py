"""The log of `run`: one line an event on stderr, as text or JSON, from us and from libraries."""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import logging.handlers
import os
import queue
import sys

import structlog

# Lines that wait for a reader of stderr; what comes beyond them is left out.
_WAITING_LINES = 1_000
_LAST_LINES_S = 0.2


class _RawStderr(io.TextIOBase):
    """Unbuffered: the interpreter waits at its end for the lock of a buffer that is being written.

    What cannot be written is left out.
    """

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            os.write(2, text.encode("utf-8", "backslashreplace"))
        return len(text)


class _Unblocking(logging.handlers.QueueHandler):
    """Hands lines to a thread: a stderr that nobody reads must not stop the event loop."""

    def __init__(self, target: logging.Handler) -> None:
        super().__init__(queue.Queue(_WAITING_LINES))
        self._writer = logging.handlers.QueueListener(self.queue, target)
        self._writer.start()
        atexit.register(self._finish)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        # Rendered by the target; the default would flatten structlog's event to a text here.
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            return

    def _finish(self) -> None:
        """Write what waits, if anybody reads it within a moment."""
        thread = self._writer._thread
        try:
            self._writer.enqueue_sentinel()
        except queue.Full:
            return
        if thread is not None:
            thread.join(_LAST_LINES_S)


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
    handler = logging.StreamHandler(_RawStderr())
    # One thread writes; a lock that it holds over a stuck write would also hold up the exit.
    handler.lock = None
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [_Unblocking(handler)]
    root.setLevel(logging.WARNING)
    debug = os.environ.get("LANSPREAD_DEBUG") == "1"
    logging.getLogger("lanspread").setLevel(logging.DEBUG if debug else logging.INFO)
    # Both say at WARNING what is an everyday event on a network.
    for chatty in ("quic", "trio-websocket", "zeroconf"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
