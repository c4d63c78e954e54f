"""Settings: defaults < lanspread.toml in the state folder < environment < flags.

One class says what can be set; where a value came from is decided by `load_config`. A setting has
one name: its flag's, with `_` for `-`, is the key in the file and, in capitals behind
`LANSPREAD_`, the variable. Source: docs/operators.md.
"""

from __future__ import annotations

import enum
import ipaddress
import math
import os
import re
import socket
import tomllib
from collections.abc import Callable, Mapping

import attrs

from lanspread import limits
from lanspread.errors import StartError
from lanspread.seams import Address

SETTINGS_FILE = "lanspread.toml"
MAX_SETTINGS_BYTES = limits.MIB
ENVIRONMENT_PREFIX = "LANSPREAD_"
LOG_FORMATS = ("text", "json")
BYTES_PER_MB = 1_000_000

_PORT = re.compile(r"[0-9]{1,5}")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")


class Trust(enum.StrEnum):
    """Who may connect."""

    OPEN = "open"
    PARTY = "party"
    LIST = "list"


@attrs.frozen(kw_only=True)
class Config:
    """All settings of one peer. `games` and `state` are paths; rates are bytes a second.

    `listen` and `api` are None where nothing was given: the default port, or a free one if it is
    taken. A port that was given is used or the start fails. The host of `api` may be a name.
    """

    games: str
    state: str
    name: str = attrs.Factory(lambda: default_name(socket.gethostname()))
    listen: tuple[Address, ...] | None = None
    api: Address | None = None
    api_hosts: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    mdns: bool = True
    bulk: bool = True
    interfaces: tuple[str, ...] = ()
    catalog: str | None = None
    trust: Trust = Trust.OPEN
    max_up: float | None = None
    max_down: float | None = None
    polite: bool = False
    polite_up: float = limits.POLITE_RATE
    polite_down: float = limits.POLITE_RATE
    block_bytes: int = limits.BLOCK_BYTES
    quic_payload: int = limits.QUIC_MAX_PAYLOAD_BYTES
    auto_install: bool = False
    log_format: str = "text"
    new_identity: bool = False
    new_token: bool = False


def default_name(host_name: str) -> str:
    """What a peer is called if nobody says: as its machine, if that is a name."""
    try:
        return _name(host_name[: limits.MAX_NAME_CHARS])
    except ValueError:
        return "lanspread"


# -- HOST:PORT, in one place ----------------------------------------------------------------------


