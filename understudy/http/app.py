"""The application: quart's routing and contexts, our dispatch, and the blueprints."""

import functools
from collections import deque
from typing import Any

import structlog
from quart import websocket as current_websocket
from quart.wrappers.response import DataBody
from quart_trio import QuartTrio

from understudy.actors.metrics.messages import RequestServed
from understudy.http.asgi import FAILED, HttpConnection, WebsocketConnection
from understudy.http.errors import ApiError, reply_to
from understudy.http.node import Node
from understudy.http.openapi import document
from understudy.http.readers import Readers
from understudy.http.replies import Reply, StreamReply
from understudy.http.request import ApiRequest, request_id
from understudy.http.routes import (
    actors,
    admin,
    agent,
    agent_versions,
    agents,
    approvals,
    audit,
    auth,
    autonomous,
    chat,
    costs,
    diagnostics,
    grants,
    healing,
    health,
    heartbeat,
    jobs,
    mcp,
    memory,
    memory_notes,
    memory_profiles,
    metrics,
    onboarding,
    openapi,
    sessions,
    skills,
    traces,
    usage,
    webhooks,
    workspaces,
)
from understudy.http.security import SECURITY_HEADERS
from understudy.http.settings import HttpSettings

log = structlog.get_logger("understudy.http")

BLUEPRINTS = tuple(
    noun.routes
    for noun in (
        auth,
        chat,
        agent,
        agents,
        agent_versions,
        usage,
        approvals,
        healing,
        memory,
        memory_notes,
        memory_profiles,
        skills,
        costs,
        traces,
        jobs,
        sessions,
        workspaces,
        grants,
        webhooks,
        heartbeat,
        mcp,
        health,
        metrics,
        diagnostics,
        actors,
        admin,
        audit,
        autonomous,
        onboarding,
        openapi,
    )
)


_REMEMBERED = 10_000


class Api(QuartTrio):
    """A quart application whose requests cost what they must and whose errors are all JSON.

    Views are quart views: they may return anything that quart takes, and nearly all return a `Reply`. Hooks before and
    after requests run if there are any; quart's signals and teardown hooks do too.
    """

    asgi_http_class: type[Any] = HttpConnection
    asgi_websocket_class: type[Any] = WebsocketConnection
    request_class: type[Any] = ApiRequest

    def __init__(self, name: str, *, node: Node | None = None, settings: HttpSettings | None = None) -> None:
        super().__init__(name, static_folder=None)
        self.node = node
        self.settings = settings or HttpSettings()
        self.served: deque[RequestServed] = deque(maxlen=_REMEMBERED)
        """The requests that were answered and not yet counted: the listener tells the metrics of them, many at once."""
        self.url_map.strict_slashes = False
        self.url_map.merge_slashes = False
        # Ours decide: the limit is enforced while the body arrives, and each stream has its own time.
        self.config["MAX_CONTENT_LENGTH"] = None
        self.config["BODY_TIMEOUT"] = None
        self.config["RESPONSE_TIMEOUT"] = None
        self.config["PROPAGATE_EXCEPTIONS"] = False

    @functools.cached_property
    def description(self) -> dict[str, Any]:
        """The OpenAPI document of this application, made when it is first asked for."""
        return document(self)

    async def handle_request(self, request: Any) -> Any:
        """The answer to *request*: never an exception but cancellation."""
        try:
            async with self.request_context(request):
                return await self._dispatch(request)
        except Exception as error:  # noqa: BLE001  # the last resort: each becomes an answer, the unforeseen is logged
            return self.reply_to(error, request)

    def reply_to(self, error: Exception, request: ApiRequest) -> Reply:
        """The answer for an exception that a view or its stream raised."""
        return reply_to(error, request.id)

    async def _dispatch(self, request: ApiRequest) -> Reply | StreamReply:
        if request.routing_exception is not None:
            raise request.routing_exception
        rule: Any = request.url_rule
        if request.method == "OPTIONS" and rule.provide_automatic_options:
            # Those of every rule of this path: each rule knows only its own.
            adapter = self.create_url_adapter(request)
            methods = rule.methods if adapter is None else adapter.allowed_methods()
            return Reply(204, headers=((b"allow", ", ".join(sorted(methods)).encode()),))
        if self.node is None:
            raise ApiError("UNAVAILABLE", "The server is not running yet; try again")
        request.node = self.node
        result = None
        if self.before_request_funcs:
            result = await self._before(request)
        if result is None:
            view: Any = self.view_functions[rule.endpoint]
            result = await view(**(request.view_args or {}))
        if isinstance(result, Reply | StreamReply):
            return result
        return await self._translate(result, request)

    async def _before(self, request: ApiRequest) -> Any:
        for name in (None, *reversed(request.blueprints)):
            for function in self.before_request_funcs.get(name, ()):
                result = await self.ensure_async(function)()
                if result is not None:
                    return result
        return None

    async def _translate(self, result: Any, request: ApiRequest) -> Reply | StreamReply:
        """What quart makes of a view's answer, as a `Reply`."""
        response: Any = await self.make_response(result)
        for name in (*request.blueprints, None):
            for function in reversed(self.after_request_funcs.get(name, ())):
                response = await self.ensure_async(function)(response)
        drop = {"content-length", "server", "date"}
        headers = tuple((k.lower().encode(), v.encode("latin-1")) for k, v in response.headers if k.lower() not in drop)
        if isinstance(response.response, DataBody):
            return Reply(response.status_code, await response.get_data(as_text=False), headers)
        return StreamReply(lambda: response.response, headers, response.status_code)

    async def handle_http_exception(self, *args: Any) -> Any:
        """What a WebSocket is answered that no route takes: the envelope. Requests have a way of their own."""
        error = args[-1]  # quart 0.23 puts its context before it
        websocket: Any = current_websocket
        told = request_id(websocket.headers.get("X-Request-Id"))
        reply = reply_to(error, told)
        log.info("request", method="GET", path=websocket.path, status=reply.status, request_id=told)
        headers = [*reply.headers, (b"x-request-id", told.encode()), *SECURITY_HEADERS]
        return self.response_class(reply.body, reply.status, {k.decode(): v.decode() for k, v in headers})

    async def handle_websocket_exception(self, *args: Any) -> Any:
        """Note that the handler failed, so that the close says so; then do as quart does (it logs)."""
        websocket: Any = current_websocket
        websocket.scope[FAILED] = True
        return await super().handle_websocket_exception(*args)


def create_app(node: Node | None = None, *, settings: HttpSettings | None = None) -> Api:
    """The application with all its routes.

    Without a *node* it serves nothing but 503, and still knows its routes and can describe them.
    """
    settings = settings or HttpSettings()
    app = Api("understudy", node=node, settings=settings)
    app.request_class = type(
        "BoundRequest", (ApiRequest,), {"settings": settings, "readers": Readers(settings.streams_of_user)}
    )
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    return app
