"""All heartbeats: what is asked about them, and who has to be awake."""

from collections.abc import Mapping
from datetime import datetime

import attrs
import msgspec
import structlog
import trio

from understudy.actors.agents.messages import AGENTS, ResolveAgent
from understudy.actors.audit.messages import act_of
from understudy.actors.errors import Conflict, Detail, Forbidden, Invalid, NotFound
from understudy.actors.heartbeats.document import (
    HeartbeatDocument,
    check_document,
    check_kept,
    from_json,
    kept_headers,
    to_json,
)
from understudy.actors.heartbeats.messages import (
    ChangeHeartbeat,
    CreateHeartbeat,
    DeleteHeartbeat,
    Editor,
    HeartbeatView,
    ListHeartbeats,
    ListRuns,
    Look,
    Retire,
    RunHeartbeat,
    RunPage,
    heartbeat_address,
)
from understudy.actors.heartbeats.schedule import HORIZON
from understudy.actors.heartbeats.services import HeartbeatServices
from understudy.actors.made import is_keyed, made_id
from understudy.actors.outbound.connection import Origin
from understudy.actors.outbound.guarded import OutboundError, OutboundRefused
from understudy.actors.serving import Server
from understudy.actors.sweeping import Sweeping
from understudy.runtime import Deferred, RuntimeFault, receive
from understudy.storage.errors import StoreConflict
from understudy.storage.heartbeat_records import Heartbeat
from understudy.storage.records import AuditEntry

log = structlog.get_logger("understudy.heartbeats")

MOST_HEARTBEATS = 100
"""Heartbeats that a workspace may have."""

MOST_WOKEN = 1000
"""Heartbeats that one sweep wakes: those that are due first."""

RESOLVING = 3.0
"""Seconds that a new heartbeat's addresses are given to be found. A look checks them again, whatever was found."""


NOT_SAID = frozenset({"name"})
"""What an admin may change of somebody else's heartbeat, besides how often it runs and whether it does: nothing by
which its agent would do or say, as its maker and with what it remembers of them, what the admin wants."""


