"""The tree as others see it: frozen, made without awaiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from understudy.runtime.actorcell import ActorCell
from understudy.runtime.cell import Cell, State
from understudy.runtime.dynamic import DynamicSupervisor
from understudy.runtime.static import StaticSupervisor
from understudy.runtime.supervisor import Supervisor
from understudy.runtime.work import WorkInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from understudy.runtime.crash import Crash


@attrs.frozen
class TreeNode:
    """One actor or supervisor. Ages and durations in seconds.

    Attributes:
        address: Where it lives; the root's is the empty string.
        kind: For dynamic children their supervisor's ``kind``; ``supervisor``; else the class's word.
        type: The class.
        state: starting, idle, busy, suspended, backing off, stopping or ended.
        status: The actor's own word.
        labels: The actor's own labels.
        epoch: Which incarnation.
        uptime: Of this incarnation.
        restarts: Ever.
        restarts_in_window: Within the supervisor's window.
        mailbox: Messages waiting in the user lane; ``system_mailbox`` in the system lane, ``stashed`` put aside.
        mailbox_limit: ... of at most this many.
        high_water: Most that ever waited.
        head_age: Of the oldest message waiting; 0 when none is.
        handled: Messages handled, all incarnations together.
        current: Type of the message being handled; ``current_age`` for how long.
        crash: The last crash, with its traceback.
        work: In flight.
        timers, monitors, readers: How many; ``monitors`` counts those who watch this actor.
        strategy: Of a supervisor: one_for_one, one_for_all, rest_for_one, dynamic.
        child_count: How many children; ``children`` are themselves, or empty in a shallow node.
        quarantined: Addresses a dynamic supervisor leaves alone now, with the seconds left.
    """

    address: str
    kind: str
    type: str
    state: str
    status: str | None
    labels: Mapping[str, str]
    epoch: int
    uptime: float
    restarts: int
    restarts_in_window: int
    mailbox: int
    system_mailbox: int
    stashed: int
    mailbox_limit: int
    high_water: int
    head_age: float
    handled: int
    current: str | None
    current_age: float
    crash: Crash | None
    work: tuple[WorkInfo, ...]
    timers: int
    monitors: int
    readers: int
    strategy: str | None
    child_count: int
    quarantined: Mapping[str, float]
    children: tuple[TreeNode, ...]


_NONE: Mapping[str, float] = {}
_NO_LABELS: Mapping[str, str] = {}


def node_of(cell: Cell, now: float, *, deep: bool) -> TreeNode:
    """Make the node of *cell*; with all its descendants when *deep*."""
    in_window = cell.intensity.spent(now) if cell.intensity is not None else 0
    uptime = now - cell.since if cell.running else 0.0
    monitors = len(cell.monitors) if cell.monitors else 0
    if isinstance(cell, ActorCell):
        return _actor(cell, now, in_window, uptime, monitors)
    children = cell.children_view()
    return TreeNode(
        cell.address,
        cell.kind,
        cell.type_name,
        cell.state.value,
        None,
        _NO_LABELS,
        cell.epoch,
        uptime,
        cell.restarts,
        in_window,
        0,
        0,
        0,
        0,
        0,
        0.0,
        0,
        None,
        0.0,
        cell.crash,
        (),
        0,
        monitors,
        0,
        strategy_of(cell),
        len(children),
        _quarantined(cell, now),
        tuple(node_of(child, now, deep=True) for child in children) if deep else (),
    )


def _actor(cell: ActorCell, now: float, in_window: int, uptime: float, monitors: int) -> TreeNode:
    box = cell.mailbox
    actor = cell.actor
    current = cell.envelope
    return TreeNode(
        cell.address,
        cell.kind,
        cell.type_name,
        # A plain-def handler that looks at the tree is busy, although nobody else could ever see it so.
        State.BUSY.value if current is not None and cell.state is State.IDLE else cell.state.value,
        actor.status if actor is not None else None,
        actor.labels if actor is not None else _NO_LABELS,
        cell.epoch,
        uptime,
        cell.restarts,
        in_window,
        len(box.lane),
        len(box.system) if box.system else 0,
        len(box.stash) if box.stash else 0,
        box.limit,
        max(box.high_water, len(box.lane)),
        max(0.0, now - box.lane[0][4]) if box.lane else 0.0,
        cell.handled,
        type(current[0]).__name__ if current is not None else None,
        now - cell.began if current is not None else 0.0,
        cell.crash,
        tuple(WorkInfo(work.name, now - work.started) for work in cell.works) if cell.works else (),
        len(cell.timers) if cell.timers else 0,
        monitors,
        actor.events.readers if actor is not None and actor.events is not None else 0,
        None,
        0,
        _NONE,
        (),
    )


def strategy_of(cell: Cell) -> str | None:
    """Return the word for how a supervisor restarts its children."""
    if isinstance(cell, StaticSupervisor):
        return "partition" if cell.partitioned else cell.spec.strategy.value
    return "dynamic" if isinstance(cell, Supervisor) else None


def _quarantined(cell: Cell, now: float) -> Mapping[str, float]:
    if not isinstance(cell, DynamicSupervisor) or not cell.troubles:
        return _NONE
    return {address: trouble.until - now for address, trouble in cell.troubles.items() if trouble.until > now}
