"""The OpenAPI document, made from the routes and from what each says of itself in `operation`.

quart-schema gives the frame. The schemas are msgspec's own: quart-schema 0.25 keeps only the first component of a
msgspec model, so that nested ones would be referred to and missing.
"""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any, get_args, get_origin

import msgspec
from quart_schema import APIKeySecurityScheme, HttpSecurityScheme, Info, OpenAPIProvider, QuartSchema
from quart_trio import QuartTrio
from werkzeug.routing import Rule

from understudy.http.envelope import Problem
from understudy.http.errors import STATUS
from understudy.http.operation import Auth, Operation, openapi_path, operation_of

_REFERENCE = "#/components/schemas/{name}"

_SECURITY: dict[Auth, list[dict[str, list[str]]]] = {
    Auth.PUBLIC: [],
    Auth.JWT: [{"bearerAuth": []}],
    Auth.WORKSPACE: [{"bearerAuth": []}],
    Auth.KEY: [{"apiKeyAuth": []}],
    Auth.KEY_OR_JWT: [{"apiKeyAuth": []}, {"bearerAuth": []}],
}

_HEADERS = {
    "X-Workspace-Id": ("The workspace to act in; may be left out by a user who has one.", "ws_5"),
    "X-Idempotency-Key": (
        "1 to 255 visible ASCII characters. Same key and body within 300 s: one request.",
        "k1",
    ),
    "If-Match": ("The `ETag` of what you have read: if it is no longer so, the change is refused (412).", 'W/"q7s"'),
    "If-None-Match": ("The `ETag` of what you have: the answer is 304 and empty when it is still so.", 'W/"q7s"'),
    "traceparent": (
        "Your place in a trace (W3C Trace Context): the turn's own trace names it.",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ),
    "Last-Event-ID": ("The id of the last event that was read: the stream goes on after it.", "ses_71ab:4"),
}

_SENDING = frozenset({"POST", "PUT", "PATCH"})
"""Methods whose requests have bodies."""

_EMPTY = {204: "It was done; there is no body.", 304: "What you have is what it is; there is no body."}

_DESCRIPTION = (
    "Sessions of AI agents as supervised actors. Every error has the shape of `Problem`; every answer carries "
    "`X-Request-ID`, which a request may choose."
)


class _Provider(OpenAPIProvider):
    """quart-schema's document, with operations described our way."""

    def generate_rules(self) -> Iterator[Rule]:
        """The routes that describe themselves, in the order of their paths."""
        rules = (r for r in self._app.url_map.iter_rules() if not r.websocket)
        for rule in sorted(rules, key=lambda r: (r.rule, sorted(r.methods or ()))):
            if operation_of(self._app.view_functions[rule.endpoint]) is not None:
                yield rule

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        """The path of one rule with its operation, and the schemas that it names."""
        view = self._app.view_functions[rule.endpoint]
        described = operation_of(view)
        assert described is not None  # noqa: S101  # generate_rules has seen to it
        components: dict[str, Any] = {}
        summary, _, rest = (inspect.getdoc(view) or "").partition("\n")
        shown: dict[str, Any] = {
            "operationId": described.id,
            "summary": summary.rstrip("."),
            "tags": [rule.endpoint.partition(".")[0].replace("_", " ")],
            "security": _security(described),
            "parameters": self._parameters(rule, described, components),
            "responses": _responses(described, components, sends=not _SENDING.isdisjoint(rule.methods or ())),
        }
        if rest.strip():
            shown["description"] = rest.strip()
        if described.body is not None:
            content: dict[str, Any] = {"schema": _schema(described.body, components)}
            if described.example is not None:
                content["example"] = described.example
            shown["requestBody"] = {"required": _has_required(described.body), "content": {"application/json": content}}
        methods = sorted(set(rule.methods or ()) - {"HEAD", "OPTIONS"})
        return {openapi_path(rule.rule): {method.lower(): shown for method in methods}}, components

    def _parameters(self, rule: Rule, described: Operation, components: dict[str, Any]) -> list[dict[str, Any]]:
        found = [self.build_path_parameter(name, converter) for name, converter in rule._converters.items()]  # noqa: SLF001  # quart-schema does so too; werkzeug shows converters nowhere else
        if described.query is not None:
            asked = _schema(described.query, components, inline=True)
            needed = asked.get("required", ())
            found += [
                {"name": name, "in": "query", "schema": schema, **({"required": True} if name in needed else {})}
                for name, schema in asked["properties"].items()
            ]
        for name in described.headers:
            description, example = _HEADERS[name]
            found.append(
                {
                    "name": name,
                    "in": "header",
                    "description": description,
                    "schema": {"type": "string"},
                    "example": example,
                }
            )
        return found


