# ruff: noqa: S608  # queries are put together from constants of this module only; values are parameters
"""Deliveries on their way: made of facts, taken by whoever tries them, and settled. Any number of nodes share them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs
import msgspec

from understudy.storage.audit import record
from understudy.storage.connection import Connection
from understudy.storage.deliveries import (
    ANY,
    Attempted,
    Callback,
    Claimed,
    Disable,
    FinishedTurn,
    Happening,
    Webhook,
    count_failures,
    verdict,
)
from understudy.storage.encoding import encode
from understudy.storage.leases import Leased, LeaseRepository
from understudy.storage.outbox import publish
from understudy.storage.records import TurnStatus, Usage
from understudy.storage.repository import Row, rows
from understudy.storage.webhooks import WEBHOOK, park, read_webhook

# A person's fact goes to that person's webhooks; one of a workspace and of nobody in it, to those webhooks of its
# owner and admins that are for this workspace alone.
_OF_PERSON = "w.uid = %(uid)s"
_OF_WORKSPACE = "w.workspace_id = %(workspace)s"
# Asked first, of every fact: most are of people who want nothing, and planning the rest would cost more than this.
_ASKED_FOR = """
SELECT EXISTS (SELECT FROM webhooks w WHERE {whose} AND w.enabled),
       EXISTS (SELECT FROM webhook_deliveries d
               WHERE d.turn_id = %(turn)s AND d.status = 'pending' AND d.next_attempt_at IS NULL)
"""
_ANY_ASKED_FOR = """
SELECT f.id FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) AS f (id, uid, workspace_id, turn_id)
WHERE EXISTS (SELECT FROM webhooks w WHERE w.enabled AND w.uid = f.uid)
   OR (f.uid IS NULL AND EXISTS (SELECT FROM webhooks w WHERE w.enabled AND w.workspace_id = f.workspace_id))
   OR EXISTS (SELECT FROM webhook_deliveries d
              WHERE d.turn_id = f.turn_id AND d.status = 'pending' AND d.next_attempt_at IS NULL)
"""
# Nobody is told of a workspace they have left.
_FAN_OUT = f"""
WITH wanting AS (
    SELECT w.id, w.uid,
        (SELECT count(*) FROM (SELECT FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.status = 'pending'
                               LIMIT %(most)s) waiting) >= %(most)s AS crowded
    FROM webhooks w
    WHERE {{whose}} AND w.enabled AND (%(event)s = ANY (w.events) OR '{ANY}' = ANY (w.events))
      AND (w.workspace_id IS NULL OR w.workspace_id = %(workspace)s)
      AND (%(workspace)s::text IS NULL OR EXISTS (
          SELECT FROM workspace_members m WHERE m.workspace_id = %(workspace)s AND m.uid = w.uid
          AND (%(uid)s::text IS NOT NULL OR m.role IN ('owner', 'admin'))))
), missed AS (
    UPDATE webhooks SET missed = missed + 1 WHERE id IN (SELECT id FROM wanting WHERE crowded)
)
INSERT INTO webhook_deliveries
    (id, queue, webhook_id, uid, event_id, event, body, status, next_attempt_at, created_at)
SELECT 'dlv_' || translate(rtrim(encode(substr(sha256(convert_to(id || ' ' || %(fact)s, 'UTF8')), 1, 16), 'base64'),
    '='), '+/', '-_'), id, id, uid, %(fact)s, %(event)s, %(body)s, 'pending', %(now)s, %(now)s
FROM wanting WHERE NOT crowded
ON CONFLICT DO NOTHING RETURNING queue
"""
_ANSWER = """
UPDATE webhook_deliveries SET next_attempt_at = %s
WHERE turn_id = %s AND status = 'pending' AND next_attempt_at IS NULL RETURNING queue
"""
_CLAIM = """
WITH taken AS (
    UPDATE webhook_deliveries d SET claim = d.claim + 1, next_attempt_at = %(until)s FROM (
        SELECT id, next_attempt_at AS due FROM webhook_deliveries
        WHERE queue = %(queue)s AND next_attempt_at <= %(now)s
        ORDER BY next_attempt_at, created_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ) free
    WHERE d.id = free.id RETURNING d.*, free.due
)
SELECT d.id, d.claim, d.step, d.event_id, d.event, coalesce(d.url, w.url), d.body, w.secret,
       CASE WHEN w.old_secret_until > %(now)s THEN w.old_secret END,
       t.session_id, s.agent_id, t.status, t.started_at, t.finished_at, t.content, t.tools_used, t.prompt_tokens,
       t.completion_tokens, t.model, t.error_code, t.error_message
