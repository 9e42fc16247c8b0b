"""The queues of deliveries in memory."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import attrs

from understudy.storage.deliveries import (
    ANY,
    Attempted,
    Callback,
    Claimed,
    DeliveryStatus,
    Disable,
    FinishedTurn,
    Happening,
    Webhook,
    count_failures,
    delivery_id,
    verdict,
)
from understudy.storage.memory.tables import Sent, Tables
from understudy.storage.memory.webhooks import park
from understudy.storage.records import TurnStatus, WorkspaceRole


class MemoryDeliveries:
    """See `understudy.storage.delivery_queue.DeliveryRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def asked_for(self, told: Sequence[Happening]) -> frozenset[str]:
        """As the real one."""
        self._tables.check()
        awaited = {sent.turn_id for sent in self._waiting()}
        enabled = [webhook for webhook in self._tables.webhooks.values() if webhook.enabled]
        people, workspaces = {webhook.uid for webhook in enabled}, {webhook.workspace_id for webhook in enabled}
        return frozenset(
            each.id
            for each in told
            if (each.workspace_id in workspaces - {None} if each.uid is None else each.uid in people)
            or (each.turn_id is not None and each.turn_id in awaited)
        )

    async def fan_out(self, told: Happening, *, now: datetime, most: int) -> tuple[str, ...]:
        """As the real one."""
        self._tables.check()
        queues = _make_due([sent for sent in self._waiting() if sent.turn_id == told.turn_id], now)
        for webhook in [webhook for webhook in self._tables.webhooks.values() if self._wants(webhook, told)]:
            sent = [sent for sent in self._tables.deliveries.values() if sent.webhook_id == webhook.id]
            if sum(each.status is DeliveryStatus.PENDING for each in sent) >= most:
                self._tables.webhooks[webhook.id] = attrs.evolve(webhook, missed=webhook.missed + 1)
            elif all(each.event_id != told.id for each in sent):
                self._add(webhook, told, now)
                queues.add(webhook.id)
        return tuple(sorted(queues))

    async def claim(self, queue: str, limit: int, *, now: datetime, until: datetime) -> tuple[Claimed, ...]:
        """As the real one."""
        self._tables.check()
        due = [sent for sent in self._due(now) if sent.queue == queue][:limit]
        for sent in due:
            sent.claim += 1
            sent.next_attempt_at = until
        return tuple(self._claimed(sent, now) for sent in due)

    async def renew(self, claims: Mapping[str, int], until: datetime) -> frozenset[str]:
        """As the real one."""
        self._tables.check()
        mine = [s for s in self._tables.deliveries.values() if s.next_attempt_at and claims.get(s.id) == s.claim]
        for sent in mine:
            sent.next_attempt_at = until
        return frozenset(sent.id for sent in mine)

    async def settle(
        self, queue: str, attempts: Sequence[Attempted], *, most_failures: int, disable: Disable
    ) -> Webhook | None:
        """As the real one."""
        self._tables.check()
        webhook = self._tables.webhooks.get(queue)
        valid = tuple(attempt for attempt in attempts if self._is_valid(queue, attempt))
        for attempt in valid:
            self._note(attempt, enabled=webhook is None or webhook.enabled)
        if webhook is None or not webhook.enabled or not valid:
            return None
        failures = count_failures(webhook.failures, valid)
        reason = verdict(failures, valid, most_failures)
        after = attrs.evolve(webhook, failures=failures, enabled=reason is None, disabled_reason=reason)
        self._tables.webhooks[queue] = after
        if reason is None:
            return None
        park(self._tables, queue, until=None)
        told, audit = disable(after, reason)
        self._tables.publish(told)
        self._tables.append_audit(audit)
        return after

    async def next_due(self, queue: str) -> datetime | None:
        """As the real one."""
        self._tables.check()
        due = [sent.next_attempt_at for sent in self._tables.deliveries.values() if sent.queue == queue]
        return min((at for at in due if at is not None), default=None)

    async def due(self, *, now: datetime, limit: int) -> tuple[str, ...]:
        """As the real one."""
        self._tables.check()
        return tuple(dict.fromkeys(sent.queue for sent in self._due(now)))[:limit]

    async def add_callback(self, callback: Callback) -> None:
        """As the real one."""
        self._tables.check()
        wish, tables = (callback.turn_id, callback.url), self._tables
        if callback.turn_id not in tables.turns or callback.uid not in tables.users:
            return
        if any((sent.turn_id, sent.url) == wish for sent in tables.deliveries.values()):
            return
        self._tables.deliveries[callback.id] = Sent(**attrs.asdict(callback), queue=callback.uid)

    async def answer_callbacks(self, *, now: datetime) -> tuple[str, ...]:
        """As the real one."""
        self._tables.check()
        turns = self._tables.turns
        ended = [s for s in self._waiting() if (t := turns.get(s.turn_id or "")) and t.status is not TurnStatus.RUNNING]
        return tuple(sorted(_make_due(ended, now)))

    async def prune(self, before: datetime) -> int:
        """As the real one."""
        self._tables.check()
        old = [key for key, sent in self._tables.deliveries.items() if sent.created_at < before]
        for key in old:
            del self._tables.deliveries[key]
        return len(old)

    def _wants(self, webhook: Webhook, told: Happening) -> bool:
        role, _ = self._tables.members.get((told.workspace_id or "", webhook.uid), (None, None))
        if told.uid is None:
            mine = webhook.workspace_id is not None and role in {WorkspaceRole.OWNER, WorkspaceRole.ADMIN}
        else:
            mine = webhook.uid == told.uid
        return (
            mine
            and webhook.enabled
            and not {told.event, ANY}.isdisjoint(webhook.events)
            and webhook.workspace_id in {None, told.workspace_id}
            and (told.workspace_id is None or role is not None)
        )

    def _add(self, webhook: Webhook, told: Happening, now: datetime) -> None:
        key = delivery_id(webhook.id, told.id)
        self._tables.deliveries[key] = Sent(
            id=key,
            queue=webhook.id,
            webhook_id=webhook.id,
            uid=webhook.uid,
            event_id=told.id,
            event=told.event,
            body=told.body,
            next_attempt_at=now,
            created_at=now,
        )

    def _waiting(self) -> list[Sent]:
        rows = self._tables.deliveries.values()
        return [s for s in rows if s.turn_id and s.status is DeliveryStatus.PENDING and s.next_attempt_at is None]

    def _due(self, now: datetime) -> list[Sent]:
        rows = self._tables.deliveries.values()
        due = [(s.next_attempt_at, s.created_at, s.id) for s in rows if s.next_attempt_at and s.next_attempt_at <= now]
        return [self._tables.deliveries[key] for _, _, key in sorted(due)]

    def _claimed(self, sent: Sent, now: datetime) -> Claimed:
        webhook = self._tables.webhooks.get(sent.webhook_id or "")
        if sent.url is not None:
            plain = sent.url.partition("?")[0]
            known = [
                w for w in self._tables.webhooks.values() if w.uid == sent.uid and w.url.partition("?")[0] == plain
            ]
            webhook = min(known, key=lambda each: (each.created_at, each.id), default=None)
        secrets = webhook.secrets(now) if webhook is not None else ()
        url = sent.url or (webhook.url if webhook is not None else "")
        turn = self._finished(sent.turn_id) if sent.turn_id is not None else None
        return Claimed(sent.id, sent.claim, sent.step, sent.event_id, sent.event, url, secrets, sent.body, turn)

    def _finished(self, turn_id: str) -> FinishedTurn:
        turn = self._tables.turns[turn_id]
        session = self._tables.sessions[turn.session_id]
        return FinishedTurn(
            session.id,
            session.key.agent_id,
            turn.status,
            turn.started_at,
            turn.finished_at or turn.started_at,
            turn.content,
            turn.tools_used,
            turn.usage,
            turn.model,
            turn.error_code,
            turn.error_message,
        )

    def _is_valid(self, queue: str, attempt: Attempted) -> bool:
        sent = self._tables.deliveries.get(attempt.id)
        mine = sent is not None and (sent.claim, sent.queue) == (attempt.claim, queue)
        return mine and sent is not None and sent.status is DeliveryStatus.PENDING

    def _note(self, attempt: Attempted, *, enabled: bool) -> None:
        sent = self._tables.deliveries[attempt.id]
        sent.status = attempt.status
        sent.attempts += 1
        sent.step += 1
        sent.claim += 1
        sent.response_status, sent.duration_ms, sent.error = attempt.response_status, attempt.duration_ms, attempt.error
        sent.next_attempt_at = attempt.next_attempt_at if enabled else None


def _make_due(waiting: Sequence[Sent], now: datetime) -> set[str]:
    for sent in waiting:
        sent.next_attempt_at = now
    return {sent.queue for sent in waiting}
