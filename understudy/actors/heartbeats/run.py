"""One run, from its claim to its end; or from where somebody left it."""

import attrs

from understudy.actors.errors import DomainError
from understudy.actors.facts import fact
from understudy.actors.heartbeats.document import HeartbeatDocument, Kind, from_json
from understudy.actors.heartbeats.feedlook import look_at_feeds
from understudy.actors.heartbeats.messages import DISABLED, FIRED
from understudy.actors.heartbeats.pagelook import look_at_page
from understudy.actors.heartbeats.schedule import postponed
from understudy.actors.heartbeats.services import LEASE, HeartbeatServices
from understudy.actors.heartbeats.verdict import Verdict
from understudy.actors.heartbeats.wake import SCOPE, Wake, errand_of, to_json, triggered, wake_of
from understudy.actors.heartbeats.wake import from_json as wake_from_json
from understudy.actors.lease import held
from understudy.actors.session.errand import run_errand
from understudy.actors.session.messages import TurnStarted
from understudy.runtime import ActorSystem, RuntimeFault
from understudy.storage.entries import Published
from understudy.storage.errors import StoreUnavailable
from understudy.storage.heartbeat_records import Heartbeat, HeartbeatRun, RunEnd, RunStatus
from understudy.storage.records import AuditEntry, TurnStatus, new_id

MOST_ATTEMPTS = 5
"""How often a run is gone on with before it counts as failed: what kills the node each time must not do so for ever."""

MOST_ERRORS = 20
"""Errors in a row that switch a heartbeat off."""


@attrs.frozen
class Run:
    """A run that this node holds; `conduct` brings it to its end."""

    system: ActorSystem
    services: HeartbeatServices
    heartbeat: Heartbeat
    run: HeartbeatRun

    async def conduct(self) -> bool:
        """Look, wake the agent when there is a reason, and record what came of it, keeping the lease meanwhile.

        Returns False when the database, or an actor that was asked, is away: the run stays as it is, to be taken over.
        Losing it to another node ends this quietly. Cancelled, a turn that it began is cancelled too, and the run stays
        to be taken over.
        """
        async with held(self.services.runs, {self.run.id: self.run.attempt}, LEASE, self.services.now):
            try:
                await self._conduct()
            except (StoreUnavailable, RuntimeFault):
                return False
        return True

    async def _conduct(self) -> None:
        if self.run.attempt > MOST_ATTEMPTS:
            await self._fail(f"given up after {MOST_ATTEMPTS} attempts")
            return
        try:
            document = from_json(self.heartbeat.document)
        except DomainError as error:
            await self._fail(error.message)
            return
        if self.run.wake is not None:
            await self._wake(document, wake_from_json(self.run.wake), again=True)
            return
        verdict = await self._look(document)
        if verdict.message is None:
            await self._quiet(verdict)
            return
        wake = wake_of(verdict, verdict.message)
        if await self.services.runs.prepare(self.run, to_json(wake)):
            await self._wake(document, wake, again=False)

    async def _look(self, document: HeartbeatDocument) -> Verdict:
        services, state = self.services, self.heartbeat.state
        if document.type is Kind.HTTP:
            return await look_at_page(document, state, web=services.web, aside=services.aside)
        known = await services.runs.seen(self.heartbeat.id)
        return await look_at_feeds(document, state, known, web=services.web, aside=services.aside)

    async def _wake(self, document: HeartbeatDocument, wake: Wake, *, again: bool) -> None:
        """Have the agent told, once for this run, and record how it went.

        A turn that was begun is never begun again, whatever became of it: when the node died in the middle of it, the
        run failed, and what it was to tell is told at the next due time.
        """
        if again and (woken := await self.services.runs.woken(self.heartbeat, SCOPE, self.run.id)) is not None:
            if woken.status is TurnStatus.COMPLETED:
                await self._told(document, wake, woken.session_id)
                return
            if woken.status is not TurnStatus.RUNNING:
                await self._fail(f"the agent's turn was {woken.status.value}", wake, woken.session_id)
                return
        errand = errand_of(self.heartbeat, document, self.run, wake, self.services.wake_timeout)
        begun: list[TurnStarted] = []

        async def note(started: TurnStarted) -> None:
            begun.append(started)
            await self.services.runs.note_session(self.run, started.session_id)

        try:
            done = await run_errand(self.system, errand, on_start=note)
        except DomainError as refusal:
            await self._fail(refusal.message, wake, begun[0].session_id if begun else None)
        else:
            await self._told(document, wake, done.session_id)

    async def _told(self, document: HeartbeatDocument, wake: Wake, session_id: str) -> None:
        now = self.services.now()
        fired = fact(
            FIRED,
            uid=self.heartbeat.uid,
            workspace_id=self.heartbeat.workspace_id,
            data={
                "heartbeatId": self.heartbeat.id,
                "source": document.type.value,
                "agentId": document.agent_id,
                "durationMs": max(0, round((now - self.run.started_at).total_seconds() * 1000)),
                "itemCount": wake.item_count,
                "runId": self.run.id,
                "sessionId": session_id,
            },
            at=now,
            id=f"evt_{self.run.id}",
        )
        await self._end(triggered(wake, session_id, now), failed=wake.failed, facts=(fired,))

    async def _quiet(self, verdict: Verdict) -> None:
        end = RunEnd(
            verdict.status,
            self.services.now(),
            http_status=verdict.http_status,
            error=verdict.note,
            state=verdict.state,
            seen=verdict.seen,
            watched=verdict.watched,
        )
        await self._end(end, failed=verdict.failed)

    async def _fail(self, why: str, wake: Wake | None = None, session_id: str | None = None) -> None:
        """The agent was not told, or did not answer: what was found stays to be found."""
        status = wake.http_status if wake is not None else None
        end = RunEnd(RunStatus.ERROR, self.services.now(), http_status=status, error=why[:500], session_id=session_id)
        await self._end(end, failed=True)

    async def _end(self, end: RunEnd, *, failed: bool, facts: tuple[Published, ...] = ()) -> None:
        """Record the end with what errors in a row lead to."""
        heartbeat, now = self.heartbeat, end.finished_at
        audit: AuditEntry | None = None
        if failed:
            errors = heartbeat.errors + 1
            later = postponed(self.run.due_at, heartbeat.interval, errors, now)
            end = attrs.evolve(end, errors=errors, postponed=later)
            if errors >= MOST_ERRORS:
                end = attrs.evolve(end, disabled=f"{errors} errors in a row; the last: {end.error}")
                facts = (*facts, self._disabled(end))
                audit = self._audited(end)
        await self.services.runs.finish(self.run, end, facts=facts, audit=audit)

    def _disabled(self, end: RunEnd) -> Published:
        return fact(
            DISABLED,
            uid=self.heartbeat.uid,
            workspace_id=self.heartbeat.workspace_id,
            data={"heartbeatId": self.heartbeat.id, "errors": end.errors, "error": end.error},
            at=end.finished_at,
            id=f"evt_off_{self.run.id}",
        )

    def _audited(self, end: RunEnd) -> AuditEntry:
        return AuditEntry(
            id=new_id("aud"),
            event=DISABLED,
            severity="warning",
            created_at=end.finished_at,
            uid=self.heartbeat.uid,
            workspace_id=self.heartbeat.workspace_id,
            metadata={"heartbeat": self.heartbeat.id, "errors": end.errors},
        )
