"""`/health`, `/readiness`, `/livez`: for machines that decide whether to send requests here."""

from quart import Blueprint

from understudy.actors.diagnostics.messages import DIAGNOSTICS, Health, Readiness
from understudy.http import examples, schemas, schemas_node
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, json
from understudy.http.request import this_request
from understudy.runtime import RuntimeFault

routes = Blueprint("health", __name__)

_HEALTH = {
    "status": "ok",
    "checks": {"typesense": "ok", "postgres": "ok"},
    "engines": {"typesense": "PostgreSQL 18.4 full-text search", "postgres": "PostgreSQL 18.4"},
    "wsConnections": 0,
    "timestamp": "2026-03-02T09:10:00Z",
}


@routes.get("/health")
@operation("health", Auth.PUBLIC, replies={200: schemas_node.Health, 503: schemas_node.Health}, reply_example=_HEALTH)
async def health() -> Reply:
    """Look at what the node stands on. 503 when a part of it does not answer."""
    report = await this_request().node.ask(DIAGNOSTICS, Health())
    body = schemas_node.Health(
        status=report.status,
        checks=dict(report.checks),
        engines=dict(report.engines),
        ws_connections=report.ws_connections,
        timestamp=report.timestamp,
    )
    return json(body, 200 if report.status == "ok" else 503)


@routes.get("/readiness")
@operation(
    "readiness",
    Auth.PUBLIC,
    replies={200: schemas_node.Readiness, 503: schemas_node.Readiness},
    reply_example={"ready": True},
)
async def readiness() -> Reply:
    """Say whether the node takes requests. 503 while it starts, stops, or its database is away."""
    request = this_request()
    if request.draining.phase:
        return json(schemas_node.Readiness(ready=False, reason="the server is stopping"), 503)
    try:
        ready = await request.node.ask(DIAGNOSTICS, Readiness())
    except RuntimeFault:
        return json(schemas_node.Readiness(ready=False, reason="the node is starting"), 503)
    if ready.ready:
        return json(schemas_node.Readiness(ready=True))
    return json(schemas_node.Readiness(ready=False, reason=ready.reason or "not ready"), 503)


@routes.get("/livez")
@operation("livez", Auth.PUBLIC, replies={200: schemas.Status}, reply_example=examples.STATUS)
async def livez() -> Reply:
    """Say that the process is alive, and nothing more."""
    return json(schemas.Status())
