"""What is believed of an mDNS record, and what several records say together."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.identity import peer_id_of
from lanspread.seams import Address, Advertisement, Found, Gone
from lanspread.transport.dns_records import (
    RawRecord,
    RecordTable,
    by_port,
    instance_label,
    parse_record,
    txt_of,
)

PEER = peer_id_of(b"one")
OTHER = peer_id_of(b"two")
ADVERT = Advertisement(
    peer_id=PEER,
    proto_ver=3,
    addresses=(Address("10.0.0.1", 7373), Address("fd00::1", 7373)),
    library_rev=12,
    hostname="Günters PC",
)


def raw(advert: Advertisement = ADVERT) -> RawRecord:
    txt = {key.encode(): value.encode() for key, value in txt_of(advert).items()}
    return RawRecord(advert.addresses[0].port, txt, tuple(a.host for a in advert.addresses))


def with_txt(**changed: bytes | None) -> RawRecord:
    txt = {**raw().txt, **{key.encode(): value for key, value in changed.items()}}
    return attrs.evolve(raw(), txt=txt)


def parsed(record: RawRecord) -> Advertisement | None:
    return parse_record(record, allow_loopback=False)


def test_round_trip() -> None:
    assert parsed(raw()) == ADVERT
    hidden = attrs.evolve(ADVERT, library_rev=None, hostname=None)
    assert parsed(raw(hidden)) == hidden
    assert set(txt_of(hidden)) == {"peer_id", "proto_ver"}


def test_other_versions_are_told() -> None:
    other = attrs.evolve(ADVERT, proto_ver=99)
    assert parsed(raw(other)) == other


@pytest.mark.parametrize(
    "record",
    [
        with_txt(peer_id=None),
        with_txt(peer_id=b""),
        with_txt(peer_id=PEER.upper().encode()),
        with_txt(peer_id=b"\xff" * 36),
        with_txt(peer_id=b"x" * 100_000),
        with_txt(proto_ver=None),
        with_txt(proto_ver=b"three"),
        with_txt(proto_ver=b"-3"),
        with_txt(proto_ver=b"9" * 19),
        with_txt(proto_ver="٣".encode()),
        attrs.evolve(raw(), port=0),
        attrs.evolve(raw(), hosts=()),
        attrs.evolve(raw(), hosts=("127.0.0.1", "224.0.0.1", "fe80::1", "::")),
    ],
)
def test_what_is_no_peer_is_dropped(record: RawRecord) -> None:
    assert parsed(record) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"plain", "plain"),
        (b"a\x1b[31mred\x00\n", "a[31mred"),
        ("right\u202eleft\u200b".encode(), "rightleft"),
        (b"\xff", None),
        (b"  ", None),
        (b"x" * 250, "x" * limits.MAX_NAME_CHARS),
    ],
)
def test_names_are_safe_to_show(name: bytes, expected: str | None) -> None:
    advert = parsed(with_txt(hostname=name))
    assert advert is not None
    assert advert.hostname == expected


def test_a_bad_revision_is_no_revision() -> None:
    for bad in (b"", b"x", b"1" * 30, None):
        advert = parsed(with_txt(library_rev=bad))
        assert advert is not None
        assert advert.library_rev is None


def test_addresses_are_bounded_and_distinct() -> None:
    hosts = tuple(f"10.0.0.{number}" for number in range(1, 101))
    advert = parsed(attrs.evolve(raw(), hosts=("10.0.0.1", *hosts)))
    assert advert is not None
    assert len(advert.addresses) == limits.MAX_ADDRESSES_PER_PEER
    assert len(set(advert.addresses)) == limits.MAX_ADDRESSES_PER_PEER


def test_loopback_counts_among_loopback_peers() -> None:
    record = attrs.evolve(raw(), hosts=("127.0.0.1",))
    assert parse_record(record, allow_loopback=True) is not None
    assert parse_record(record, allow_loopback=False) is None


def test_loopback_beside_other_addresses_is_left_out() -> None:
    record = attrs.evolve(raw(), hosts=("127.0.0.1", "10.0.0.1", "::1"))
    advert = parse_record(record, allow_loopback=True)
    assert advert is not None
    assert [address.host for address in advert.addresses] == ["10.0.0.1"]
    mixed = (Address("127.0.0.1", 1), Address("10.0.0.1", 2))
    assert by_port(attrs.evolve(ADVERT, addresses=mixed)) == {2: ("10.0.0.1",)}
    assert by_port(attrs.evolve(ADVERT, addresses=mixed[:1])) == {1: ("127.0.0.1",)}


@given(
    st.integers(),
    st.dictionaries(
        st.sampled_from([b"peer_id", b"proto_ver", b"library_rev", b"hostname"]) | st.binary(),
        st.none() | st.binary() | st.just(PEER.encode()) | st.just(b"3"),
    ),
    st.lists(st.text() | st.just("10.0.0.1")).map(tuple),
)
def test_no_record_makes_it_raise(
    port: int, txt: dict[bytes, bytes | None], hosts: tuple[str, ...]
) -> None:
    advert = parsed(RawRecord(port, txt, hosts))
    if advert is not None:
        assert 1 <= len(advert.addresses) <= limits.MAX_ADDRESSES_PER_PEER
        assert advert.hostname is None or advert.hostname.isprintable()


def test_one_record_for_each_port_and_scopes_stay_at_home() -> None:
    advert = attrs.evolve(
        ADVERT,
        addresses=(
            Address("10.0.0.1", 1),
            Address("fe80::1%eth0", 2),
            Address("10.0.0.2", 1),
            Address("10.0.0.1", 1),
        ),
    )
    assert by_port(advert) == {1: ("10.0.0.1", "10.0.0.2"), 2: ("fe80::1",)}


def test_labels_and_texts_fit_into_dns() -> None:
    assert len(instance_label(PEER, "abcdef", 65_535)) <= 63
    long = attrs.evolve(ADVERT, hostname="ü" * 128, library_rev=(1 << 63) - 1)
    for key, value in txt_of(long).items():
        assert len(f"{key}={value}".encode()) <= 255
    assert parsed(raw(long)) is not None


# -- several records -------------------------------------------------------------------------------


def table(most: int = 100) -> RecordTable:
    return RecordTable(allow_loopback=False, most=most)


def at(host: str, peer_id: str = PEER, rev: int = 1) -> RawRecord:
    return raw(
        attrs.evolve(ADVERT, peer_id=peer_id, addresses=(Address(host, 1),), library_rev=rev)
    )


def hosts_of(events: list[Found | Gone]) -> list[str]:
    (event,) = events
    assert isinstance(event, Found)
    return [address.host for address in event.advert.addresses]


def test_a_peer_that_came_back_is_found_at_its_new_address_first() -> None:
    records = table()
    assert hosts_of(records.heard("before", at("10.0.0.1"))) == ["10.0.0.1"]
    assert hosts_of(records.heard("after", at("10.0.0.2"))) == ["10.0.0.2", "10.0.0.1"]
    assert hosts_of(records.withdrawn("before")) == ["10.0.0.2"]
    assert records.withdrawn("after") == [Gone(PEER)]
    assert records.withdrawn("after") == []
    assert len(records) == 0


def test_the_same_again_is_no_news() -> None:
    records = table()
    assert records.heard("a", at("10.0.0.1", rev=1))
    assert records.heard("a", at("10.0.0.1", rev=1)) == []
    assert len(records.heard("a", at("10.0.0.1", rev=2))) == 1


def test_a_name_that_changes_hands() -> None:
    records = table()
    records.heard("a", at("10.0.0.1"))
    events = records.heard("a", at("10.0.0.1", OTHER))
    assert events[0] == Gone(PEER)
    assert isinstance(events[1], Found)
    assert records.heard("a", RawRecord(0, {}, ())) == [Gone(OTHER)]


def test_a_flood_pushes_out_the_oldest_and_stays_bounded() -> None:
    records = table(most=10)
    for number in range(50):
        records.heard(f"n{number}", at("10.0.0.1", peer_id_of(b"%d" % number)))
        assert len(records) <= 10


def test_many_records_for_one_peer_stay_bounded() -> None:
    records = table()
    events: list[Found | Gone] = []
    for number in range(50):
        events = records.heard(f"n{number}", at(f"10.0.0.{number + 1}"))
    assert len(hosts_of(events)) == limits.MAX_ADDRESSES_PER_PEER
    assert len(records) == 8


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([PEER, OTHER, None]), st.integers(1, 3))
    )
)
def test_what_was_told_is_what_stands(steps: list[tuple[str, str | None, int]]) -> None:
    records = table()
    standing: dict[str, str] = {}
    told: set[str] = set()
    for name, peer_id, host in steps:
        if peer_id is None:
            events = records.withdrawn(name)
            standing.pop(name, None)
        else:
            events = records.heard(name, at(f"10.0.0.{host}", peer_id))
            standing[name] = peer_id
        for event in events:
            if isinstance(event, Found):
                told.add(event.advert.peer_id)
            else:
                told.discard(event.peer_id)
        assert told == set(standing.values())
