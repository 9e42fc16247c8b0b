"""`/metrics`: the node in numbers, as JSON or as Prometheus reads them."""

import re

from quart import Blueprint

from understudy.actors.identity.messages import KeyScope
from understudy.actors.metrics.messages import METRICS, Exposition, Snapshot
from understudy.http import schemas, schemas_node
from understudy.http.access import operator
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, json
from understudy.http.request import this_request

routes = Blueprint("metrics", __name__)

_JSON, _OPENMETRICS, _TEXT = "application/json", "application/openmetrics-text", "text/plain"

_QUALITY = re.compile(r"[01](\.\d{0,3})?")

TEXT = b"text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"

_EXAMPLE = {
    "uptime": 86_400.5,
    "wsConnections": 0,
    "tools": 12,
    "skills": 6,
    "sessions": {"active": 4, "total": 61},
    "messages": 812,
    "cache": {"hits": 3, "misses": 9},
}


@routes.get("/metrics")
@operation(
    "metrics",
    Auth.PUBLIC,
    replies={200: schemas_node.Metrics},
    reply_example=_EXAMPLE,
    also=(_TEXT, _OPENMETRICS),
    errors=("UNAUTHENTICATED", "FORBIDDEN"),
)
async def metrics() -> Reply:
    """Read the node's numbers.

    JSON, or by `Accept` Prometheus' text (`text/plain`) or OpenMetrics (`application/openmetrics-text`). What was spent
    is shown only with the internal key.
    """
    request = this_request()
    wanted = preferred(request.headers.get("Accept", ""))
    if wanted != _JSON:
        openmetrics = wanted == _OPENMETRICS
        text = await request.node.ask(METRICS, Exposition(openmetrics=openmetrics))
        return Reply(200, text, ((b"content-type", OPENMETRICS if openmetrics else TEXT), (b"vary", b"Accept")))
    billing = "X-Api-Key" in request.headers
    if billing:
        await operator(request, KeyScope.METRICS)
    view = await request.node.ask(METRICS, Snapshot(billing=billing))
    body = schemas_node.Metrics(
        uptime=view.uptime,
        ws_connections=view.ws_connections,
        tools=view.tools,
        skills=view.skills,
        sessions=schemas.SessionCounts(active=view.sessions_active, total=view.sessions_total),
        messages=view.messages,
        cache=schemas_node.CacheCounts(hits=view.cache_hits, misses=view.cache_misses),
    )
    if billing:
        body = schemas_node.with_billing(body, view.billing_month, view.billing_total_cost)
    return json(body, headers=((b"vary", b"Accept, X-Api-Key"),))


def preferred(accept: str) -> str:
    """Which of our three forms *accept* likes best (RFC 9110 §12.5.1); JSON when it likes none or has no preference.

    A form's parameters are not compared: scrapers name versions that werkzeug would take for another type.
    """
    quality: dict[str, float] = {}
    for item in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in item.split(";"))
        q = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        quality[kind] = max(quality.get(kind, 0.0), float(q) if _QUALITY.fullmatch(q) else 0.0)

    def liking(form: str) -> float:
        return quality.get(form, quality.get(form.partition("/")[0] + "/*", quality.get("*/*", 0.0)))

    return max((_JSON, _OPENMETRICS, _TEXT), key=liking)
