"""An agent, and every way of reading and changing it."""

from typing import Any

MODEL = {"provider": "ollama", "modelId": "qwen2.5:7b", "maxOutputTokens": 2048, "temperature": 0.2}
BODY: dict[str, Any] = {
    "displayName": "Ops helper",
    "model": MODEL,
    "systemPromptTemplate": "Help with operations. Today: {{date}}.",
    "tools": {"allow": ["clock", "web"], "deny": ["web"]},
}
NEW: dict[str, Any] = {"id": "ops-helper", **BODY}

READS = [
    ("GET", "/agents/{id}", None),
    ("GET", "/agents/{id}/capabilities", None),
    ("GET", "/agents/{id}/versions", None),
    ("GET", "/agents/{id}/versions/1", None),
]
CHANGES = [
    ("PUT", "/agents/{id}", BODY),
    ("POST", "/agents/{id}/versions/1/rollback", None),
    ("PATCH", "/agents/{id}/versions/1", {"label": "x"}),
    ("DELETE", "/agents/{id}", None),
]
COLLECTION = [("GET", "/agents", None), ("POST", "/agents", {"id": "another", **BODY})]
