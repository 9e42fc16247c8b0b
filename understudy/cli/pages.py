"""The reference pages made from the code: HTTP from the routes, telemetry from the kernel's published table."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import trio

from understudy.actors.metrics.actor import metrics_spec
from understudy.actors.metrics.messages import METRICS, Exposition
from understudy.runtime import ActorSystem, SupervisorSpec, Telemetry

_HTTP_HEAD = """\
# HTTP

Made from the routes by `understudy reference http`: edit what they say of themselves in `understudy/http/routes/`, not
this page. The same as OpenAPI 3.1, with every schema in full, is at `/openapi.json` and `/openapi.yaml` of a running
server, and from `understudy openapi` without one.

Requests and answers are JSON. Every answer carries `X-Request-ID` (yours, if you send one), and every error is

```json
{"error": "message: must have at most 10000 characters", "code": "VALIDATION", "requestId": "3f0c…",
 "details": [{"path": "message", "issue": "too_long", "max": 10000}]}
```

What each code means is on a [page of its own](http-errors.md).

*JWT* is `Authorization: Bearer <access token>`; *JWT + workspace* also takes `X-Workspace-Id`, which may be left out by
a user who has one workspace; *internal key* is `X-Api-Key`.
"""

_AUTH = {"bearerAuth": "JWT", "apiKeyAuth": "internal key"}
_WORKSPACE_HEADER = "X-Workspace-Id"


def http_page(document: Mapping[str, Any]) -> str:
    """The page of every operation in an OpenAPI *document*, grouped by its tag."""
    groups: dict[str, list[str]] = {}
    rows = []
    for path, method, operation in _operations(document):
        tag = operation["tags"][0]
        groups.setdefault(tag, []).append(_operation(path, method, operation, document))
        title = f"{method.upper()} {path}"
        rows.append(f"| [`{title}`](#{_anchor(title)}) | {operation['summary']} |\n")
    parts = [_HTTP_HEAD, "\n| operation | |\n|---|---|\n", *rows]
    for tag, operations in groups.items():
        parts.append(f"\n## {tag.capitalize()}\n")
        parts.extend(operations)
    return "".join(parts)


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _operation(path: str, method: str, operation: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    parts = [f"\n### {method.upper()} {path}\n\n{operation['summary']}.\n"]
    if "description" in operation:
        parts.append(f"\n{operation['description']}\n")
    parts.append(f"\n- authentication: {_authentication(operation)}\n")
    parts.extend(
        f"- {parameter['in']} `{parameter['name']}`: {_type(parameter.get('schema', {}), document)}\n"
        for parameter in operation.get("parameters", ())
        if parameter["name"] != _WORKSPACE_HEADER
    )
    parts.extend(
        f"- body `{name}`: {_type(schema, document)}{'' if required else _default(schema)}\n"
        for name, schema, required in _fields(operation, document)
    )
    for status, response in operation["responses"].items():
        kinds = ", ".join(f"`{kind}`" for kind in response.get("content", {}) if kind != "application/json")
        parts.append(f"- {status}: {response['description'].rstrip('.')}{f' ({kinds})' if kinds else ''}\n")
    return "".join(parts)


def _authentication(operation: Mapping[str, Any]) -> str:
    names = [_AUTH.get(name, name) for entry in operation.get("security", ()) for name in entry]
    if not names:
        return "none"
    headers = {parameter["name"] for parameter in operation.get("parameters", ())}
    return " or ".join(names) + (" + workspace" if _WORKSPACE_HEADER in headers else "")


def _fields(operation: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    content = operation.get("requestBody", {}).get("content", {})
    schema = _resolved(content.get("application/json", {}).get("schema", {}), document)
    required = set(schema.get("required", ()))
    for name, field in schema.get("properties", {}).items():
        yield name, field, name in required


def _type(schema: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(one, document) for one in schema["anyOf"])
    schema = _resolved(schema, document)
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    kind = str(schema.get("type", "any"))
    bounds = [f"{words} {schema[key]}" for key, words in _BOUNDS.items() if key in schema]
    return f"{kind}, {', '.join(bounds)}" if bounds else kind


_BOUNDS = {"minLength": "at least", "maxLength": "at most", "minimum": "from", "maximum": "to"}


def _default(schema: Mapping[str, Any]) -> str:
    default = schema.get("default")
    return "; may be left out" if default is None else f"; default `{default}`"


def _resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _anchor(title: str) -> str:
    """How GitHub names the anchor of a heading."""
    kept = "".join(char for char in title.lower() if char.isalnum() or char in " -_")
    return kept.replace(" ", "-")


_TELEMETRY_HEAD = """\
# Telemetry

Made from the kernel's published table (`understudy.runtime`, `Telemetry.EVENTS`) by `understudy reference telemetry`.

Every event has a name, measurements and metadata, always with the same keys. Listeners are attached in the process:

```python
system.telemetry.attach("crashes", lambda event: print(event.metadata["address"]), events=["actor.crash"])
```

A listener runs where the event happens and must not block. One that raises is detached and reported, never fatal.
Durations are in seconds.

| event | meaning | measurements | metadata |
|---|---|---|---|
"""

_METRICS_HEAD = """
## Metrics

`GET /metrics` answers with JSON, and with these in Prometheus' or OpenMetrics' text form when the `Accept` header asks
for `text/plain` or `application/openmetrics-text`. The usual `process_…` metrics come with them.

| metric | kind | meaning |
|---|---|---|
"""


def telemetry_page() -> str:
    """The page of the kernel's events and the node's metrics. Starts a small actor system of its own for the latter."""
    rows = [
        f"| `{name}` | {kind.meaning} | {_words(kind.measurements)} | {_words(kind.metadata)} |\n"
        for name, kind in Telemetry.EVENTS.items()
    ]
    return "".join([_TELEMETRY_HEAD, *rows, _METRICS_HEAD, *_metric_rows(trio.run(_exposition))])


class _NothingStored:
    """The totals of an empty database."""

    async def totals(self) -> tuple[int, int, int]:
        """No sessions, no messages."""
        await trio.lowlevel.checkpoint()
        return 0, 0, 0

    async def late_deliveries(self, now: datetime) -> tuple[int, float]:
        """None."""
        del now
        await trio.lowlevel.checkpoint()
        return 0, 0.0

    async def billed(self, since: datetime) -> int:
        """Nothing."""
        del since
        await trio.lowlevel.checkpoint()
        return 0


async def _exposition() -> str:
    async with ActorSystem("reference") as system:
        child = metrics_spec(_NothingStored())
        await system.spawn(SupervisorSpec(METRICS.partition("/")[0], children=(child,)))
        text = await system.ask(METRICS, Exposition(openmetrics=False))
        await system.stop()
    return text.decode()


def _metric_rows(exposition: str) -> Iterator[str]:
    meanings: dict[str, str] = {}
    for line in exposition.splitlines():
        if line.startswith("# HELP understudy_"):
            _, _, name, meaning = line.split(" ", 3)
            meanings[name] = meaning
        elif line.startswith("# TYPE understudy_") and not line.split()[2].endswith("_created"):
            _, _, name, kind = line.split()
            yield f"| `{name}` | {kind} | {meanings[name]} |\n"


def _words(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)