def parse_host_port(text: str, *, any_port: bool = False) -> Address:
    """`HOST:PORT`, `[IPV6]:PORT`; the host may be a name. Port 0 needs `any_port`.

    Raises `ValueError` with a sentence that says what is wrong.
    """
    host, colon, port_text = text.rpartition(":")
    if not colon or not host:
        raise ValueError(f"{_shown(text)} is not HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_ip(host, 6):
            raise ValueError(f"{_shown(host)} is not an IPv6 address")
    elif ":" in host:
        raise ValueError(f"{_shown(text)}: an IPv6 address is written [ADDRESS]:PORT")
    elif not _is_ip(host, 4) and not _HOST_NAME.fullmatch(host):
        raise ValueError(f"{_shown(host)} is neither an address nor a host name")
    lowest = 0 if any_port else 1
    if not _PORT.fullmatch(port_text) or not lowest <= int(port_text) <= 65_535:
        raise ValueError(f"{_shown(port_text)} is not a port ({lowest} to 65535)")
    return Address(host, int(port_text))


def _is_ip(text: str, version: int | None = None) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return version is None or address.version == version


def _shown(text: str) -> str:
    """A value for a message: quoted, bounded, without control characters."""
    return ascii(text[:80])


# -- one setting ----------------------------------------------------------------------------------


class Kind(enum.Enum):
    """The type a setting has in the file; elsewhere it is read from a text."""

    TEXT = "a text"
    FLAG = "true or false"
    NUMBER = "a number"
    INTEGER = "a whole number"
    LIST = "a list of texts"


def _text(value: str) -> str:
    if not value or any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise ValueError("must not be empty or hold control characters")
    return value


def _name(value: str) -> str:
    # The same as `lanspread.commands.Name`; what is not Unicode could not be told to anybody.
    if (
        len(_text(value)) > limits.MAX_NAME_CHARS
        or not re.search(limits.NAME_PATTERN, value)
        or not _is_unicode(value)
    ):
        raise ValueError(f"must be {limits.NAME_RULE}")
    return value


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _listen(values: tuple[str, ...]) -> tuple[Address, ...] | None:
    return tuple(_listen_address(value) for value in values) or None


def _listen_address(value: str) -> Address:
    address = parse_host_port(value, any_port=True)
    if address.host == "localhost":
        return Address("127.0.0.1", address.port)
    if not _is_ip(address.host):
        raise ValueError(f"{_shown(address.host)} is not an IP address of this machine")
    return address


def _interfaces(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not _is_ip(value):
            raise ValueError(f"{_shown(value)} is not an IP address of this machine")
    return values


def _hosts(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not _is_ip(value) and not _HOST_NAME.fullmatch(value):
            raise ValueError(f"{_shown(value)} is neither an address nor a host name")
    return values


def _trust(value: str) -> Trust:
    try:
        trust = Trust(value)
    except ValueError:
        raise ValueError(f"{_shown(value)} is none of open, party, list") from None
    if trust is not Trust.OPEN:
        raise ValueError(f"the mode {trust.value!r} is not built yet; only 'open' is")
    return trust


def check_rate(mb: float) -> None:
    """Raises `ValueError` for a rate at which nothing would ever arrive."""
    least = limits.MIN_RATE / BYTES_PER_MB
    if mb < least:
        raise ValueError(f"must be at least {least:g} MB/s: nothing moves in time below that")


def _rate(value: float) -> float:
    if not math.isfinite(value) or value <= 0:
        raise ValueError("must be more than 0 MB/s; leave it out for no limit")
    check_rate(value)
    return value * BYTES_PER_MB


def _block(value: int) -> int:
    if not limits.MIN_BLOCK_BYTES <= value <= limits.MAX_BLOCK_BYTES:
        raise ValueError(
            f"must be between {limits.MIN_BLOCK_BYTES} and {limits.MAX_BLOCK_BYTES} bytes"
        )
    return value


def _payload(value: int) -> int:
    lowest, most = limits.QUIC_SMALLEST_PAYLOAD_BYTES, limits.QUIC_MAX_PAYLOAD_BYTES
    if not lowest <= value <= most:
        raise ValueError(f"must be between {lowest} and {most} bytes")
    return value


def _log_format(value: str) -> str:
    if value not in LOG_FORMATS:
        raise ValueError(f"{_shown(value)} is none of {', '.join(LOG_FORMATS)}")
    return value


@attrs.frozen
class Setting:
    """`field` of `Config` under the name by which people set it; `check` may raise ValueError.

    `takes`, `default` and `meaning` are what docs/operators.md says of it.
    """

    name: str
    field: str
    kind: Kind
    takes: str
    default: str
    meaning: str
    check: Callable[..., object] = _text


def _peers(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(parse_host_port(value)) for value in values)


_NO_LIMIT = "no limit"
_POLITE = f"{limits.POLITE_RATE / BYTES_PER_MB:g}"
SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            "games", "games", Kind.TEXT,
            "path", "none", "the folder of games, one folder in it per game",
        ),
        Setting(
            "name", "name", Kind.TEXT,
            "text", "the machine's name", "what others see", _name,
        ),
        Setting(
            "listen", "listen", Kind.LIST,
            "list of `IP:PORT`", "port 7373, all interfaces, IPv4 and IPv6", "UDP, for peers",
            _listen,
        ),
        Setting(
            "api", "api", Kind.TEXT,
            "`HOST:PORT`", "`127.0.0.1:7374`", "TCP, the page and the WebSocket",
            lambda value: parse_host_port(value, any_port=True),
        ),
        Setting(
            "api_host", "api_hosts", Kind.LIST,
            "list of names", "none", "further names by which the API may be called (no flag)",
            _hosts,
        ),
        Setting(
            "peer", "peers", Kind.LIST,
            "list of `HOST:PORT`", "none", "peers to connect to always", _peers,
        ),
        Setting(
            "no_mdns", "mdns", Kind.FLAG,
            "true or false", "false", "neither announce nor browse", lambda value: not value,
        ),
        Setting(
            "no_bulk", "bulk", Kind.FLAG,
            "true or false", "false", "move games over QUIC alone, never over TCP",
            lambda value: not value,
        ),
        Setting(
            "interface", "interfaces", Kind.LIST,
            "list of IPs", "all but VPNs and containers", "addresses of this machine to use",
            _interfaces,
        ),
        Setting(
            "catalog", "catalog", Kind.TEXT,
            "path", "none: any game", "which games exist",
        ),
        Setting(
            "trust", "trust", Kind.TEXT,
            "`open`, `party`, `list`", "`open`", "who may connect; only `open` is built", _trust,
        ),
        Setting(
            "max_up", "max_up", Kind.NUMBER,
            "number", _NO_LIMIT, "MB/s (1 MB = 1,000,000 bytes) served, for the whole peer", _rate,
        ),
        Setting(
            "max_down", "max_down", Kind.NUMBER,
            "number", _NO_LIMIT, "MB/s fetched, for the whole peer", _rate,
        ),
        Setting(
            "polite", "polite", Kind.FLAG,
            "true or false", "false", "leave the wire and the machine to a game being played", bool,
        ),
        Setting(
            "polite_up", "polite_up", Kind.NUMBER,
            "number", _POLITE, "MB/s served at most while `polite` is on (no flag)", _rate,
        ),
        Setting(
            "polite_down", "polite_down", Kind.NUMBER,
            "number", _POLITE, "MB/s fetched at most while `polite` is on (no flag)", _rate,
        ),
        Setting(
            "block_bytes", "block_bytes", Kind.INTEGER,
            "whole number", str(limits.BLOCK_BYTES),
            "size of a verified block (no flag; the same on all peers)", _block,
        ),
        Setting(
            "quic_payload", "quic_payload", Kind.INTEGER,
            "whole number", str(limits.QUIC_MAX_PAYLOAD_BYTES),
            "largest UDP payload sent, if the path carries it (no flag; Ethernet carries 1472)",
            _payload,
        ),
        Setting(
            "auto_install", "auto_install", Kind.FLAG,
            "true or false", "false", "install, or update, every game that was fetched", bool,
        ),
        Setting(
            "log_format", "log_format", Kind.TEXT,
            "`text`, `json`", "`text`", "of the log on stderr", _log_format,
        ),
    )
}  # fmt: skip
# Not settings but one start's orders: flags only.
_ORDERS = ("new_identity", "new_token")
_PATHS = ("games", "catalog")


