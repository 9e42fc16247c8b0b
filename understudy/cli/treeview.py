"""The actor tree as it looks in a terminal: what the server tells, kept, and drawn. No network, no clock of its own."""

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from rich.text import Text
from rich.tree import Tree

LINGER = 2.0
"""Seconds for which an actor that is gone is still shown, and a new one shown as new."""

_COLOURS = {
    "idle": "green",
    "busy": "yellow",
    "starting": "cyan",
    "suspended": "magenta",
    "backing off": "red",
    "stopping": "cyan",
    "ended": "bright_black",
}
_AT_WORK = frozenset({"thinking", "streaming", "tool", "calling"})
_GONE = "gone"
_OF_MANY = frozenset({"dynamic", "partition"})
"""Strategies of supervisors whose children are alike, and may be thousands."""


@attrs.define
class _Node:
    """One actor as last told, without its children."""

    address: str
    data: Mapping[str, Any]
    parent: str | None
    since: float
    gone_at: float | None = None
    crashed_at: float | None = None


class TreeView:
    """The tree, brought up to date by snapshots and changes. Times are seconds on the caller's clock.

    A change names an address and not its parent. A static child's address begins with its parent's; a dynamic one is
    ``kind/key`` and stands where its kind is known to. ``lost`` says that an address could not be placed: the caller
    should then ask for a snapshot.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        self._kinds: dict[str, str] = {}
        self._fresh = True
        self.lost = False

    def snapshot(self, tree: Mapping[str, Any], now: float) -> None:
        """Take over a whole tree."""
        before, self._nodes = self._nodes, {}
        self.lost = False
        self._adopt(tree, None, before, now)
        for address, node in before.items():
            if address not in self._nodes and node.parent in self._nodes:
                self._nodes[address] = attrs.evolve(node, gone_at=node.gone_at or now)
        self._fresh = False

    def _adopt(self, data: Mapping[str, Any], parent: str | None, before: Mapping[str, _Node], now: float) -> None:
        address = str(data["address"])
        known = before.get(address)
        since = known.since if known is not None and known.gone_at is None else now if not self._fresh else now - LINGER
        self._nodes[address] = _Node(address, data, parent, since, crashed_at=_crashed_at(known, data, now))
        for child in data.get("children", ()):
            if data.get("strategy") == "dynamic":
                self._kinds[str(child["kind"])] = address
            self._adopt(child, address, before, now)

    def change(self, changed: Iterable[Mapping[str, Any]], removed: Iterable[str], now: float) -> None:
        """Take over what changed: nodes without their children, and addresses that are gone."""
        for data in changed:
            address = str(data["address"])
            known = self._nodes.get(address)
            if known is None or known.gone_at is not None:
                parent = known.parent if known is not None else self._place(address, str(data.get("kind")))
                if parent is None and address:
                    self.lost = True
                    continue
                self._nodes[address] = _Node(address, data, parent, now)
            else:
                known.crashed_at = _crashed_at(known, data, now)
                known.data = data
        for address in removed:
            gone = self._nodes.get(address)
            if gone is not None:
                gone.gone_at = now

    def _place(self, address: str, kind: str) -> str | None:
        above = address
        while "/" in above:
            above = above.rpartition("/")[0]
            node = self._nodes.get(above)
            if node is not None and node.data.get("strategy"):
                return above
        if kind in self._kinds:
            return self._kinds[kind]
        return "" if "/" not in address else None

    def expire(self, now: float) -> bool:
        """Forget actors that have been gone for long enough; whether anything drawn has changed by time alone."""
        gone = [a for a, node in self._nodes.items() if node.gone_at is not None and now - node.gone_at >= LINGER]
        for address in gone:
            del self._nodes[address]
        return bool(gone) or any(now - node.since < LINGER + 1 for node in self._nodes.values())

    def draw(self, now: float, most: int | None = None) -> Tree:
        """The tree to print. Of alike children beyond *most*, those that changed state least recently are summed up."""
        children: dict[str | None, list[_Node]] = {}
        for node in self._nodes.values():
            children.setdefault(node.parent, []).append(node)
        root = self._nodes.get("")
        drawn = Tree(Text("understudy", style="bold") if root is None else _line(root, now), guide_style="bright_black")
        self._draw_children(drawn, "", children, now, most)
        return drawn

    def _draw_children(
        self, drawn: Tree, parent: str, children: Mapping[str | None, list[_Node]], now: float, most: int | None
    ) -> None:
        nodes = self._beneath(parent, children)
        shown = nodes
        if most is not None and len(nodes) > most and self._strategy(parent) in _OF_MANY:
            lively = sorted(nodes, key=lambda node: (node.data.get("state") == "idle", -node.since))[:most]
            chosen = {node.address for node in lively}
            shown = [node for node in nodes if node.address in chosen]
        for node in shown:
            self._draw_children(drawn.add(_line(node, now)), node.address, children, now, most)
        if len(shown) < len(nodes):
            drawn.add(Text(f"... and {len(nodes) - len(shown)} more", style="bright_black"))

    def _beneath(self, parent: str, children: Mapping[str | None, list[_Node]]) -> list[_Node]:
        """The children to draw; those of a partitioned supervisor's partitions as if they were its own."""
        nodes = children.get(parent, [])
        if self._strategy(parent) != "partition":
            return nodes
        return [node for partition in nodes for node in children.get(partition.address, [])]

    def _strategy(self, address: str) -> str | None:
        node = self._nodes.get(address)
        return node.data.get("strategy") if node is not None else None

    def states(self) -> dict[str, str]:
        """Each address with its state and the actor's own word, for those who want lines and not a picture."""
        return {address: _state(node) for address, node in self._nodes.items()}


