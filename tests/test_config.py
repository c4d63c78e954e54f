"""Settings: where they come from, which wins, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread.config import SETTINGS, Config, load_config, parse_host_port
from lanspread.errors import StartError
from lanspread.seams import Address


def load(
    tmp_path: Path, toml: str = "", env: dict[str, str] | None = None, **flags: object
) -> Config:
    if toml:
        (tmp_path / "lanspread.toml").write_text(toml)
    return load_config(flags, env or {}, str(tmp_path))


def refused(
    tmp_path: Path, toml: str = "", env: dict[str, str] | None = None, **flags: object
) -> str:
    """The one line of a usage error."""
    with pytest.raises(StartError) as caught:
        load(tmp_path, toml, env, **flags)
    assert caught.value.usage
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, games="/g")
    assert config.games == "/g"
    assert config.state == str(tmp_path)
    assert config.name
    assert (config.listen, config.api, config.peers) == (None, None, ())
    assert config.mdns
    assert config.max_up is None
    assert not config.new_identity


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    toml = 'games = "/file"\nname = "file"\nmax_up = 1\nmax_down = 2.5'
    env = {"LANSPREAD_NAME": "env", "LANSPREAD_MAX_UP": "3"}
    config = load(tmp_path, toml, env, name="flag")
    assert (config.games, config.name) == ("/file", "flag")
    assert (config.max_up, config.max_down) == (3_000_000, 2_500_000)


def test_every_setting_from_the_file(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        games = "sub/games"
        name = "box"
        listen = ["0.0.0.0:7373", "[::]:7373"]
        api = "box.lan:80"
        api_host = "box"
        peer = ["other.lan:7373", "[fd00::1]:1"]
        no_mdns = true
        interface = ["127.0.0.1"]
        catalog = "/c.json"
        trust = "open"
        max_up = 10
        max_down = 0.5
        block_bytes = 4096
        quic_payload = 1472
        log_format = "json"
        """,
    )
    assert config == Config(
        games=str(tmp_path / "sub/games"),
        state=str(tmp_path),
        name="box",
        listen=(Address("0.0.0.0", 7373), Address("::", 7373)),
        api=Address("box.lan", 80),
        api_hosts=("box",),
        peers=("other.lan:7373", "[fd00::1]:1"),
        mdns=False,
        interfaces=("127.0.0.1",),
        catalog="/c.json",
        max_up=10e6,
        max_down=0.5e6,
        block_bytes=4096,
        quic_payload=1472,
        log_format="json",
    )


def test_every_setting_from_the_environment(tmp_path: Path) -> None:
    env = {
        "LANSPREAD_GAMES": "games",
        "LANSPREAD_LISTEN": "127.0.0.1:0, [::1]:0",
        "LANSPREAD_API": "localhost:0",
        "LANSPREAD_PEER": "a:1,b:2",
        "LANSPREAD_NO_MDNS": "yes",
        "LANSPREAD_INTERFACE": "127.0.0.1",
        "LANSPREAD_BLOCK_BYTES": "2048",
        "LANSPREAD_CATALOG": "",
        "LANSPREAD_UNKNOWN": "is somebody else's",
    }
    config = load(tmp_path, env=env)
    assert config.games == os.path.abspath("games")
    assert config.listen == (Address("127.0.0.1", 0), Address("::1", 0))
    assert config.peers == ("a:1", "b:2")
    assert not config.mdns
    assert config.block_bytes == 2048
    assert config.catalog is None


def test_without_a_games_folder_it_says_how_to_give_one(tmp_path: Path) -> None:
    text = refused(tmp_path)
    for way in ("--games", "LANSPREAD_GAMES", "lanspread.toml"):
        assert way in text


def test_orders_are_flags_only(tmp_path: Path) -> None:
    assert load(tmp_path, games="/g", new_identity=True).new_identity
    assert "new_identity" in refused(tmp_path, 'games = "/g"\nnew_identity = true')