def _security(described: Operation) -> list[dict[str, list[str]]]:
    """Who may call it; for an internal key, in OpenAPI's word for it, in which role."""
    needed = [described.scope] if described.scope is not None else []
    return [
        {scheme: needed if scheme == "apiKeyAuth" else roles for scheme, roles in way.items()}
        for way in _SECURITY[described.auth]
    ]


def document(app: QuartTrio) -> dict[str, Any]:
    """The whole document for *app*, as JSON-able values. Takes some milliseconds: keep what it gives."""
    frame = QuartSchema(
        info=Info(title="Understudy", version=version("understudy"), description=_DESCRIPTION),
        security_schemes={
            "bearerAuth": HttpSecurityScheme(scheme="bearer", bearer_format="JWT"),
            "apiKeyAuth": APIKeySecurityScheme(name="X-Api-Key", in_="header"),
        },
    )
    made = _Provider(app, frame).schema()
    _, problem = msgspec.json.schema_components([Problem], ref_template=_REFERENCE)
    made["components"]["schemas"].update(problem)
    made["components"]["schemas"] = dict(sorted(made["components"]["schemas"].items()))
    plain: dict[str, Any] = json.loads(json.dumps(made))
    return plain


def _responses(described: Operation, components: dict[str, Any], *, sends: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    usual = next(iter(described.replies.values()))  # what the example is of
    for status, model in described.replies.items():
        if status in _EMPTY:
            found[str(status)] = {"description": _EMPTY[status]}
            continue
        content: dict[str, Any] = {}
        if model is not None:
            content["schema"] = _schema(model, components)
        if described.reply_example is not None and model is usual:
            content["example"] = described.reply_example
        media = {described.media_type: content}
        for extra in described.also:
            media[extra] = {}
        found[str(status)] = {
            "description": _description(model),
            "content": media,
        }
    codes = {"INTERNAL", "UNAVAILABLE", "TIMEOUT", *described.errors}
    if described.auth is not Auth.PUBLIC:
        codes.add("UNAUTHENTICATED")
    if described.auth in {Auth.WORKSPACE, Auth.KEY, Auth.KEY_OR_JWT}:
        codes.add("FORBIDDEN")
    if described.body is not None or described.query is not None or described.headers:
        codes.add("VALIDATION")
    if sends:  # a body is measured before it is known that the route has no use for it
        codes.add("PAYLOAD_TOO_LARGE")
    for status in sorted({STATUS[code] for code in codes}):
        named = " or ".join(sorted(code for code in codes if STATUS[code] == status))
        found.setdefault(
            str(status),
            {
                "description": named,
                "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(name="Problem")}}},
            },
        )
    return found


def _description(model: type | None) -> str:
    if model is None:
        return "OK"
    if get_origin(model) is dict:
        return "An object."
    items = get_args(model)
    return f"A list. {_description(items[0])}" if items else (model.__doc__ or "").partition("\n")[0]


def _schema(model: type, components: dict[str, Any], *, inline: bool = False) -> dict[str, Any]:
    (reference,), parts = msgspec.json.schema_components([model], ref_template=_REFERENCE)
    if inline:
        own: dict[str, Any] = parts.pop(model.__name__)
        components.update(parts)
        return own
    components.update(parts)
    return reference


def _has_required(model: type) -> bool:
    if get_origin(model) is dict:
        return True  # an object of any form is still one
    return any(field.required for field in msgspec.structs.fields(model))


def to_yaml(value: Any, indent: int = 0) -> str:
    """*value* as YAML in blocks; its scalars and keys are written as JSON, which YAML takes as they are."""
    pad = "  " * indent
    lines: list[str] = []
    if isinstance(value, Mapping):
        for key, item in value.items():
            lines.append(f"{pad}{_key(str(key))}:{_nested(item, indent)}")
    else:
        lines.extend(f"{pad}-{_nested(item, indent)}" for item in value)
    return "\n".join(lines)


def _nested(item: Any, indent: int) -> str:
    if isinstance(item, Mapping | list) and item:
        return "\n" + to_yaml(item, indent + 1)
    text = json.dumps(item, ensure_ascii=False)
    if isinstance(item, float) and "." not in text:
        text = text.replace("e", ".0e")  # YAML 1.1 takes 1e-06 for a word
    return " " + text


_NOT_KEYS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_PLAIN_KEY = re.compile(r"[A-Za-z_/$][A-Za-z0-9_/{}.-]*")


def _key(key: str) -> str:
    plain = _PLAIN_KEY.fullmatch(key) and key.lower() not in _NOT_KEYS
    return key if plain else json.dumps(key)
