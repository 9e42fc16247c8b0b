"""Which addresses other people's URLs may lead to."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.outbound.addresses import AddressPolicy

STRICT = AddressPolicy()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("0.0.0.0", "this host"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("169.254.169.254", "metadata"),
        ("169.254.170.2", "metadata"),
        ("169.254.1.1", "link-local"),
        ("168.63.129.16", "metadata"),
        ("100.100.100.200", "metadata"),
        ("100.64.0.1", "shared"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("255.255.255.255", "reserved"),
        ("240.0.0.1", "reserved"),
        ("198.18.0.1", "reserved"),
        ("203.0.113.9", "reserved"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fc00::1", "private"),
        ("fd12:3456::1", "private"),
        ("fd00:ec2::254", "metadata"),
        ("fec0::1", "private"),
        ("ff02::1", "multicast"),
        ("2001:db8::1", "reserved"),
        ("2001::1", "reserved"),
        ("64:ff9b:1::1", "translation"),
        ("::127.0.0.1", "reserved"),
        ("::ffff:127.0.0.1", "loopback, as 127.0.0.1"),
        ("::ffff:169.254.169.254", "metadata"),
        ("::ffff:10.0.0.1", "private"),
        ("64:ff9b::7f00:1", "loopback, as 127.0.0.1"),
        ("64:ff9b::a9fe:a9fe", "metadata"),
        ("2002:7f00:1::", "loopback, as 127.0.0.1"),
        ("4000::1", "routed"),
    ],
)
def test_what_is_not_the_public_internet_is_refused_with_its_reason(address: str, reason: str) -> None:
    assert reason in (STRICT.refusal(address) or "")


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::"]
)
def test_public_addresses_are_allowed(address: str) -> None:
    assert STRICT.refusal(address) is None


def test_an_allowed_network_opens_exactly_itself() -> None:
    policy = AddressPolicy([ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("fd00::/8")])
    assert policy.refusal("127.0.0.1") is None
    assert policy.refusal("::ffff:127.0.0.1") is None
    assert policy.refusal("fd12::1") is None
    assert policy.refusal("127.0.0.2") is not None
    assert policy.refusal("10.0.0.1") is not None


@given(st.ip_addresses(v=4))
def test_whatever_python_calls_not_global_is_refused_and_its_ipv6_disguises_too(address: ipaddress.IPv4Address) -> None:
    if not address.is_global or address.is_multicast:
        number = int(address)
        assert STRICT.refusal(str(address)) is not None
        assert STRICT.refusal(f"::ffff:{address}") is not None
        assert STRICT.refusal(str(ipaddress.IPv6Address((0x64FF9B << 96) | number))) is not None
        assert STRICT.refusal(str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80)))) is not None


@given(st.ip_addresses(v=6))
def test_no_address_outside_the_routed_part_of_ipv6_is_allowed(address: ipaddress.IPv6Address) -> None:
    if STRICT.refusal(str(address)) is None:
        assert (
            address.ipv4_mapped is not None
            or address in ipaddress.ip_network("2000::/3")
            or (address in ipaddress.ip_network("64:ff9b::/96"))
        )
