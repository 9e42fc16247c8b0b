"""Checks of the actors themselves."""

from collections.abc import Iterator

import trio

from understudy.actors.diagnostics.check import Check, Finding, failed, passed, warned
from understudy.runtime import ActorSystem, TreeNode

MANY = 3
"""How many addresses a message names."""
CROWDED = 0.5
"""The part of a mailbox' limit above which somebody should look."""
OLD_MAIL = 5.0
"""Seconds after which mail that nobody began to handle is a sign of a wedged actor."""


def actors_settled() -> Check:
    """No actor crashes over and over, and none is quarantined."""

    async def run(system: ActorSystem) -> Finding:
        await trio.lowlevel.checkpoint()
        nodes = list(_walk(system.tree()))
        quarantined = [address for node in nodes for address in node.quarantined]
        troubled = [node.address for node in nodes if node.restarts_in_window > 0 or node.state == "backing off"]
        hint = "look at the last crash: `GET /diagnostics/actors/{address}`"
        if quarantined:
            return failed(f"quarantined after too many crashes: {_named(quarantined)}", hint)
        if troubled:
            return warned(f"restarted within the last seconds: {_named(troubled)}", hint)
        crashed = sum(node.restarts for node in nodes)
        return passed(f"{len(nodes)} actors and supervisors, {crashed} restarts since they began")

    return Check("actors.crashes", run)


def mailboxes_drained() -> Check:
    """No mailbox fills up, and no mail lies for long."""

    async def run(system: ActorSystem) -> Finding:
        await trio.lowlevel.checkpoint()
        crowded, stale, deepest = [], [], 0
        for node in _walk(system.tree()):
            deepest = max(deepest, node.mailbox)
            if node.mailbox_limit and node.mailbox > node.mailbox_limit * CROWDED:
                crowded.append(node.address)
            if node.head_age > OLD_MAIL and node.state != "suspended":
                stale.append(node.address)
        hint = "see what it does with `GET /diagnostics/actors/{address}` and its trace"
        if stale:
            return failed(f"mail has waited over {OLD_MAIL:g} s at {_named(stale)}", hint)
        if crowded:
            return warned(f"over half full: {_named(crowded)}", hint)
        return passed(f"the fullest mailbox holds {deepest} messages")

    return Check("actors.mailboxes", run)


def mail_delivered() -> Check:
    """Messages reach somebody."""

    async def run(system: ActorSystem) -> Finding:
        await trio.lowlevel.checkpoint()
        counts = system.dead_letters.counts
        told = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counts.items() if count)
        # Mail to a session that has just left is the rule; these three mean lost work or a mistake in the code.
        if any(counts.get(reason) for reason in ("overflow", "poison", "unhandled")):
            return warned(f"dead letters since the start: {told}", "the log has a line for each kind of dead letter")
        return passed(f"dead letters since the start: {told}" if told else "no dead letters")

    return Check("actors.dead_letters", run)


def _walk(root: TreeNode) -> Iterator[TreeNode]:
    left = [root]
    while left:
        node = left.pop()
        yield node
        left.extend(node.children)


def _named(addresses: list[str]) -> str:
    more = f" and {len(addresses) - MANY} more" if len(addresses) > MANY else ""
    return ", ".join(addresses[:MANY]) + more