def _from_text(setting: Setting, text: str) -> object:
    """A value of the environment. Lists are separated by commas."""
    match setting.kind:
        case Kind.TEXT:
            return text
        case Kind.LIST:
            return tuple(part.strip() for part in text.split(",") if part.strip())
        case Kind.FLAG:
            flags = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
            if text.lower() not in flags:
                raise ValueError(f"{_shown(text)} is none of 1, true, yes, 0, false, no")
            return flags[text.lower()]
        case Kind.NUMBER:
            return _number(text, float)
        case Kind.INTEGER:
            return _number(text, int)


def _number(text: str, kind: type[float] | type[int]) -> float:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{_shown(text)} is not a number") from None


def _from_file(setting: Setting, value: object) -> object:
    """A value of the file, of exactly its type; a single text may stand for a list of one."""
    match setting.kind, value:
        case (Kind.TEXT, str()) | (Kind.FLAG, bool()):
            return value
        case Kind.LIST, str():
            return (value,)
        case Kind.LIST, list() if all(isinstance(item, str) for item in value):
            return tuple(value)
        case (Kind.NUMBER, int() | float()) | (Kind.INTEGER, int()) if not isinstance(value, bool):
            return value
    raise ValueError(f"must be {setting.kind.value}")


# -- all of them ----------------------------------------------------------------------------------


def load_config(
    flags: Mapping[str, object],
    env: Mapping[str, str],
    state: str,
    *,
    use_file: bool = True,
    games_needed: bool = True,
) -> Config:
    """The settings of a peer whose state folder is `state`.

    `flags` holds what was given on the command line, by setting name: texts, numbers, tuples of
    texts; None or `()` where nothing was given. Raises `StartError`, with `usage` unless the file
    could not be read. Where no games folder is needed, `games` is empty if none is given.
    """
    values: dict[str, object] = {}
    file_name = os.path.join(state, SETTINGS_FILE)
    for key, raw in (_read_file(file_name) if use_file else {}).items():
        if key not in SETTINGS:
            raise StartError(f"{file_name}: unknown setting {_shown(key)}", usage=True)
        values[key] = _take(SETTINGS[key], f"{file_name}: {key}", _from_file, raw, state)
    for key, setting in SETTINGS.items():
        variable = ENVIRONMENT_PREFIX + key.upper()
        if env.get(variable):
            values[key] = _take(setting, variable, _from_text, env[variable], os.getcwd())
        given = flags.get(key)
        if given is not None and given != ():
            flag = "--" + key.replace("_", "-")
            values[key] = _take(setting, flag, lambda _, value: value, given, os.getcwd())
    if not games_needed:
        values.setdefault("games", "")
    if "games" not in values:
        raise StartError(
            "no games folder: give it with --games DIR, LANSPREAD_GAMES, or "
            f'games = "DIR" in {file_name}',
            usage=True,
        )
    fields: dict[str, object] = {SETTINGS[key].field: value for key, value in values.items()}
    fields.update((order, bool(flags.get(order))) for order in _ORDERS)
    return Config(state=state, **fields)  # type: ignore[arg-type]  # `check` made each its type


def _take(
    setting: Setting,
    source: str,
    read: Callable[[Setting, object], object] | Callable[[Setting, str], object],
    raw: object,
    base: str,
) -> object:
    try:
        value = setting.check(read(setting, raw))  # type: ignore[arg-type]
    except ValueError as error:
        raise StartError(f"{source}: {error}", usage=True) from None
    if setting.name in _PATHS:
        return os.path.abspath(os.path.join(base, os.path.expanduser(str(value))))
    return value


def _read_file(file_name: str) -> dict[str, object]:
    try:
        with open(file_name, "rb") as file:
            raw = file.read(MAX_SETTINGS_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise StartError(f"cannot read {file_name}: {error.strerror}") from None
    if len(raw) > MAX_SETTINGS_BYTES:
        raise StartError(f"{file_name} is larger than {MAX_SETTINGS_BYTES} bytes", usage=True)
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        reason = str(error).replace("\n", " ")
        raise StartError(f"{file_name} is not valid TOML: {reason}", usage=True) from None
