"""Where engines come from: one identity and one set of options, as aioquic configurations."""

from __future__ import annotations

import ssl
from typing import Final

from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import CipherSuite

from lanspread import limits
from lanspread.seams import Address
from lanspread.transport.engine import CreditedConnection, Engine, check_engine
from lanspread.transport.options import EndpointOptions, TlsIdentity

HOST_CID_BYTES: Final = 8
SUPPORTED_VERSIONS: Final = (int(QuicProtocolVersion.VERSION_1),)
# RFC 9000 section 14: what every path must carry.
SMALLEST_PAYLOAD_BYTES: Final = SMALLEST_MAX_DATAGRAM_SIZE
IPV6_EXTRA_HEADER_BYTES: Final = 20


class EngineFactory:
    """Makes engines that share one identity and one set of options."""

    def __init__(self, identity: TlsIdentity, options: EndpointOptions) -> None:
        check_engine()
        self._identity = identity
        self._options = options
        self._configurations: dict[tuple[bool, int], QuicConfiguration] = {}

    def dial(self, address: Address, now: float) -> Engine:
        """A client that has its first flight ready."""
        configuration = self._configuration(address, is_client=True)
        quic = CreditedConnection(configuration, self._options.streams_from_peer)
        quic.connect(address, now)
        return Engine(quic, self._options, is_dialer=True)

    def answer(
        self, address: Address, original_destination_cid: bytes, retry_source_cid: bytes | None
    ) -> Engine:
        """A server that is to be given the client's first datagram."""
        quic = CreditedConnection(
            self._configuration(address, is_client=False),
            self._options.streams_from_peer,
            original_destination_cid,
            retry_source_cid,
        )
        return Engine(quic, self._options, is_dialer=False)

    def _configuration(self, address: Address, *, is_client: bool) -> QuicConfiguration:
        payload = payload_bytes(self._options, address)
        found = self._configurations.get((is_client, payload))
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
            max_datagram_size=payload,
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
        self._configurations[is_client, payload] = configuration
        return configuration


def payload_bytes(options: EndpointOptions, address: Address) -> int:
    """The largest UDP payload that we send to an address."""
    extra = IPV6_EXTRA_HEADER_BYTES if ":" in address.host else 0
    return max(SMALLEST_PAYLOAD_BYTES, options.payload_bytes - extra)
