"""Tools whose receiving side is a command: cp as the floor, rsync, curl with nginx."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
from cryptography.hazmat.primitives import serialization

from benchmarks.bare_quic import make_certificate
from benchmarks.folders import make_durable
from benchmarks.processes import Result, stop
from benchmarks.tools.tool import free_port, run_command, wait_for_port

NGINX_CONFIG = """\
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
{user}
worker_processes auto;
events {{ worker_connections 64; }}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        ssl_protocols TLSv1.3;
        root {source};
    }}
}}
"""
RSYNC_CONFIG = """\
use chroot = no
{user}
[bench]
path = {source}
read only = yes
"""


@attrs.frozen
class Copy:
    """`cp -r`: no network, one process that reads and writes. What the disk allows."""

    source: Path
    total_bytes: int

    def fetch(self, target: Path) -> Result:
        return run_command(
            ["cp", "-r", str(self.source), str(self.arrived_at(target))],
            senders=[],
            target=target,
            total_bytes=self.total_bytes,
        )

    def arrived_at(self, target: Path) -> Path:
        return target / "copy"


@attrs.frozen
class Rsync:
    """`rsync -a` from a daemon: TCP, neither encrypted nor compressed."""

    daemon: int
    port: int
    total_bytes: int

    def fetch(self, target: Path) -> Result:
        return run_command(
            ["rsync", "-a", f"rsync://127.0.0.1:{self.port}/bench/", f"{target}/"],
            senders=[self.daemon],
            target=target,
            total_bytes=self.total_bytes,
        )

    def arrived_at(self, target: Path) -> Path:
        return target


@contextmanager
def rsync(folder: Path, source: Path, total_bytes: int) -> Iterator[Rsync]:
    folder.mkdir()
    port = free_port()
    user = f"uid = {os.getuid()}\ngid = {os.getgid()}" if os.getuid() == 0 else ""
    config = folder / "rsyncd.conf"
    config.write_text(RSYNC_CONFIG.format(user=user, source=source))
    daemon = subprocess.Popen(
        [
            "rsync", "--daemon", "--no-detach", "--address=127.0.0.1", f"--port={port}",
            f"--config={config}", f"--log-file={folder / 'log'}",
        ]
    )  # fmt: skip
    try:
        wait_for_port(port)
        yield Rsync(daemon.pid, port, total_bytes)
    finally:
        stop(daemon)


@attrs.frozen
class Curl:
    """The files of one folder from nginx by curl: HTTP/1.1 over TLS 1.3, one connection."""

    server: int
    port: int
    names: tuple[str, ...]
    total_bytes: int

    def fetch(self, target: Path) -> Result:
        return run_command(
            [
                "curl", "--silent", "--fail", "--insecure", "--tlsv1.3", "--http1.1",
                "--remote-name-all", "--output-dir", str(target),
                *(f"https://127.0.0.1:{self.port}/{name}" for name in self.names),
            ],
            senders=[self.server],
            target=target,
            total_bytes=self.total_bytes,
        )  # fmt: skip

    def arrived_at(self, target: Path) -> Path:
        return target


@contextmanager
def nginx(folder: Path, source: Path, total_bytes: int) -> Iterator[Curl]:
    """Serves `source`, all whose files are at its root."""
    folder.mkdir()
    port = free_port()
    key, certificate = make_certificate()
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    config = folder / "nginx.conf"
    # The workers of a server that root started would become somebody else, who may not read here.
    user = "user root;" if os.getuid() == 0 else ""
    config.write_text(NGINX_CONFIG.format(folder=folder, port=port, source=source, user=user))
    make_durable(folder)
    server = subprocess.Popen(["nginx", "-c", str(config), "-p", str(folder)])
    try:
        wait_for_port(port)
        names = tuple(sorted(path.name for path in source.iterdir()))
        yield Curl(server.pid, port, names, total_bytes)
    finally:
        stop(server)
