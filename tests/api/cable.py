"""A cable between a client and a peer's API that can be pulled out and put in again."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import urlsplit


class Cable:
    """A TCP port that leads to another one. Everything is in threads, for clients that block."""

    def __init__(self, api_url: str) -> None:
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._port = 0
        self.plug(api_url)
        self.url = f"http://127.0.0.1:{self._port}"

    def plug(self, api_url: str) -> None:
        """Lead to this peer from now on, at the same port as ever."""
        url = urlsplit(api_url)
        assert url.hostname is not None
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        target = (url.hostname, url.port or 0)
        threading.Thread(target=self._accept, args=(self._listener, target), daemon=True).start()

    def pull(self) -> None:
        """Every connection breaks, and none can be made."""
        with self._lock:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            for end in self._ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket, target: tuple[str, int]) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(target)
                with self._lock:
                    self._ends |= {near, far}
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._ends.discard(source)
        source.close()
