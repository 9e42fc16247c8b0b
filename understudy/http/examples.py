"""What answers look like, for `/openapi.json`: values that several operations show."""

from typing import Any

from understudy.actors.identity.messages import KeyScope

Example = dict[str, Any]

USER: Example = {
    "id": "usr_71ab",
    "email": "mira@example.org",
    "name": "Mira",
    "createdAt": "2026-03-01T08:00:00Z",
}
TOKENS: Example = {"accessToken": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c3JfNzFhYiJ9.c2ln", "refreshToken": "rt_5qd0b1aX"}
SIGNED_IN: Example = {"user": USER, **TOKENS, "workspaceId": "ws_5"}
OK: Example = {"ok": True}
STATUS: Example = {"status": "ok"}

SESSION: Example = {
    "id": "ses_71ab",
    "uid": "usr_71ab",
    "workspaceId": "ws_5",
    "agentId": "chad",
    "surface": "chat",
    "surfaceId": "default",
    "status": "active",
    "messageCount": 2,
    "tokenCount": 876,
    "summary": None,
    "createdAt": "2026-03-02T09:09:57Z",
    "lastActiveAt": "2026-03-02T09:10:00Z",
    "archivedAt": None,
    "lastEventId": "ses_71ab:9",
}
SESSION_PAGE: Example = {"sessions": [SESSION], "total": 1, "limit": 20, "offset": 0}
SESSION_DETAIL: Example = {
    **SESSION,
    "messages": [
        {
            "id": "msg_1",
            "role": "user",
            "content": "What time is it?",
            "status": "complete",
            "createdAt": "2026-03-02T09:09:57Z",
            "turnId": "trn_4",
            "tokens": 5,
        }
    ],
    "runningTurn": None,
}

AUDIT_LINE: Example = {
    "position": 71,
    "id": "aud_5c1e",
    "event": "agent.created",
    "severity": "low",
    "timestamp": "2026-03-02T09:10:00Z",
    "uid": "usr_71ab",
    "workspaceId": "ws_5",
    "agentId": "ops-helper",
    "sessionId": None,
    "requestId": "3f0c",
    "metadata": {},
    "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}

INTERNAL_KEY: Example = {
    "id": "key_5qd0b1aX",
    "name": "ci",
    "scopes": [KeyScope.DIAGNOSTICS.value],
    "createdBy": "settings",
    "createdAt": "2026-03-02T08:00:00Z",
    "expiresAt": "2027-01-01T00:00:00Z",
    "lastUsedAt": None,
    "revokedAt": None,
}

USAGE: Example = {"promptTokens": 812, "completionTokens": 64, "totalTokens": 876}
TASK_DONE: Example = {
    "uid": "usr_9kq2",
    "agentId": "chad",
    "sessionId": "ses_71ab",
    "content": "All went well this week.",
    "toolsUsed": ["datetime_now"],
    "usage": USAGE,
}

REPORT: Example = {
    "id": "dgn_5c1e",
    "kind": "full",
    "status": "pass",
    "startedAt": "2026-03-02T09:10:00Z",
    "durationMs": 84.2,
    "checks": [
        {
            "name": "database.reachable",
            "status": "pass",
            "message": "PostgreSQL answers in 0.4 ms",
            "durationMs": 0.6,
            "hint": None,
        }
    ],
    "summary": {"pass": 1, "warn": 0, "fail": 0},
}

ACTOR: Example = {
    "address": "session/ses_71ab",
    "kind": "actor",
    "type": "Session",
    "state": "idle",
    "status": "streaming",
    "labels": {"workspace": "ws_5", "uid": "usr_71ab", "agent": "chad"},
    "epoch": 1,
    "uptime": 12.5,
    "restarts": 0,
    "restartsInWindow": 0,
    "mailbox": 0,
    "systemMailbox": 0,
    "stashed": 0,
    "mailboxLimit": 1000,
    "highWater": 2,
    "headAge": 0.0,
    "handled": 14,
    "current": None,
    "currentAge": 0.0,
    "crash": None,
    "work": [{"name": "turn", "age": 1.2}],
    "timers": 1,
    "monitors": 0,
    "readers": 1,
    "strategy": None,
    "childCount": 0,
    "quarantined": {},
}
ACTOR_TREE: Example = {**ACTOR, "children": []}
ACTOR_CONTROLLED: Example = {"ok": True, "address": ACTOR["address"], "node": ACTOR}