FROM taken d LEFT JOIN LATERAL (
    SELECT url, secret, old_secret, old_secret_until FROM webhooks
    WHERE id = d.webhook_id
       OR (d.webhook_id IS NULL AND uid = d.uid AND split_part(url, '?', 1) = split_part(d.url, '?', 1))
    ORDER BY created_at, id LIMIT 1
) w ON true
LEFT JOIN turns t ON t.id = d.turn_id LEFT JOIN sessions s ON s.id = t.session_id
ORDER BY d.due, d.created_at, d.id
"""
# Also the claim is raised: the same statement a second time, because its answer was lost, finds nothing to do.
_SETTLE = """
UPDATE webhook_deliveries d SET status = a.status, attempts = d.attempts + 1, step = d.step + 1, claim = d.claim + 1,
    response_status = a.response_status, duration_ms = a.duration_ms, error = a.error,
    next_attempt_at = CASE WHEN %(enabled)s THEN a.next_attempt_at END
FROM json_to_recordset(%(attempts)s::json) AS a (id text, claim integer, status text, response_status integer,
    duration_ms integer, error text, next_attempt_at timestamptz)
WHERE d.id = a.id AND d.claim = a.claim AND d.status = 'pending' AND d.queue = %(queue)s RETURNING d.id
"""


class _Tried(msgspec.Struct):
    id: str
    claim: int
    status: str
    response_status: int | None
    duration_ms: int | None
    error: str | None
    next_attempt_at: datetime | None


class DeliveryRepository(LeaseRepository):
    """The queues of deliveries. Each change is one transaction."""

    leased = Leased("webhook_deliveries", "claim", "next_attempt_at", "next_attempt_at IS NOT NULL")

    async def asked_for(self, told: Sequence[Happening]) -> frozenset[str]:
        """The ids of what somebody might want to be told: they have a webhook, or await the turn that has ended."""
        found = await self._rows(
            _ANY_ASKED_FOR,
            [each.id for each in told],
            [each.uid for each in told],
            [each.workspace_id for each in told],
            [each.turn_id for each in told],
        )
        return frozenset(row[0] for row in found)

    async def fan_out(self, told: Happening, *, now: datetime, most: int) -> tuple[str, ...]:
        """Make a delivery for each webhook that wants to be told; the queues that have something due by that.

        However often it is told of the same, there is one. Of a webhook with *most* pending ones it is only counted
        that it missed something. Callbacks that waited for the turn which has ended by that are due, too.
        """
        whose = _OF_PERSON if told.uid is not None else _OF_WORKSPACE
        about: dict[str, Any] = {"uid": told.uid, "workspace": told.workspace_id, "turn": told.turn_id}
        ((wanted, awaited),) = await self._rows(_ASKED_FOR.format(whose=whose), **about)
        found: list[Row] = []
        if wanted:
            about |= {"fact": told.id, "event": told.event, "body": told.body, "now": now, "most": most}
            found += await self._rows(_FAN_OUT.format(whose=whose), **about)
        if awaited:
            found += await self._rows(_ANSWER, now, told.turn_id)
        return tuple(sorted({row[0] for row in found}))

    async def claim(self, queue: str, limit: int, *, now: datetime, until: datetime) -> tuple[Claimed, ...]:
        """Take at most *limit* of the queue's due deliveries, those first that were due first.

        They are due again *until* then unless they are renewed or settled before.
        """
        found = await self._rows(_CLAIM, queue=queue, limit=limit, now=now, until=until)
        return tuple(map(_claimed, found))

    async def settle(
        self, queue: str, attempts: Sequence[Attempted], *, most_failures: int, disable: Disable
    ) -> Webhook | None:
        """Note what became of *attempts* of a queue, in the order in which they ended; the webhook if that disabled it.

        It is disabled when it is gone or when *most_failures* in a row failed: then *disable* says what is told and
        noted, and nothing more of it is due. Attempts whose claim is no longer the last are void.
        """

        async def work(connection: Connection[Any]) -> Webhook | None:
            found = await rows(connection, f"SELECT {WEBHOOK} FROM webhooks WHERE id = %s FOR NO KEY UPDATE", queue)
            webhook = read_webhook(found[0]) if found else None
            tried = [
                _Tried(a.id, a.claim, a.status.value, a.response_status, a.duration_ms, a.error, a.next_attempt_at)
                for a in attempts
            ]
            noted = await rows(
                connection,
                _SETTLE,
                queue=queue,
                attempts=encode(tried).decode(),
                enabled=webhook is None or webhook.enabled,
            )
            valid = {row[0] for row in noted}
            counted = tuple(attempt for attempt in attempts if attempt.id in valid)
            if webhook is None or not webhook.enabled or not counted:
                return None
            failures = count_failures(webhook.failures, counted)
            reason = verdict(failures, counted, most_failures)
            if failures != webhook.failures or reason is not None:
                await rows(
                    connection,
                    "UPDATE webhooks SET failures = %s, enabled = %s, disabled_reason = %s WHERE id = %s",
                    failures,
                    reason is None,
                    reason,
                    queue,
                )
            if reason is None:
                return None
            webhook = attrs.evolve(webhook, failures=failures, enabled=False, disabled_reason=reason)
            await park(connection, webhook.id, until=None)
            told, audit = disable(webhook, reason)
            await publish(connection, told)
            await record(connection, audit)
            return webhook

        return await self._transact(work)

    async def next_due(self, queue: str) -> datetime | None:
        """When the next of the queue is due, or whoever has it must have held it again."""
        row = await self._row(
            "SELECT min(next_attempt_at) FROM webhook_deliveries WHERE queue = %s AND next_attempt_at IS NOT NULL",
            queue,
        )
        return row[0] if row else None

    async def due(self, *, now: datetime, limit: int) -> tuple[str, ...]:
        """Queues that have something due, those that have waited longest first."""
        found = await self._rows(
            "SELECT queue FROM webhook_deliveries WHERE next_attempt_at <= %s"
            " GROUP BY queue ORDER BY min(next_attempt_at) LIMIT %s",
            now,
            limit,
        )
        return tuple(row[0] for row in found)

    async def add_callback(self, callback: Callback) -> None:
        """Keep the wish until its turn ends. The same turn to the same URL is one wish, and a deleted turn none."""
        await self._rows(
            "INSERT INTO webhook_deliveries (id, queue, uid, event_id, event, turn_id, url, status, created_at)"
            " SELECT %s, u.id, u.id, %s, %s, t.id, %s, 'pending', %s FROM turns t, users u"
            " WHERE t.id = %s AND u.id = %s ON CONFLICT DO NOTHING",
            callback.id,
            callback.event_id,
            callback.event,
            callback.url,
            callback.created_at,
            callback.turn_id,
            callback.uid,
        )

    async def answer_callbacks(self, *, now: datetime) -> tuple[str, ...]:
        """Make every callback due whose turn has ended, however it did; the queues."""
        found = await self._rows(
            "UPDATE webhook_deliveries d SET next_attempt_at = %s FROM turns t WHERE d.turn_id = t.id"
            " AND d.status = 'pending' AND d.next_attempt_at IS NULL AND t.status <> 'running' RETURNING d.queue",
            now,
        )
        return tuple(sorted({row[0] for row in found}))

    async def prune(self, before: datetime) -> int:
        """Delete deliveries made before then, whatever became of them; how many."""
        return await self._prune("webhook_deliveries", "created_at < %s", before)


def _claimed(row: Row) -> Claimed:
    delivery_id, claim, step, event_id, event, url, body, secret, old_secret = row[:9]
    secrets = tuple(each for each in (secret, old_secret) if each is not None)
    return Claimed(delivery_id, claim, step, event_id, event, url, secrets, body, _finished(row[9:]))


def _finished(row: Row) -> FinishedTurn | None:
    if row[0] is None:
        return None
    session_id, agent_id, status, began, ended, content, tools, prompt, completion, model, code, message = row
    usage = Usage(prompt, completion)
    return FinishedTurn(
        session_id, agent_id, TurnStatus(status), began, ended, content, tuple(tools), usage, model, code, message
    )
