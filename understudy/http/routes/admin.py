"""`/admin`: what operators see of all tenants, and the keys that let them."""

from datetime import date
from importlib.metadata import version
from typing import Any

import attrs
from quart import Blueprint

from understudy.actors.admin.messages import (
    ADMIN,
    AuditEntry,
    GetNodeHealth,
    GetUsage,
    ListAuditOf,
    ListRegisteredAgents,
    ListSessionsOf,
    Used,
)
from understudy.actors.clock import utc_now
from understudy.actors.costs.prices import in_dollars
from understudy.actors.identity.messages import IDENTITY, CreateKey, KeyScope, KeyView, ListKeys, RevokeKey
from understudy.http import examples, schemas, schemas_admin
from understudy.http.access import operator
from understudy.http.decode import body, query
from understudy.http.errors import invalid
from understudy.http.operation import Auth, operation
from understudy.http.paging import next_link
from understudy.http.replies import Reply, json
from understudy.http.request import this_request
from understudy.http.routes.sessions import session_fields

routes = Blueprint("admin", __name__, url_prefix="/admin")

READ, WRITE = KeyScope.ADMIN_READ, KeyScope.ADMIN_WRITE

_HEALTH = {
    "status": "ok",
    "memory": {"rssBytes": 170_393_600, "heapBytes": 141_557_760},
    "uptime": 86_400.5,
    "activeSessions": 4,
    "toolCount": 12,
    "version": "0.1.0",
}
_AGENTS = {
    "agents": [
        {
            "id": "ops-helper",
            "workspaceId": "ws_5",
            "version": 2,
            "config": {"displayName": "Ops helper", "model": {"provider": "ollama", "modelId": "qwen2.5:7b"}},
            "createdAt": "2026-03-01T08:00:00Z",
            "updatedAt": "2026-03-02T08:00:00Z",
        }
    ],
    "count": 1,
    "limit": 100,
    "offset": 0,
}
_USED = {**examples.USAGE, "costUsd": 0.0021}
_USAGE = {"uid": "usr_71ab", "month": "2026-03", **_USED, "byAgent": {"chad": _USED}, "limit": 1_000_000}
_AUDIT = {
    "uid": "usr_71ab",
    "entries": [
        {
            "id": "aud_5c1e",
            "event": "agent.created",
            "uid": "usr_71ab",
            "agent_id": "ops-helper",
            "action": "created",
            "session_id": None,
            "details": {"severity": "low", "workspace_id": "ws_5", "request_id": "3f0c"},
            "metadata": {},
            "timestamp": "2026-03-02T09:10:00Z",
        }
    ],
}


@routes.get("/health")
@operation("adminHealth", Auth.KEY, scope=READ, replies={200: schemas_admin.NodeHealth}, reply_example=_HEALTH)
async def health() -> Reply:
    """See how the process does: its memory, its age, its sessions and tools."""
    request = this_request()
    await operator(request, READ)
    found = await request.ask(ADMIN, GetNodeHealth())
    return json(
        schemas_admin.NodeHealth(
            status="ok",
            memory=schemas_admin.MemoryUse(rss_bytes=found.rss_bytes, heap_bytes=found.heap_bytes),
            uptime=found.uptime,
            active_sessions=found.active_sessions,
            tool_count=found.tool_count,
            version=version("understudy"),
        )
    )


@routes.get("/agents")
@operation(
    "adminAgents",
    Auth.KEY,
    scope=READ,
    query=schemas_admin.PageQuery,
    replies={200: schemas_admin.RegisteredAgents},
    reply_example=_AGENTS,
)
async def agents() -> Reply:
    """List the agents of all workspaces, everybody's first."""
    request = this_request()
    await operator(request, READ)
    asked = query(request, schemas_admin.PageQuery)
    page = await request.ask(ADMIN, ListRegisteredAgents(asked.limit, asked.offset))
    shown = [
        schemas_admin.RegisteredAgent(
            id=agent.id,
            workspace_id=agent.workspace_id,
            version=agent.version,
            config=dict(agent.config),
            created_at=agent.created_at,
            updated_at=agent.updated_at,
        )
        for agent in page.agents
    ]
    link = next_link(request, asked, page.total)
    reply = schemas_admin.RegisteredAgents(agents=shown, count=page.total, limit=asked.limit, offset=asked.offset)
    return json(reply, headers=link)


@routes.get("/usage/<uid>")
@operation(
    "adminUsage",
    Auth.KEY,
    scope=READ,
    query=schemas_admin.UsageQuery,
    replies={200: schemas_admin.UserUsage},
    reply_example=_USAGE,
    errors=("NOT_FOUND",),
)
async def usage(uid: str) -> Reply:
    """Read what a user used in a month, in all workspaces."""
    request = this_request()
    await operator(request, READ)
    month = _month(query(request, schemas_admin.UsageQuery).month)
    found = await request.ask(ADMIN, GetUsage(uid, month))
    by_agent = {name: schemas_admin.AgentUsage(**_used(used)) for name, used in found.used.by_agent.items()}
    return json(
        schemas_admin.UserUsage(
            uid=uid, month=f"{month:%Y-%m}", by_agent=by_agent, limit=found.limit, **_used(found.used.total)
        )
    )


