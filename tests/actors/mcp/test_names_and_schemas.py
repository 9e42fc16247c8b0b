"""What tools are called here, who may be allowed them, and what their arguments are held to."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cost import least_seconds
from understudy.actors.agents.document import AgentDocument
from understudy.actors.agents.tooling import granted
from understudy.actors.inference.messages import ToolSpec
from understudy.actors.mcp.client.schema import BadSchema, checker, usable
from understudy.actors.mcp.library import RemoteTools
from understudy.actors.mcp.names import LONGEST, could_be_of, tool_name
from understudy.actors.mcp.ports import CallResult, McpFailed, Offer, OfferedTool
from understudy.actors.tools.messages import ToolContext
from understudy.actors.tools.tool import Arguments, Tool, ToolFailed
from understudy.actors.tools.toolbox import Toolbox
from understudy.storage.records import ToolCall

CONTEXT = ToolContext("ws", "usr", "agent", "ses", "trn")


@given(st.text(max_size=200))
def test_every_tool_gets_a_name_that_providers_take_and_agents_may_name(tool: str) -> None:
    name = tool_name("lab", tool)
    assert len(name) <= LONGEST
    assert name.isascii()
    assert name.replace("-", "_").replace("_", "a").isalnum()
    assert could_be_of("lab", name) == bool(tool)
    assert not could_be_of("la", name)


@pytest.mark.parametrize("name", ["mcp__lab__*", "mcp__lab__read_*", "mcp__lab__x"])
def test_an_agent_may_name_what_is_to_come(name: str) -> None:
    assert RemoteTools(["lab"]).expects(name)


@pytest.mark.parametrize("name", ["*", "mcp__*", "mcp__lab*", "mcp__lab__", "mcp__lab__*x", "mcp__lib__x", "lab__x"])
def test_nothing_else_is_waited_for(name: str) -> None:
    assert not RemoteTools(["lab"]).expects(name)


class Connection:
    """A server that answers with its tool's name, or fails."""

    peer, protocol, busy = "fake", "1", False

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> CallResult:
        await trio.lowlevel.checkpoint()
        if self.fails:
            raise McpFailed("it is not well")
        return CallResult(f"{tool} {dict(arguments)}", ok=True)

    async def tools(self) -> Offer:
        raise AssertionError("nobody calls this here")

    async def ping(self) -> None:
        raise AssertionError("nobody calls this here")

    async def wait_changed(self) -> None:
        raise AssertionError("nobody calls this here")


def offered(*names: str) -> list[OfferedTool]:
    return [OfferedTool(name, "", {"type": "object"}, lambda _: None) for name in names]


def agent(**tools: list[str]) -> AgentDocument:
    model = {"provider": "openai", "modelId": "x"}
    return msgspec.convert({"model": model, "systemPromptTemplate": "x", "tools": tools}, AgentDocument)


def test_a_wildcard_is_all_there_are_without_what_is_denied() -> None:
    library = RemoteTools(["lab", "time"])
    library.replace("lab", Connection(), offered("read", "write", "write_all"), 1.0)
    library.replace("time", Connection(), offered("now"), 1.0)
    wanted = agent(allow=["clock", "mcp__lab__*", "mcp__time__later"], deny=["mcp__lab__write*"])
    assert [tool.name for tool in granted(wanted, {}, library)] == ["clock", "mcp__lab__read", "mcp__time__later"]
    skilled = msgspec.structs.replace(agent(deny=["mcp__time__*"]), skills=("s",))
    found = granted(skilled, {"s": ("mcp__lab__write*", "mcp__time__now")}, library)
    assert [(tool.name, tool.source) for tool in found] == [
        ("mcp__lab__write", "skill:s"),
        ("mcp__lab__write_all", "skill:s"),
    ]