@pytest.mark.parametrize(
    ("toml", "part"),
    [
        ("nonsense = 1", "nonsense"),
        ("games = 1", "games"),
        ('no_mdns = "yes"', "no_mdns"),
        ("no_mdns = 1", "no_mdns"),
        ('max_up = "10"', "max_up"),
        ("max_up = true", "max_up"),
        ("max_up = 0", "max_up"),
        ("max_up = -1", "max_up"),
        ("max_up = nan", "max_up"),
        ("max_up = inf", "max_up"),
        ("max_up = 0.0009", "at least 0.001 MB/s"),
        ("polite = 1", "polite"),
        ("polite_up = 0", "polite_up"),
        ("polite_down = 1e-6", "at least 0.001 MB/s"),
        ("block_bytes = 1.5", "block_bytes"),
        ("block_bytes = 1", "block_bytes"),
        ("quic_payload = 1199", "quic_payload"),
        ("quic_payload = 16001", "quic_payload"),
        ("listen = [7373]", "listen"),
        ('listen = ["host:7373"]', "listen"),
        ('listen = ["1.2.3.4"]', "listen"),
        ('interface = "eth0"', "interface"),
        ('peer = ["x:0"]', "peer"),
        ('api_host = "a b"', "api_host"),
        ('name = ""', "name"),
        ('name = "a\\u001bb"', "name"),
        ('trust = "party"', "not built yet"),
        ('trust = "list"', "not built yet"),
        ('trust = "all"', "none of open, party, list"),
        ('log_format = "xml"', "log_format"),
        ("games = ", "TOML"),
        ("[games]\nx = 1", "games"),
        ("a = " + "[" * 5_000, "TOML"),
    ],
)
def test_what_the_file_may_not_say(tmp_path: Path, toml: str, part: str) -> None:
    assert part in refused(tmp_path, toml)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "lanspread.toml").write_bytes(b"\xff\xfe")
    assert "TOML" in refused(tmp_path)


def test_a_file_that_cannot_be_read_is_the_machines_fault(tmp_path: Path) -> None:
    (tmp_path / "lanspread.toml").mkdir()
    with pytest.raises(StartError) as caught:
        load(tmp_path)
    assert not caught.value.usage


@pytest.mark.parametrize(
    ("variable", "value"),
    [("NO_MDNS", "maybe"), ("MAX_UP", "ten"), ("BLOCK_BYTES", "4 MiB"), ("TRUST", "party")],
)
def test_what_the_environment_may_not_say(tmp_path: Path, variable: str, value: str) -> None:
    text = refused(tmp_path, env={"LANSPREAD_GAMES": "/g", f"LANSPREAD_{variable}": value})
    assert f"LANSPREAD_{variable}" in text


def test_flags_are_named_as_people_write_them(tmp_path: Path) -> None:
    assert refused(tmp_path, games="/g", max_up=0.0).startswith("--max-up: ")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("1.2.3.4:5", Address("1.2.3.4", 5)),
        ("[::1]:65535", Address("::1", 65535)),
        ("[fe80::1%eth0]:1", Address("fe80::1%eth0", 1)),
        ("host.lan:7373", Address("host.lan", 7373)),
        ("my_host:07373", Address("my_host", 7373)),
    ],
)
def test_host_port(text: str, address: Address) -> None:
    assert parse_host_port(text) == address


@pytest.mark.parametrize(
    "text",
    ["", ":", "host", "host:", ":1", "host:0", "host:65536", "host:+1", "host:1_0", "host:٣",
     "::1:5", "[::1]", "[::1]5", "[1.2.3.4]:5", "[host]:5", "a b:1", "a/b:1", "http://a:1",
     "-a:1", "a\n:1", "host:1\n", "é:1"],
)  # fmt: skip
def test_what_is_not_host_port(text: str) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        parse_host_port(text)
    assert str(caught.value).isprintable()


@given(st.text())
def test_host_port_takes_any_text(text: str) -> None:
    try:
        address = parse_host_port(text, any_port=True)
    except ValueError:
        return
    assert parse_host_port(str(address), any_port=True) == address


@given(st.sampled_from(sorted(SETTINGS)), st.text(max_size=30))
def test_no_text_makes_a_setting_fail_oddly(name: str, text: str) -> None:
    try:
        load_config({}, {f"LANSPREAD_{name.upper()}": text}, "/nonexistent")
    except StartError as error:
        assert error.usage  # noqa: PT017


def test_settings_without_a_games_folder(tmp_path: Path) -> None:
    (tmp_path / "lanspread.toml").write_text("nonsense = 1\n")
    config = load_config({}, {}, str(tmp_path), use_file=False, games_needed=False)
    assert (config.games, config.state) == ("", str(tmp_path))
    with pytest.raises(StartError, match="nonsense"):
        load_config({}, {}, str(tmp_path), games_needed=False)
    with pytest.raises(StartError, match="no games folder"):
        load_config({}, {}, str(tmp_path), use_file=False)