class Directory(Sweeping, Server):
    """Answers about heartbeats, and wakes those that have something to do within the `HORIZON`.

    What another node changed, and what one that died has left, is found by sweeping; the same sweep tells who is awake
    already to look again. Killed at any moment it loses nothing.
    """

    def __init__(self, services: HeartbeatServices) -> None:
        self._services = services
        self.sweep_every = services.sweep
        self._awake = 0

    @receive
    def create(self, message: CreateHeartbeat) -> Deferred[HeartbeatView]:
        """Store it, and have it look at once."""
        return self.answer(message, self._create, message)

    @receive
    def list_heartbeats(self, message: ListHeartbeats) -> Deferred[tuple[HeartbeatView, ...]]:
        """Those of a workspace."""
        return self.answer(message, self._list, message)

    @receive
    def change(self, message: ChangeHeartbeat) -> Deferred[HeartbeatView]:
        """Change it, and have it look again."""
        return self.answer(message, self._change, message)

    @receive
    def run(self, message: RunHeartbeat) -> Deferred[Heartbeat]:
        """Have it look before its time."""
        return self.answer(message, self._run, message)

    @receive
    def delete(self, message: DeleteHeartbeat) -> Deferred[None]:
        """Delete it, and stop its actor."""
        return self.answer(message, self._delete, message)

    @receive
    def list_runs(self, message: ListRuns) -> Deferred[RunPage]:
        """Those of a heartbeat."""
        return self.answer(message, self._list_runs, message)

    def snapshot(self) -> Mapping[str, object]:
        """How many had something to do at the last sweep."""
        return {"awake": self._awake}

    async def _sweep(self) -> None:
        now = self._services.now()
        due = await self._services.runs.due(now + HORIZON, now=now, limit=MOST_WOKEN)
        self._awake = len(due)
        for heartbeat_id in due:
            await self._have_look(heartbeat_id)

    async def _have_look(self, heartbeat_id: str) -> None:
        address = heartbeat_address(heartbeat_id)
        try:
            (await self.system.ensure(address)).tell(Look())
        except RuntimeFault as fault:  # quarantined, or too many: the next sweep tries again
            log.warning("heartbeat not awake", heartbeat=heartbeat_id, error=str(fault))

    async def _create(self, message: CreateHeartbeat) -> HeartbeatView:
        editor, now = message.editor, self._services.now()
        check_document(message.document, message.interval)
        await self.system.ask(AGENTS, ResolveAgent(editor.workspace_id, message.document.agent_id))
        await self._check_addresses(message.document.urls)
        made = Heartbeat(
            id=made_id("hbt"),
            workspace_id=editor.workspace_id,
            uid=editor.uid,
            document=to_json(message.document),
            interval=message.interval,
            enabled=message.enabled,
            next_run_at=now,
            created_at=now,
            updated_at=now,
        )
        try:
            await self._services.store.create(
                made, _audit("heartbeat.created", editor, made.id, now), most=MOST_HEARTBEATS
            )
        except StoreConflict as conflict:
            raise Conflict(f"a workspace has at most {MOST_HEARTBEATS} heartbeats; delete one first") from conflict
        found = await self._services.runs.load(made.id) if is_keyed() else None
        if found is not None:  # perhaps an earlier attempt's
            made = found[0]
        if made.enabled:
            await self._have_look(made.id)
        return HeartbeatView(made, message.document)

    async def _list(self, message: ListHeartbeats) -> tuple[HeartbeatView, ...]:
        found = await self._services.store.list(message.workspace_id)
        return tuple(HeartbeatView(heartbeat, from_json(heartbeat.document), last) for heartbeat, last in found)

    async def _change(self, message: ChangeHeartbeat) -> HeartbeatView:
        editor, now = message.editor, self._services.now()
        agent_id = message.fields.get("agent_id")
        if isinstance(agent_id, str):
            await self.system.ask(AGENTS, ResolveAgent(editor.workspace_id, agent_id))
        await self._check_addresses(message.fields.get("urls", ()))

        def change(heartbeat: Heartbeat) -> Heartbeat:
            _check_editor(editor, heartbeat)
            if editor.uid != heartbeat.uid and message.fields.keys() - NOT_SAID:
                raise Forbidden("this heartbeat acts as somebody else: only they may change what it does and says")
            return changed(heartbeat, message, now)

        fields = sorted(message.fields)
        audit = _audit("heartbeat.updated", editor, message.heartbeat_id, now, fields=fields, enabled=message.enabled)
        found = await self._services.store.change(editor.workspace_id, message.heartbeat_id, change, audit)
        if found is None:
            raise _missing()
        heartbeat, last = found
        if heartbeat.enabled:
            await self._have_look(heartbeat.id)
        return HeartbeatView(heartbeat, from_json(heartbeat.document), last)

    async def _run(self, message: RunHeartbeat) -> Heartbeat:
        editor, now = message.editor, self._services.now()

        def change(heartbeat: Heartbeat) -> Heartbeat:
            _check_editor(editor, heartbeat)
            if not heartbeat.enabled:
                raise Conflict("the heartbeat is switched off: switch it on first")
            return attrs.evolve(heartbeat, next_run_at=min(heartbeat.next_run_at, message.due_at))

        audit = _audit("heartbeat.run", editor, message.heartbeat_id, now)
        found = await self._services.store.change(editor.workspace_id, message.heartbeat_id, change, audit)
        if found is None:
            raise _missing()
        await self._have_look(message.heartbeat_id)
        return found[0]

    async def _delete(self, message: DeleteHeartbeat) -> None:
        editor = message.editor

        def check(heartbeat: Heartbeat) -> None:
            _check_editor(editor, heartbeat)

        audit = _audit("heartbeat.deleted", editor, message.heartbeat_id, self._services.now())
        if not await self._services.store.delete(editor.workspace_id, message.heartbeat_id, check, audit):
            raise _missing()
        self.system.tell(heartbeat_address(message.heartbeat_id), Retire())

    async def _list_runs(self, message: ListRuns) -> RunPage:
        found = await self._services.store.runs(
            message.workspace_id, message.heartbeat_id, limit=message.limit, offset=message.offset
        )
        if found is None:
            raise _missing()
        return RunPage(*found)

    async def _check_addresses(self, urls: tuple[str, ...]) -> None:
        """Refuse what may not be asked for. A name that cannot be found now may be later, and is no reason."""
        refused: list[Detail] = []
        words: list[str] = []

        async def check(place: int, url: str) -> None:
            try:
                await self._services.web.addresses(Origin.of(url))
            except OutboundRefused as error:
                at = "url" if len(urls) == 1 else f"feeds[{place}]"
                refused.append(Detail(at, "not_allowed"))
                words.append(f"{at}: {error}")
            except (OutboundError, ValueError):
                return

        with trio.move_on_after(RESOLVING):
            async with trio.open_nursery() as nursery:
                for place, url in enumerate(urls):
                    nursery.start_soon(check, place, url)
        if refused:
            raise Invalid("; ".join(words), details=tuple(refused))


def changed(heartbeat: Heartbeat, message: ChangeHeartbeat, now: datetime) -> Heartbeat:
    """The heartbeat as it is to be: a pure function. Raises `Invalid`.

    A new interval counts from the last due time; what was switched off is due at once when it is on again.
    """
    fields = dict(message.fields)
    before = from_json(heartbeat.document)
    given = fields.get("headers", {})
    if "headers" in fields:
        fields["headers"] = kept_headers(fields["headers"], before.headers)
    document: HeartbeatDocument = msgspec.structs.replace(before, **fields)
    interval = heartbeat.interval if message.interval is None else message.interval
    check_document(document, interval)
    check_kept(given, document, before)
    enabled = heartbeat.enabled if message.enabled is None else message.enabled
    after = attrs.evolve(heartbeat, document=to_json(document), interval=interval, enabled=enabled, updated_at=now)
    if enabled and not heartbeat.enabled:
        return attrs.evolve(after, next_run_at=now, errors=0, disabled_reason=None)
    if interval != heartbeat.interval:
        moved = heartbeat.next_run_at.timestamp() - heartbeat.interval + interval
        return attrs.evolve(after, next_run_at=max(now, datetime.fromtimestamp(moved, now.tzinfo)))
    return after


def _check_editor(editor: Editor, heartbeat: Heartbeat) -> None:
    if not editor.admin and heartbeat.uid != editor.uid:
        raise Forbidden("this heartbeat acts as somebody else: only they may change it, and admins switch it off")


def _missing() -> NotFound:
    return NotFound("there is no such heartbeat in this workspace")


def _audit(event: str, editor: Editor, heartbeat_id: str, now: datetime, **metadata: object) -> AuditEntry:
    return act_of(editor, event, now, {"heartbeat": heartbeat_id, **metadata})
