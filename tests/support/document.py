"""The server as its OpenAPI document describes it, operation by operation, and a caller for whom each is meant."""

import re
from collections.abc import Mapping
from typing import Any

import attrs
import httpx

from tests.support.house import QUERIES, Stage
from tests.support.node import INTERNAL_KEY

_METHODS = ("get", "post", "put", "patch", "delete")


@attrs.frozen
class Documented:
    """One operation of the document."""

    method: str
    path: str
    spec: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The operationId."""
        return str(self.spec["operationId"])

    @property
    def example(self) -> Any:
        """The example of its body, if it has one."""
        return self.spec.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")

    def takes(self, name: str, place: str) -> Mapping[str, Any] | None:
        """The schema of a parameter, or None without it."""
        found = [each["schema"] for each in self.spec["parameters"] if (each["name"], each["in"]) == (name, place)]
        return found[0] if found else None

    def headers(self, stage: Stage) -> dict[str, str]:
        """Of whom it is meant for: Mira in her house, the operator, or nobody in particular."""
        ways = {scheme for way in self.spec["security"] for scheme in way}
        if "bearerAuth" in ways:
            return dict(stage.mira)
        return {"X-Api-Key": INTERNAL_KEY} if ways else {}

    def url(self, things: Mapping[str, str], **query: object) -> str:
        """Its address, about those things; *query* comes before what must be asked anyway."""
        noun = self.path.strip("/").partition("/")[0]
        path = re.sub(r"\{(\w+)\}", lambda found: things[f"{noun}.{found[1]}"], self.path)
        asked = dict(part.split("=") for part in QUERIES.get(self.id, "").split("&") if part)
        asked |= {name: str(value) for name, value in query.items()}
        return f"{path}?{httpx.QueryParams(asked)}" if asked else path

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


async def documented(http: httpx.AsyncClient) -> tuple[Documented, ...]:
    """Every operation of the server's own document."""
    paths = (await http.get("/openapi.json")).json()["paths"]
    return tuple(
        Documented(method.upper(), path, spec)
        for path, methods in paths.items()
        for method, spec in methods.items()
        if method in _METHODS
    )