def _crashed_at(known: _Node | None, data: Mapping[str, Any], now: float) -> float | None:
    if known is None or data.get("restarts", 0) == known.data.get("restarts", 0):
        return known.crashed_at if known is not None else None
    return now


def _state(node: _Node) -> str:
    if node.gone_at is not None:
        return _GONE
    state, status = str(node.data.get("state", "")), node.data.get("status")
    if not status or status == state:
        return state
    # An actor whose work is under way is idle itself, and free to answer; what it says of itself is then what counts.
    return str(status) if state == "idle" else f"{state} ({status})"


def _line(node: _Node, now: float) -> Text:
    data = node.data
    name = node.address or "/"
    supervisor = data.get("strategy")
    line = Text(no_wrap=True, overflow="ellipsis")
    if node.gone_at is not None:
        return line.append(f"{name}  gone", style="bright_black strike")
    line.append(name, style="bold" if supervisor else "bold green" if now - node.since < LINGER else "")
    if supervisor:
        line.append(f"  {supervisor}", style="bright_black")
        if data.get("state") not in {None, "idle"}:
            line.append(f"  {data['state']}", style=_COLOURS.get(str(data["state"]), ""))
    else:
        lively = data.get("status") in _AT_WORK
        line.append(f"  {_state(node)}", style="yellow" if lively else _COLOURS.get(str(data.get("state")), ""))
    if data.get("mailbox"):
        line.append(f"  {data['mailbox']} waiting", style="yellow")
    if data.get("readers"):
        line.append(f"  {data['readers']} reading", style="bright_black")
    if restarts := data.get("restarts"):
        recent = node.crashed_at is not None and now - node.crashed_at < LINGER
        line.append(f"  restarts {restarts}", style="bold red" if recent else "red")
        if recent and (crash := data.get("crash")):
            line.append(f"  {_words(crash)}", style="red")
    if quarantined := data.get("quarantined"):
        line.append(f"  {len(quarantined)} in quarantine", style="red")
    return line


def _words(crash: Any) -> str:
    return str(crash.get("error") or "crashed").splitlines()[0] if isinstance(crash, Mapping) else str(crash)
