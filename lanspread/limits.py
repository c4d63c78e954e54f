"""Every bound and default in one place.

What an outside program may rely on is listed in docs/protocol.md ("Limits"); the numbers there are
these. Sizes are bytes, times are seconds of `trio.current_time()`.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# -- protocol -------------------------------------------------------------------------------------
PROTOCOL_VERSION: Final = 3
ALPN: Final = "lanspread"
SERVICE_TYPE: Final = "_lanspread._udp.local."
DEFAULT_PORT: Final = 7373
DEFAULT_API_PORT: Final = 7374

# -- messages -------------------------------------------------------------------------------------
MAX_MESSAGE_BYTES: Final = MIB
# What comes unasked: a request; Hello and HelloAck, a body of 64 KiB with what proves it.
MAX_REQUEST_BYTES: Final = 64 * KIB
MAX_HELLO_BYTES: Final = 68 * KIB
MAX_CBOR_ITEMS: Final = 20_000
MAX_CBOR_DEPTH: Final = 16
# A page is filled up to here; the rest of the message's 1 MiB is for the fields around it.
PAGE_BYTES: Final = 768 * KIB
MAX_SUMMARY_BYTES: Final = 4 * KIB
MAX_FEATURES: Final = 64

# -- library --------------------------------------------------------------------------------------
MAX_GAMES_PER_PEER: Final = 20_000
MAX_FILES_PER_GAME: Final = 250_000
MAX_GAME_ID_CHARS: Final = 64
MAX_NAME_CHARS: Final = 128
# Of a peer's own name. Written so that Python and JavaScript read it alike (`$` lets a line end
# pass in Python), and so that no text makes matching it slow. What turns the text beside it around
# is left out of names of others when they are shown, and so is not part of one's own.
NAME_PATTERN: Final = (
    r"^[^\u0000-\u0020\u007f-\u00a0\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069][^\u0000-\u001f\u007f-\u009f"
    r"\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]*"
    r"(?![\s\S])"
)
NAME_RULE: Final = (
    f"one line of 1 to {MAX_NAME_CHARS} characters that does not begin with a blank and has no "
    "control characters, nor those that change the direction of writing"
)
MAX_VERSION_CHARS: Final = 64
MAX_PATH_BYTES: Final = 1_024
MAX_PATH_PART_BYTES: Final = 240
MAX_PATH_DEPTH: Final = 64
# What a manifest may cost us in memory, paths and digests together.
MAX_MANIFEST_BYTES: Final = 64 * MIB
MAX_BLOCKS_PER_GAME: Final = 1_000_000
MAX_GAME_BYTES: Final = 1 << 50
BLOCK_BYTES: Final = 4 * MIB
MIN_BLOCK_BYTES: Final = KIB
MAX_BLOCK_BYTES: Final = 8 * MIB
# Archives: members with their folders, and the bytes of their list. What is a bomb: more than so
# many bytes at more than so many for each byte of the archive. The memory that unpacking one may
# take (WinRAR's own choices end there), and what a tar may say about one member.
MAX_ARCHIVE_MEMBERS: Final = 2 * MAX_FILES_PER_GAME
MAX_ARCHIVE_INDEX_BYTES: Final = 64 * MIB
ARCHIVE_BOMB_BYTES: Final = 64 * MIB
ARCHIVE_BOMB_RATIO: Final = 1_000
MAX_ARCHIVE_DICTIONARY_BYTES: Final = 1_024 * MIB
MAX_TAR_HEADER_BYTES: Final = 64 * KIB
UNPACK_CHUNK_BYTES: Final = MIB
FALLBACK_SCAN_S: Final = 300.0
# File systems with coarse timestamps: what changed within this time is looked at once more.
SETTLE_S: Final = 3.0
LIBRARY_DEBOUNCE_S: Final = 0.1
# A library that changes again within the quiet time is looked at half as often, down to this.
LIBRARY_QUIET_S: Final = 1.0
LIBRARY_DEBOUNCE_MAX_S: Final = 3.0
# Of how many changed games we remember in which revision they changed.
MAX_HISTORY_IDS: Final = 20_000
# Deltas that wait to be judged: of one peer (one of any size always may), and of all.
MAX_HELD_DELTAS: Final = 64
MAX_HELD_DELTA_BYTES: Final = 2 * MIB
MAX_HELD_DELTA_BYTES_OF_ALL: Final = 32 * MIB
# Verified manifests that are kept so that they need not be fetched again.
MAX_CACHED_MANIFEST_BYTES: Final = 32 * MIB

# -- transfer -------------------------------------------------------------------------------------
MAX_CHUNK_BYTES: Final = 8 * MIB
MAX_CHUNK_EXTENTS: Final = 1_024
MAX_WHOLE_FILE_BYTES: Final = 8 * MIB
MAX_IN_FLIGHT_BYTES: Final = 12 * MIB
MAX_SERVED_REQUESTS: Final = 64
# Requests for file bytes being answered at once: each holds a read and a send buffer.
MAX_SERVED_CHUNKS_PER_SESSION: Final = 16
MAX_SERVED_CHUNKS: Final = 64
# Those that wait for their turn to be answered; behind so many nobody's turn comes in time.
MAX_WAITING_CHUNKS: Final = 256
# Paged answers of a session that are under way; further ones wait their turn.
MAX_SERVED_PAGED_PER_SESSION: Final = 8
# Pages of answers being sent at once, over all sessions: each holds up to a message.
MAX_SERVED_PAGES: Final = 64
# What a downloader asks for in one request, by the size of the game.
CHUNK_BYTES: Final = 8 * MIB
# What one download may have in its buffers, asked for or being written, over all sources.
MAX_DOWNLOAD_BUFFER_BYTES: Final = 96 * MIB
MIN_CHUNK_BYTES: Final = 256 * KIB
# Requests that are out to one source at a time: of a fast one, and where answers take long to come.
PIPELINE_DEPTH: Final = 3
MAX_PIPELINE_DEPTH: Final = 8
MAX_EARLY_REQUESTS: Final = 16
MAX_RETRY_COUNT: Final = 5
READ_BYTES: Final = 256 * KIB
# Silence on a request's stream for this long hands its blocks back to the plan.
REQUEST_SILENCE_S: Final = 30.0
# A source of which no packet came for this long, although it was pinged, is left out.
SOURCE_SILENCE_S: Final = 10.0
# A request stream whose request has not arrived within this time is reset.
REQUEST_ARRIVAL_S: Final = 10.0
# An answer of which the other side takes nothing for this long is reset.
SEND_SILENCE_S: Final = 30.0
# An answer behind others of its session sends a little after so long, to be no silence.
ANSWER_PATIENCE_S: Final = 5.0
PROGRESS_INTERVAL_S: Final = 0.5
# After so much new data a download is synced, so that a power loss takes no more than that; and how
# long the last sync of one that is paused or cut off may take before it begins.
CHECKPOINT_BYTES: Final = 1024 * MIB
CHECKPOINT_S: Final = 5.0
# How often a download that a full disk stopped looks for space.
DISK_FULL_CHECK_S: Final = 5.0
# Rates below this, in bytes a second, are refused: nothing would move before somebody gives up.
MIN_RATE: Final = 1_000
# What a peer may take of the wire, each way, while somebody plays: a third of 100 Mbit/s.
POLITE_RATE: Final = 4_000_000
# A variant that nobody has offered for so long is given up for one that is offered.
MOVE_OVER_S: Final = 30.0
# Games that are hashed at once because others asked, and how many that are not done yet one host
# may have asked for within a time.
MAX_DIGESTED_GAMES: Final = 4
MAX_DIGESTS_ASKED_PER_HOST: Final = 8
DIGESTS_ASKED_S: Final = 600.0

# -- bulk data over TCP ---------------------------------------------------------------------------
# Lanes to one source; that a session, a host and all others may bring; of all our downloads; and
# of all that are sent on at one moment, each with a thread and a buffer.
LANES_PER_SOURCE: Final = 2
MAX_LANES_PER_SESSION: Final = 8
MAX_LANES_PER_HOST: Final = 64
MAX_LANES: Final = 256
MAX_LANES_FETCHING: Final = 32
MAX_LANES_SENDING: Final = 8
# Messages that are being read at one moment, each by a thread.
MAX_LANES_READING: Final = 8
# Before it has shown a ticket, a connection may stay this long; so many may, and so many of a host.
LANE_ADMISSION_S: Final = 3.0
MAX_LANES_PENDING: Final = 64
MAX_LANES_PENDING_PER_HOST: Final = 8
# A ticket that nobody used is worth nothing after this time; a dialer gives up before.
LANE_TICKET_S: Final = 10.0
LANE_DIAL_S: Final = 5.0
# The first chunks wait so long for a lane, before they go over QUIC.
LANE_PATIENCE_S: Final = 0.5
# A lane on which nothing moves for so long is given up; what was asked for on it goes over QUIC.
# How often its owner looks.
LANE_SILENCE_S: Final = 10.0
LANE_LOOK_S: Final = 2.0
# When a message begins to come, all of what is encrypted together has to be here in this time.
LANE_READ_S: Final = 3.0
# Who waits so long for a thread is told that it is busy here, before the lane counts as silent.
LANE_QUEUE_S: Final = 5.0
# A lane that nobody asks on is ended by who serves it; another can be brought.
LANE_IDLE_S: Final = 60.0
# A lane that cannot be had is tried again after this time, then after twice that, and so on.
LANE_RETRY_S: Final = 0.25
LANE_RETRY_MAX_S: Final = 60.0

# -- QUIC -----------------------------------------------------------------------------------------
# What Ethernet carries over IPv4, tried where the system does not say what the path carries; what
# every path must carry (RFC 9000 section 14); and the most that is ever sent (jumbo frames: 8,972,
# and aioquic writes a length into 14 bits).
QUIC_PAYLOAD_BYTES: Final = 1_472
QUIC_SMALLEST_PAYLOAD_BYTES: Final = 1_200
QUIC_MAX_PAYLOAD_BYTES: Final = 16_000
MAX_STREAMS_FROM_PEER: Final = 128
MAX_CONNECTION_BUFFER_BYTES: Final = 16 * MIB
MAX_ENDPOINT_BUFFER_BYTES: Final = 128 * MIB
MAX_CONNECTIONS: Final = 1_024
MAX_CONNECTIONS_PER_HOST: Final = 64
MAX_HALF_OPEN: Final = 400
RETRY_ABOVE_HALF_OPEN: Final = 100
HANDSHAKE_TIMEOUT_S: Final = 10.0
QUIC_IDLE_TIMEOUT_S: Final = 60.0
SEND_HIGH_WATER_BYTES: Final = 2 * MIB
# What may be queued and not yet acknowledged, over the streams of a connection, and over all. As
# the endpoint fills, the share of each connection shrinks, down to the smallest.
MAX_CONNECTION_QUEUE_BYTES: Final = 8 * MIB
MAX_ENDPOINT_QUEUE_BYTES: Final = 128 * MIB
MIN_CONNECTION_QUEUE_BYTES: Final = 256 * KIB
# So much of it each stream may always have: the control stream must go on whatever others hold.
STREAM_QUEUE_RESERVE_BYTES: Final = 16 * KIB
DATAGRAM_BATCH: Final = 64
DATAGRAM_QUEUE: Final = 1_024
DATAGRAM_QUEUE_BYTES: Final = 4 * MIB
# - the transport adapter's own: what a peer may have in flight beyond what we consumed. The window
#   of a connection is above MAX_IN_FLIGHT_BYTES, so that the control stream always has room.
QUIC_STREAM_WINDOW_BYTES: Final = 4 * MIB
QUIC_CONNECTION_WINDOW_BYTES: Final = 15 * MIB
QUIC_INITIAL_RTT_S: Final = 0.05
ACCEPT_BACKLOG: Final = 128
# Gaps in streams that one connection may make us remember; each costs memory and time to fill.
MAX_REASSEMBLY_GAPS: Final = 4_096
# How often a connection in use asks the system what its path carries; the answer takes 20 µs.
PATH_CHECK_S: Final = 10.0
# How long a connection that we closed answers late packets, and the end of an endpoint may take.
CLOSE_LINGER_S: Final = 1.0
ENDPOINT_CLOSE_S: Final = 0.5

# -- sessions -------------------------------------------------------------------------------------
HELLO_TIMEOUT_S: Final = 10.0
# Two connections of the same two instances this close together are a crossed dial; later, a new
# one means that the other side lost the old.
CROSSED_DIAL_S: Final = 3.0
OUTBOX: Final = 64
# The share of our time that reading one session's control stream may take in the long run, and how
# much of it may be saved up: an honest peer that changed a lot is read at once.
READING_SHARE: Final = 0.1
READING_SAVED_S: Final = 0.5
LIBRARY_RETRY_S: Final = 5.0
# What does not bring what was announced is asked again ever more seldom, down to this.
LIBRARY_RETRY_MAX_S: Final = 60.0
MAX_SESSIONS: Final = 256
MAX_GREETING: Final = 64
# Told that another connection of the pair stays, a dialer waits so long for it.
OVERTAKEN_S: Final = 2.0
# A session that lived so long was worth dialing for; after a shorter one the next dial waits.
SESSION_PROVEN_S: Final = 30.0
# Changes of one peer are told to front-ends this far apart, those of all at most so many in it.
PEER_EVENT_S: Final = 1.0
PEER_EVENTS: Final = 64
MAX_KNOWN_PEERS: Final = 1_024
MAX_REMOTE_GAMES: Final = 250_000
IDLE_PING_S: Final = 15.0
# The listener pings an idle session later than the dialer: one ping shows both that they live.
PING_YIELD_S: Final = 1.0
STALE_TIMEOUT_S: Final = 45.0
# A session that waits for answers asks sooner whether the other side is still there.
WAITING_PING_S: Final = 3.0
# A ping without an answer for so long makes a session suspect: a new connection is tried beside it.
# Lost packets are repeated within it, and it is no crossed dial any more (CROSSED_DIAL_S).
PING_ANSWER_S: Final = 3.0
# However often something happens, a session is asked no more often than this.
PING_GAP_S: Final = 1.0
# How often two clocks are compared, and the difference that means that the machine slept: more than
# a clock is ever set forward by, less than a stale timeout.
SUSPEND_CHECK_S: Final = 5.0
SUSPEND_JUMP_S: Final = 10.0
# A network card needs seconds to find its network again: a session whose stale timeout passed while
# the machine slept is not given up before.
WAKE_GRACE_S: Final = 10.0
# How often the machine's own addresses are looked at; a look costs 0.3 ms.
ADDRESS_CHECK_S: Final = 2.0

# How often it is looked how late the event loop is, and for how long that is kept.
LAG_INTERVAL_S: Final = 0.1
LAG_KEPT_S: Final = 60.0

# -- discovery ------------------------------------------------------------------------------------
MAX_CANDIDATES: Final = 256
MAX_ADDRESSES_PER_PEER: Final = 8
DISCOVERY_QUEUE: Final = 1_024
# For the QUIC handshake with one address; the next address is tried beside it after the stagger.
DIAL_TIMEOUT_S: Final = 5.0
DIAL_STAGGER_S: Final = 0.25
DIAL_BACKOFF_FIRST_S: Final = 1.0
DIAL_BACKOFF_MAX_S: Final = 600.0
# Of each kind: asked for by a person just now, named or met, heard of, tried in vain.
MAX_DIALS_AT_ONCE: Final = 16
MAX_STATIC_PEERS: Final = 256
# Of two peers that found each other at once, the one with the larger peer_id dials later.
DIAL_YIELD_S: Final = 0.25
# A peer that a person named and that worked a moment ago is tried at least this often.
DIAL_BACKOFF_KNOWN_MAX_S: Final = 2.0
DIAL_KNOWN_FOR_S: Final = 120.0
# A peer that was connected for long is tried at least this often for a while: a switch that was off
# for ten minutes must not keep a party apart for ten more.
DIAL_MET_MAX_S: Final = 60.0
DIAL_MET_FOR_S: Final = 900.0
# When somebody who was out of reach is back, all others are tried once, at most this often.
DIAL_ROUND_S: Final = 60.0

# -- local API ------------------------------------------------------------------------------------
EVENT_HISTORY: Final = 4_096
# What the kept events, and those that wait for one client, may take in memory, as estimated.
EVENT_HISTORY_BYTES: Final = 32 * MIB
# An event above this is kept without the list that makes it so large.
MAX_EVENT_KEPT_BYTES: Final = MIB
MAX_IDS_PER_EVENT: Final = 1_000
CLIENT_QUEUE: Final = 1_024
# WebSockets; and connections of any kind, so that who only asks something is answered all the same.
MAX_CLIENTS: Final = 256
MAX_API_CONNECTIONS: Final = MAX_CLIENTS + 64
MAX_HTTP_HEAD_BYTES: Final = 16 * KIB
# A larger picture of a game is not shown.
MAX_COVER_BYTES: Final = 4 * MIB