async def test_the_toolbox_offers_what_can_be_called_and_runs_what_is_known() -> None:
    class Nothing(Arguments, frozen=True):
        pass

    async def clock(arguments: Nothing, context: ToolContext) -> str:
        del arguments, context
        await trio.lowlevel.checkpoint()
        return "noon"

    ran: list[str] = []
    library = RemoteTools(["lab"])
    own = Tool("clock", "", Nothing, clock)
    box = Toolbox([own], others=library, report=lambda report: ran.append(report.name))

    async def run(name: str, arguments: str = "{}") -> tuple[bool, str]:
        result = await box.run(ToolCall("c", name, arguments), CONTEXT)
        return result.ok, result.content

    def names(specs: tuple[ToolSpec, ...]) -> list[str]:
        return [spec.name for spec in specs]

    assert names(box.specs()) == ["clock"]
    assert "there is no tool" in (await run("mcp__lab__read"))[1]
    left_out = library.replace("lab", Connection(), offered("read", "a b", "a.b"), 1.0)
    assert [each.tool for each in left_out] == ["a.b"]
    assert names(box.specs()) == ["clock", "mcp__lab__read", "mcp__lab__a_b"]
    assert names(box.specs(["mcp__lab__read", "mcp__lab__gone"])) == ["mcp__lab__read"]
    assert await run("mcp__lab__a_b", '{"x": 1}') == (True, "a b {'x': 1}")
    assert await run("mcp__lab__read", "[1]") == (False, "bad arguments for mcp__lab__read: they must be a JSON object")
    assert "not valid JSON" in (await run("mcp__lab__read", "{"))[1]
    library.replace("lab", Connection(fails=True), offered("read"), 1.0)
    assert await run("mcp__lab__read") == (False, "the MCP server 'lab' failed: it is not well")
    library.lose("lab", "it went home")
    assert names(box.specs()) == ["clock"]
    assert "is away: it went home" in (await run("mcp__lab__read"))[1]
    assert set(ran) == {"mcp__lab__a_b", "mcp__lab__read"}


def test_a_schema_that_refers_to_itself_a_million_times_costs_nobody_anything() -> None:
    definitions: dict[str, Any] = {"d0": {"type": "integer"}}
    for level in range(1, 40):
        definitions[f"d{level}"] = {"allOf": [{"$ref": f"#/$defs/d{level - 1}"}] * 2}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d39"}}, "$defs": definitions}
    assert usable(schema)["properties"]
    checker("bomb", schema)({"a": 1})
    for wrong in ({"type": "array"}, {"type": "object", "required": "a"}, {"type": "object", "title": "x" * 40_000}):
        with pytest.raises(BadSchema):
            usable(wrong)


def test_what_lies_elsewhere_is_not_fetched_and_patterns_are_not_run() -> None:
    elsewhere = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/schema"}}}
    checker("far", elsewhere)({"a": 1})
    slow = {
        "type": "object",
        "properties": {"a": {"pattern": "^(a+)+$"}, "b": {"type": "integer"}},
        "patternProperties": {"^(a+)+$": {}},
        "additionalProperties": False,
    }
    check = checker("slow", slow)
    check({"a": "a" * 5000 + "b", "c": 1})
    with pytest.raises(ToolFailed, match=r"\$\.b: 'x' is not of type 'integer'"):
        check({"b": "x"})


@pytest.mark.parametrize(
    "more",
    [
        {"$schema": 5},
        {"$schema": []},
        {"$schema": "http://json-schema.org/draft-03/schema#", "properties": {"a": {"type": "colour"}}},
        {"$schema": "http://json-schema.org/draft-04/schema#", "properties": {"a": {"$ref": 5}}},
        {"properties": {"a": {"$id": "http://[", "$ref": "y"}}},
        {"properties": {"a": {"$ref": "#/title"}}, "title": "no schema"},
        {"properties": {"a": {"$ref": "#/default"}}, "default": {"minimum": "no number"}},
        {"properties": {"a": {"multipleOf": 1e-300}}},
    ],
)
def test_a_schema_that_makes_no_sense_leaves_its_tool_out_or_is_the_servers_affair(more: dict[str, Any]) -> None:
    schema = {"type": "object", **more}
    try:
        usable(schema)
    except BadSchema:
        return
    checker("odd", schema)({"a": 10**400})


@pytest.mark.parametrize("prop", [{"uniqueItems": True}, {"anyOf": [{"type": "string"}] * 1500}])
def test_arguments_that_take_long_to_check_are_left_to_the_server(prop: dict[str, Any]) -> None:
    check = checker("slow", {"type": "object", "properties": {"a": prop}})
    arguments = {"a": [{"k": n} for n in range(6000)]}
    assert least_seconds(lambda: check(arguments)) < 0.2
