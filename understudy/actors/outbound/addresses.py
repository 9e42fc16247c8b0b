"""Which addresses the node may be sent to by somebody else's URL."""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_V4 = [
    ("the cloud's metadata service", "169.254.169.254/32 169.254.170.0/24 100.100.100.200/32 168.63.129.16/32"),
    ("the cloud's metadata service", "192.0.0.192/32"),
    ("this host", "0.0.0.0/8"),
    ("loopback", "127.0.0.0/8"),
    ("private", "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16"),
    ("link-local", "169.254.0.0/16"),
    ("shared by a carrier", "100.64.0.0/10"),
    ("multicast", "224.0.0.0/4"),
    ("reserved", "192.0.0.0/24 192.0.2.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 192.88.99.0/24 240.0.0.0/4"),
]
_V6 = [
    ("the cloud's metadata service", "fd00:ec2::254/128 fd20:ce::254/128"),
    ("unspecified", "::/128"),
    ("loopback", "::1/128"),
    ("private", "fc00::/7 fec0::/10"),
    ("link-local", "fe80::/10"),
    ("multicast", "ff00::/8"),
    ("a local translation prefix", "64:ff9b:1::/48"),
    ("reserved", "::/96 100::/64 2001::/23 2001:db8::/32 3fff::/20 5f00::/16"),
]
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _table(rows: Iterable[tuple[str, str]]) -> list[tuple[str, Network]]:
    return [(reason, ipaddress.ip_network(network)) for reason, networks in rows for network in networks.split()]


_REFUSED = {4: _table(_V4), 6: _table(_V6)}


class AddressPolicy:
    """Refuses what is not the public internet, unless a network in *allow* holds it.

    An IPv6 address that stands for an IPv4 one (mapped, NAT64, 6to4) is judged by what it stands for.
    """

    def __init__(self, allow: Sequence[Network] = ()) -> None:
        self._allow = tuple(allow)

    def allows_explicitly(self, address: str) -> bool:
        """Whether configuration opened this address."""
        parsed = _parse(address)
        return any(one in network for one in (parsed, embedded(parsed)) if one for network in self._allow)

    def refusal(self, address: str) -> str | None:
        """Why *address* (as the resolver gave it) may not be connected to; None when it may."""
        if self.allows_explicitly(address):
            return None
        parsed = _parse(address)
        inner = embedded(parsed)
        if inner is not None:
            reason = _reason(inner)
            return reason and f"{reason}, as {inner}"
        return _reason(parsed)


def embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def _parse(address: str) -> Address:
    return ipaddress.ip_address(address.partition("%")[0])  # without the zone of a link-local address


def _reason(address: Address) -> str | None:
    for reason, network in _REFUSED[address.version]:
        if address in network:
            return reason
    if address.version == 6 and address not in _GLOBAL_V6:
        return "not in the part of IPv6 that is routed"
    return None if address.is_global else "not public"
