"""The local API: the page, the WebSocket with JSON-RPC 2.0, schema and metrics on one port."""

from lanspread.api.runtime import Runtime
from lanspread.api.server import ApiServer, open_api

__all__ = ["ApiServer", "Runtime", "open_api"]
