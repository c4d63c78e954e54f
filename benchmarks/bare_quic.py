"""Bare aioquic: its sans-IO connection and a plain socket, nothing of ours. The yardstick.

    python -m benchmarks.bare_quic serve BYTES
    python -m benchmarks.bare_quic fetch PORT

One stream carries the bytes from memory to nowhere. Both print JSON lines; `fetch` waits for a
line on its standard input before it begins and before it ends, so that it can be looked at.
"""

from __future__ import annotations

import datetime
import json
import select
import socket
import ssl
import sys
import time

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamDataReceived
from aioquic.tls import CipherSuite
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PAYLOAD_BYTES = 1_472
STREAM_WINDOW_BYTES = 4 * 1024 * 1024
CONNECTION_WINDOW_BYTES = 15 * 1024 * 1024
SEND_AHEAD_BYTES = 2 * 1024 * 1024
PIECE_BYTES = 256 * 1024
BATCH = 64
BUFFER_BYTES = 4 * 1024 * 1024
STREAM = 0


def configuration(*, is_client: bool) -> QuicConfiguration:
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=["bench"],
        max_datagram_size=PAYLOAD_BYTES,
        max_data=CONNECTION_WINDOW_BYTES,
        max_stream_data=STREAM_WINDOW_BYTES,
        initial_rtt=0.05,
        cipher_suites=[CipherSuite.AES_128_GCM_SHA256],
        verify_mode=ssl.CERT_NONE if is_client else None,
    )


def open_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    for option, forced in ((socket.SO_RCVBUF, 33), (socket.SO_SNDBUF, 32)):
        # As ours does: root may pass the system's limit (SO_RCVBUFFORCE, SO_SNDBUFFORCE), and a
        # smaller buffer would lose packets and slow only the yardstick down.
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, BUFFER_BYTES)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
    return sock


def send_pending(quic: QuicConnection, sock: socket.socket) -> None:
    for data, address in quic.datagrams_to_send(now=time.monotonic()):
        try:
            sock.sendto(data, address)
        except BlockingIOError:
            continue  # lost, as on a full wire


def receive_pending(sock: socket.socket, quic: QuicConnection) -> list[tuple[bytes, object]]:
    """Wait for datagrams or the connection's timer; return what came."""
    timer = quic.get_timer()
    wait_s = 1.0 if timer is None else max(0.0, timer - time.monotonic())
    if not select.select([sock], [], [], wait_s)[0]:
        if timer is not None and time.monotonic() >= timer:
            quic.handle_timer(now=time.monotonic())
        return []
    datagrams: list[tuple[bytes, object]] = []
    while len(datagrams) < BATCH:
        try:
            datagrams.append(sock.recvfrom(65_536))
        except BlockingIOError:
            break
    return datagrams


def serve(total: int) -> None:
    """Answer one request with `total` bytes, then wait until the client closes."""
    config = configuration(is_client=False)
    config.private_key, config.certificate = make_certificate()
    sock = open_socket()
    print(json.dumps({"port": sock.getsockname()[1]}), flush=True)
    select.select([sock], [], [])
    first, address = sock.recvfrom(65_536)
    # The client's first packet carries the connection ID that the server has to know (RFC 9000
    # section 17.2): one byte, four of version, the length, the ID.
    quic = QuicConnection(
        configuration=config, original_destination_connection_id=first[6 : 6 + first[5]]
    )
    quic.receive_datagram(first, address, now=time.monotonic())
    piece = bytes(PIECE_BYTES)
    left = 0
    while True:
        while (event := quic.next_event()) is not None:
            if isinstance(event, StreamDataReceived):
                left = total
            elif isinstance(event, ConnectionTerminated):
                return
        # aioquic has no public way to ask how much waits to be sent.
        while left and len(quic._streams[STREAM].sender._buffer) < SEND_AHEAD_BYTES:
            size = min(left, PIECE_BYTES)
            left -= size
            quic.send_stream_data(STREAM, piece[:size], end_stream=not left)
        send_pending(quic, sock)
        for data, source in receive_pending(sock, quic):
            quic.receive_datagram(data, source, now=time.monotonic())


def fetch(port: int) -> None:
    """Read the stream to its end and say how long that took."""
    sock = open_socket()
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()
    quic = QuicConnection(configuration=configuration(is_client=True))
    quic.connect(("127.0.0.1", port), now=time.monotonic())
    received, start, ended = 0, 0.0, False
    while not ended:
        send_pending(quic, sock)
        for data, source in receive_pending(sock, quic):
            quic.receive_datagram(data, source, now=time.monotonic())
        while (event := quic.next_event()) is not None:
            if isinstance(event, HandshakeCompleted):
                start = time.monotonic()
                quic.send_stream_data(STREAM, b"go", end_stream=True)
            elif isinstance(event, StreamDataReceived):
                received += len(event.data)
                ended = event.end_stream
            elif isinstance(event, ConnectionTerminated):
                raise SystemExit(f"connection ended: {event.reason_phrase}")
    print(json.dumps({"bytes": received, "seconds": time.monotonic() - start}), flush=True)
    sys.stdin.readline()
    quic.close()
    send_pending(quic, sock)


def make_certificate() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return key, certificate


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        fetch(int(sys.argv[2]))
