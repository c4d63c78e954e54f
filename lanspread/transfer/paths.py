"""Which path the chunks of a source take. Source: ARCHITECTURE.md, "Sources"."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lanspread.sync.session import Session
from lanspread.transfer.ratelimit import RateLimit
from lanspread.transfer.source import ChunkSource, QuicSource


@asynccontextmanager
async def open_source(session: Session, down: RateLimit) -> AsyncIterator[ChunkSource]:
    """The peer of a session as a source of chunks, by the best path there is, inside the block."""
    yield QuicSource(session, down)
