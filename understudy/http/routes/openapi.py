"""`/openapi.json` and `/openapi.yaml`: what this server serves, made from what it serves."""

from typing import Any

import trio
from quart import Blueprint, current_app

from understudy.http.openapi import to_yaml
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, encode

routes = Blueprint("openapi", __name__)

_CACHE = (b"cache-control", b"public, max-age=60")


@routes.get("/openapi.json")
@operation("openapiJson", Auth.PUBLIC, replies={200: None})
async def openapi_json() -> Reply:
    """Describe every operation of this server (OpenAPI 3.1)."""
    return Reply(
        200,
        await trio.to_thread.run_sync(lambda app: encode(app.description), _app()),
        ((b"content-type", b"application/json"), _CACHE),
    )


@routes.get("/openapi.yaml")
@operation("openapiYaml", Auth.PUBLIC, replies={200: None}, media_type="application/yaml")
async def openapi_yaml() -> Reply:
    """Describe every operation of this server (OpenAPI 3.1), for people."""
    text = await trio.to_thread.run_sync(lambda app: to_yaml(app.description) + "\n", _app())
    return Reply(200, text.encode(), ((b"content-type", b"application/yaml"), _CACHE))


def _app() -> Any:
    # In a thread: describing takes some twenty milliseconds, once.
    proxy: Any = current_app
    return proxy._get_current_object()  # noqa: SLF001  # werkzeug's documented way past its proxy