@routes.get("/sessions/<uid>")
@operation(
    "adminSessions",
    Auth.KEY,
    scope=READ,
    query=schemas_admin.PageQuery,
    replies={200: schemas_admin.UserSessions},
    reply_example={"uid": "usr_71ab", **examples.SESSION_PAGE, "limit": 100},
    errors=("NOT_FOUND",),
)
async def sessions(uid: str) -> Reply:
    """List a user's active sessions, newest activity first."""
    request = this_request()
    await operator(request, READ)
    asked = query(request, schemas_admin.PageQuery)
    page = await request.ask(ADMIN, ListSessionsOf(uid, asked.limit, asked.offset))
    shown = [schemas.Session(**session_fields(session)) for session in page.sessions]
    reply = schemas_admin.UserSessions(
        uid=uid, sessions=shown, total=page.total, limit=asked.limit, offset=asked.offset
    )
    return json(reply, headers=next_link(request, asked, page.total))


@routes.get("/audit/<uid>")
@operation(
    "adminAudit",
    Auth.KEY,
    scope=READ,
    replies={200: schemas_admin.UserAudit},
    reply_example=_AUDIT,
    errors=("NOT_FOUND",),
)
async def audit(uid: str) -> Reply:
    """Read the last 50 lines of the audit log about a user."""
    request = this_request()
    await operator(request, READ)
    entries = await request.ask(ADMIN, ListAuditOf(uid))
    return json(schemas_admin.UserAudit(uid=uid, entries=[_entry(entry) for entry in entries]))


@routes.post("/keys")
@operation(
    "createKey",
    Auth.KEY,
    scope=WRITE,
    body=schemas_admin.NewKeyRequest,
    replies={201: schemas_admin.InternalKeyMade},
    reply_example={**examples.INTERNAL_KEY, "key": "usk_5qd0b1aX5qd0b1aX5qd0b1aX"},
    errors=("CONFLICT",),
    example={"name": "ci", "scopes": ["diagnostics"], "expiresAt": "2027-01-01T00:00:00Z"},
)
async def create_key() -> Reply:
    """Make an internal key.

    It is shown this once and kept as a hash only: an idempotency key has no effect here, since the answer is not
    stored. Nobody makes a key that may more than their own. A name belongs to one key that counts.
    """
    request = this_request()
    holder = await operator(request, WRITE)
    given = body(request, schemas_admin.NewKeyRequest)
    message = CreateKey(
        holder, given.name, tuple(dict.fromkeys(given.scopes)), expires_at=given.expires_at, request_id=request.id
    )
    made = await request.ask(IDENTITY, message)
    return json(schemas_admin.InternalKeyMade(key=made.secret, **attrs.asdict(made.key)), 201)


@routes.get("/keys")
@operation(
    "listKeys",
    Auth.KEY,
    scope=READ,
    replies={200: schemas_admin.InternalKeys},
    reply_example={"keys": [examples.INTERNAL_KEY]},
)
async def list_keys() -> Reply:
    """List the internal keys; no secret is ever shown again."""
    request = this_request()
    await operator(request, READ)
    keys = await request.ask(IDENTITY, ListKeys())
    return json(schemas_admin.InternalKeys(keys=[_key(key) for key in keys]))


@routes.delete("/keys/<id>")
@operation("revokeKey", Auth.KEY, scope=WRITE, replies={204: None}, errors=("NOT_FOUND",))
async def revoke_key(id: str) -> Reply:
    """Let an internal key open nothing from now on.

    The key of the settings is changed in the settings. Nobody revokes a key that may more than their own.
    """
    request = this_request()
    holder = await operator(request, WRITE)
    await request.ask(IDENTITY, RevokeKey(holder, id, request.id))
    return Reply(204)


def _used(used: Used) -> dict[str, Any]:
    return {
        "prompt_tokens": used.usage.prompt_tokens,
        "completion_tokens": used.usage.completion_tokens,
        "total_tokens": used.usage.total_tokens,
        "cost_usd": in_dollars(used.cost),
    }


def _month(given: str | None) -> date:
    """The month's first day. A date has no year 0, and the day after its last month must be one, too."""
    if given is None:
        return utc_now().date().replace(day=1)
    year, month = int(given[:4]), int(given[5:])
    if not 1 <= year <= 9998:
        raise invalid("month", "invalid_value", "month: not a month that could be meant")
    return date(year, month, 1)


def _entry(entry: AuditEntry) -> schemas_admin.UserAuditEntry:
    return schemas_admin.UserAuditEntry(
        id=entry.id,
        event=entry.event,
        uid=entry.uid,
        agent_id=entry.agent_id,
        action=entry.event.rpartition(".")[2],
        session_id=entry.session_id,
        details={"severity": entry.severity, "workspace_id": entry.workspace_id, "request_id": entry.request_id},
        metadata=dict(entry.metadata),
        timestamp=entry.created_at,
    )


def _key(key: KeyView) -> schemas_admin.InternalKey:
    return schemas_admin.InternalKey(**attrs.asdict(key))
