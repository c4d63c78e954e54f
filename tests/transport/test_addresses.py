"""Which addresses may be dialed, and which interfaces count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread.seams import Address, LocalAddress
from lanspread.transport import addresses


@pytest.mark.parametrize(
    "host",
    ["10.0.0.1", "192.168.1.5", "8.8.8.8", "169.254.3.4", "fd00::1", "2001:db8::1", "fe80::1%eth0"],
)
def test_unicast_is_dialable(host: str) -> None:
    assert addresses.is_dialable(Address(host, 7373), allow_loopback=False)


@pytest.mark.parametrize(
    "host",
    [
        "", "x", "0.0.0.0", "0.1.2.3", "224.0.0.251", "239.1.1.1", "255.255.255.255", "240.0.0.1",
        "::", "ff02::fb", "fe80::1", "fd00::1%eth0", "10.0.0.1%eth0", "fe80::1%", "fe80::1%a%b",
        "::ffff:10.0.0.1", "010.0.0.1", "10.0.0.1 ", "localhost", "fe80::1%" + "a" * 65,
        "fe80::1%a\nb",
    ],
)  # fmt: skip
def test_everything_else_is_not(host: str) -> None:
    assert not addresses.is_dialable(Address(host, 7373), allow_loopback=True)


@pytest.mark.parametrize("port", [-1, 0, 65_536])
def test_a_port_is_a_port(port: int) -> None:
    assert not addresses.is_dialable(Address("10.0.0.1", port), allow_loopback=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.5.5.5", "::1"])
def test_loopback_only_where_it_is_allowed(host: str) -> None:
    assert addresses.is_dialable(Address(host, 1), allow_loopback=True)
    assert not addresses.is_dialable(Address(host, 1), allow_loopback=False)


@given(st.text())
def test_no_text_makes_it_raise(host: str) -> None:
    addresses.is_dialable(Address(host, 1), allow_loopback=True)
    addresses.can_reach(Address("0.0.0.0", 1), Address(host, 1))


@pytest.mark.parametrize(
    ("bound", "target", "expected"),
    [
        ("0.0.0.0", "127.0.0.1", True),
        ("0.0.0.0", "10.0.0.1", True),
        ("0.0.0.0", "::1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "10.0.0.1", False),
        ("10.0.0.2", "127.0.0.1", False),
        ("10.0.0.2", "10.0.0.1", True),
        ("::", "fe80::1%eth0", True),
        ("::", "fe80::1", False),
        ("::1", "fd00::1", False),
    ],
)
def test_can_reach(bound: str, target: str, expected: bool) -> None:
    assert addresses.can_reach(Address(bound, 1), Address(target, 2)) is expected


def test_virtual_interfaces_are_left_out() -> None:
    real = [LocalAddress("127.0.0.1", "lo"), LocalAddress("10.0.0.1", "eth0")]
    virtual = [LocalAddress("172.17.0.1", "docker0"), LocalAddress("10.8.0.1", "Tailscale")]
    assert addresses.without_virtual(real + virtual) == real


def test_the_last_interface_is_never_left_out() -> None:
    only = [LocalAddress("127.0.0.1", "lo"), LocalAddress("10.8.0.1", "wg0")]
    assert addresses.without_virtual(only) == only


def test_turns() -> None:
    many = [Address("10.0.0.1", port) for port in range(1, 100)]
    few = [Address("10.0.0.2", 1), many[0]]
    assert addresses.take_in_turns([many, few], 4) == (many[0], few[0], many[1], many[2])
    assert addresses.take_in_turns([], 4) == ()


def test_scope_spelling() -> None:
    assert addresses.named_scope("fe80::1%2", lambda number: f"eth{number}") == "fe80::1%eth2"
    assert addresses.named_scope("fe80::1%eth0", str) == "fe80::1%eth0"
    assert addresses.named_scope("fd00::1", str) == "fd00::1"
