"""The actor that keeps the requests for consent."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar

import attrs
import msgspec
import trio

from understudy.actors.approvals.messages import (
    APPROVALS,
    REQUESTED,
    Approval,
    ApprovalPage,
    ApprovalStatus,
    AwaitDecision,
    Decide,
    ListApprovals,
    RequestApproval,
    Withdraw,
)
from understudy.actors.approvals.ports import ApprovalStore
from understudy.actors.clock import utc_now, written
from understudy.actors.errors import Conflict, NotFound
from understudy.actors.facts import fact
from understudy.actors.made import made_id
from understudy.actors.serving import Server
from understudy.actors.session.chronicle import shown
from understudy.actors.session.messages import session_address
from understudy.runtime import ChildSpec, Deferred, Down, Monitor, Timer, receive
from understudy.storage.errors import StoreUnavailable
from understudy.storage.records import AuditEntry

KEPT = timedelta(days=30)
"""How long a decided request can still be read."""
FIRST_SWEEP = 60.0
SWEEP_EVERY = 86_400.0
"""Seconds between two looks for what is older."""
LOOK_EVERY = 1.0
"""Seconds between two looks at whether what waits here was decided at another node."""


@attrs.define
class _Pending:
    """A request that nobody has decided, who waits for that, and the clock that ends it."""

    approval: Approval
    timer: Timer
    ours: bool
    """A turn here asked: whose session ends here, it is over. Not yet known of what was found in the database."""
    waiting: list[Deferred[Approval]] = attrs.field(factory=list)


@attrs.frozen
class _Expired:
    approval_id: str


@attrs.frozen
class _Sweep:
    pass


@attrs.frozen
class _Look:
    pass


class Approvals(Server):
    """Every decision is stored before anybody hears of it, and the database lets the first one win.

    People may decide at any node: while requests wait here, it is looked every second whether they did. Restarted, it
    goes on with the requests of sessions that live here; the others may be another node's. What is left of turns that
    have ended is cancelled, here and by `session.recovery`: after a crash, no request is left that nobody waits for.
    """

    mailbox_limit: ClassVar[int] = 10_000

    def __init__(self, store: ApprovalStore, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._pending: dict[str, _Pending] = {}
        self._monitors: dict[str, Monitor] = {}
        self._looking = False
        self._storing: set[str] = set()
        """Requests that are being stored, and that nobody has withdrawn."""

    async def started(self) -> None:
        """Take up what is pending. Raises `StoreUnavailable`; the supervisor then tries again."""
        await self._store.withdraw_abandoned(self._now())
        for approval in await self._store.pending():
            if self.system.whereis(session_address(approval.session_id)) is not None:
                self._watch(approval, ours=False)
        self.after(FIRST_SWEEP, _Sweep())
        self.every(SWEEP_EVERY, _Sweep())

    def snapshot(self) -> Mapping[str, object]:
        """How many requests wait, and how many turns wait for them."""
        return {"pending": len(self._pending), "waiting": sum(len(each.waiting) for each in self._pending.values())}

    @receive
    def request(self, message: RequestApproval) -> Deferred[Approval]:
        """Keep a request."""
        self._storing.add(message.approval.id)
        return self.answer(message, self._request, message.approval)

    @receive
    def await_decision(self, message: AwaitDecision) -> Deferred[Approval]:
        """Answer when it is decided."""
        pending = self._pending.get(message.approval_id)
        if pending is None:
            return self.answer(message, self._get, message.workspace_id, message.approval_id)
        pending.ours = True
        deferred = self.defer(message)
        pending.waiting = [each for each in pending.waiting if not each.expired] + [deferred]
        return deferred

    @receive
    def decide(self, message: Decide) -> Deferred[Approval]:
        """Approve or deny."""
        return self.answer(message, self._decide, message)

    @receive
    def list_approvals(self, message: ListApprovals) -> Deferred[ApprovalPage]:
        """A page."""
        return self.answer(message, self._list, message)

    @receive
    def withdraw(self, message: Withdraw) -> None:
        """Cancel it, unless it has been decided. One that is being stored is cancelled when it is."""
        self._storing.discard(message.approval_id)
        self.work(self._end, [message.approval_id], ApprovalStatus.CANCELLED, name="cancel")

    @receive
    def expired(self, message: _Expired) -> None:
        """Its time is up."""
        if message.approval_id in self._pending:
            self.work(self._end, [message.approval_id], ApprovalStatus.EXPIRED, name="expire")

    @receive
    def down(self, message: Down) -> None:
        """A session's actor ended: nobody there waits any more."""
        session_id = message.address.partition("/")[2]
        theirs = [x.approval.id for x in self._pending.values() if x.approval.session_id == session_id and x.ours]
        if theirs:
            self.work(self._end, theirs, ApprovalStatus.CANCELLED, name="cancel")
        self._monitors.pop(session_id, None)

    @receive
    def sweep(self, message: _Sweep) -> None:
        """Delete what is old."""
        self.work(self._prune, name="prune")

    @receive
    def look(self, message: _Look) -> None:
        """See whether anybody has decided elsewhere, as long as something waits here."""
        del message
        if not self._pending:
            self._looking = False
        else:
            self.work(self._look, name="look")

    async def _look(self) -> None:
        try:
            for decided in await self._store.decided(tuple(self._pending)):
                self._settle(decided)
        except StoreUnavailable:
            pass  # seen with the next look
        self.after(LOOK_EVERY, _Look())

    async def _request(self, approval: Approval) -> Approval:
        told = fact(
            REQUESTED,
            uid=approval.uid,
            workspace_id=approval.workspace_id,
            data={
                "requestId": approval.id,
                "agentId": approval.agent_id,
                "tool": approval.tool,
                "params": _params(approval.arguments),
                "expiresAt": written(approval.expires_at),
                "sessionId": approval.session_id,
                "turnId": approval.turn_id,
            },
            at=approval.requested_at,
            id=f"evt_{approval.id.removeprefix('apr_')}",
        )
        try:
            stored = await self._store.request(approval, told)
            if stored.status is ApprovalStatus.PENDING and approval.id in self._storing:
                self._watch(stored, ours=True)
                return stored
        finally:
            self._storing.discard(approval.id)
        return await self._get(stored.workspace_id, stored.id)

    async def _get(self, workspace_id: str, approval_id: str) -> Approval:
        found = await self._store.get(workspace_id, approval_id)
        if found is None:
            raise NotFound("there is no such request")
        if found.status is ApprovalStatus.PENDING:  # one that we do not know: nobody would ever end it
            await self._store.end([approval_id], ApprovalStatus.CANCELLED, self._now())
            found = await self._store.get(workspace_id, approval_id) or found
        return found

    async def _decide(self, message: Decide) -> Approval:
        found = await self._store.get(message.workspace_id, message.approval_id, uid=message.uid)
        if found is None:
            raise NotFound("there is no such request")
        now = self._now()
        status = ApprovalStatus.APPROVED if message.approve else ApprovalStatus.DENIED
        line = AuditEntry(
            made_id("aud"),
            f"approval.{status.value}",
            "info",
            now,
            uid=message.by,
            workspace_id=found.workspace_id,
            agent_id=found.agent_id,
            session_id=found.session_id,
            request_id=message.request_id,
            metadata={"approvalId": found.id, "tool": found.tool},
        )
        decided = await self._store.decide(found.id, status, by=message.by, note=message.note, now=now, audit=line)
        if decided is None:
            found = await self._store.get(message.workspace_id, message.approval_id) or found
            was = "has expired" if found.status is ApprovalStatus.PENDING else f"was {found.status.value} already"
            raise Conflict(f"the request {was}")
        self._settle(decided)
        return decided

    async def _list(self, message: ListApprovals) -> ApprovalPage:
        found, total = await self._store.list(
            message.workspace_id, uid=message.uid, status=message.status, limit=message.limit, offset=message.offset
        )
        return ApprovalPage(found, total)

    async def _end(self, ids: Sequence[str], status: ApprovalStatus) -> None:
        """End what is still pending of *ids*, however long the database is away."""
        while True:
            try:
                await self._store.end(ids, status, self._now())
                for approval_id in ids:
                    pending = self._pending.get(approval_id)
                    if pending is None:
                        continue
                    ended = await self._store.get(pending.approval.workspace_id, approval_id)
                    self._settle(ended or attrs.evolve(pending.approval, status=status))
            except StoreUnavailable as error:
                await trio.sleep(error.retry_after)
            else:
                return

    async def _prune(self) -> None:
        while True:
            try:
                await self._store.prune(self._now() - KEPT)
            except StoreUnavailable as error:
                await trio.sleep(error.retry_after)
            else:
                return

    def _watch(self, approval: Approval, *, ours: bool) -> None:
        if (known := self._pending.get(approval.id)) is not None:
            known.ours |= ours
            return
        left = max(0.0, (approval.expires_at - self._now()).total_seconds())
        self._pending[approval.id] = _Pending(approval, self.after(left, _Expired(approval.id)), ours)
        if not self._looking:
            self._looking = True
            self.after(LOOK_EVERY, _Look())
        if approval.session_id not in self._monitors:
            self._monitors[approval.session_id] = self.monitor(session_address(approval.session_id))

    def _settle(self, decided: Approval) -> None:
        """It is final: tell who waits for it."""
        pending = self._pending.pop(decided.id, None)
        if pending is None:
            return
        pending.timer.cancel()
        for deferred in pending.waiting:
            deferred.reply(decided)
        session_id = decided.session_id
        if not any(each.approval.session_id == session_id for each in self._pending.values()):
            monitor = self._monitors.pop(session_id, None)
            if monitor is not None:
                monitor.cancel()


def _params(arguments: str) -> object:
    """The arguments as subscribers are shown them: what is named like a secret is not in there."""
    redacted = shown(arguments)
    try:
        return msgspec.json.decode(redacted)
    except msgspec.DecodeError:  # no JSON, or cut
        return redacted


def approvals_spec(store: ApprovalStore, now: Callable[[], datetime] = utc_now) -> ChildSpec:
    """The child at `APPROVALS`."""
    return ChildSpec(APPROVALS, Approvals, args=(store, now))
