"""Where engines come from: one identity and one set of options, as aioquic configurations."""

from __future__ import annotations

import ssl
from typing import Final

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import CipherSuite

from lanspread import limits
from lanspread.seams import Address
from lanspread.transport import congestion
from lanspread.transport.engine import CreditedConnection, Engine, check_engine
from lanspread.transport.options import EndpointOptions, TlsIdentity
from lanspread.transport.path_mtu import SMALLEST_PAYLOAD_BYTES, PathMtu

HOST_CID_BYTES: Final = 8
SUPPORTED_VERSIONS: Final = (int(QuicProtocolVersion.VERSION_1),)


class EngineFactory:
    """Makes engines that share one identity and one set of options."""

    def __init__(self, identity: TlsIdentity, options: EndpointOptions) -> None:
        check_engine()
        self._identity = identity
        self._options = options
        self._configurations: dict[bool, QuicConfiguration] = {}

    def dial(self, address: Address, now: float) -> Engine:
        """A client that has its first flight ready."""
        quic = CreditedConnection(
            self._configuration(is_client=True), self._options.streams_from_peer, self._path()
        )
        quic.connect(address, now)
        return Engine(quic, self._options, is_dialer=True)

    def answer(self, original_destination_cid: bytes, retry_source_cid: bytes | None) -> Engine:
        """A server that is to be given the client's first datagram."""
        quic = CreditedConnection(
            self._configuration(is_client=False),
            self._options.streams_from_peer,
            self._path(),
            original_destination_cid,
            retry_source_cid,
        )
        return Engine(quic, self._options, is_dialer=False)

    def _path(self) -> PathMtu:
        return PathMtu(max(SMALLEST_PAYLOAD_BYTES, self._options.payload_bytes))

    def _configuration(self, *, is_client: bool) -> QuicConfiguration:
        found = self._configurations.get(is_client)
        if found is not None:
            return found
        options = self._options
        configuration = QuicConfiguration(
            alpn_protocols=[limits.ALPN],
            connection_id_length=HOST_CID_BYTES,
            idle_timeout=options.idle_timeout_s,
            initial_rtt=options.initial_rtt_s,
            is_client=is_client,
            max_data=options.connection_window_bytes,
            max_stream_data=options.stream_window_bytes,
            max_datagram_size=SMALLEST_PAYLOAD_BYTES,
            congestion_control_algorithm=congestion.ALGORITHM,
            supported_versions=list(SUPPORTED_VERSIONS),
            cipher_suites=[
                CipherSuite.AES_128_GCM_SHA256,
                CipherSuite.AES_256_GCM_SHA384,
                CipherSuite.CHACHA20_POLY1305_SHA256,
            ],
        )
        if is_client:
            # Certificates are self-signed: the key in them is the identity, and whoever dials
            # compares it. The handshake still proves that the listener has the key.
            configuration.verify_mode = ssl.CERT_NONE
        else:
            configuration.certificate = self._identity.certificate
            configuration.private_key = self._identity.private_key
        self._configurations[is_client] = configuration
        return configuration
