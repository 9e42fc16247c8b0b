"""An agent's document, whatever somebody sends for one."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.agents.checks import check_agent
from understudy.actors.agents.document import AgentDocument, config_of, from_json, to_json
from understudy.actors.agents.tooling import granted
from understudy.actors.errors import Detail, Invalid

TOOLS = ("clock", "web")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NUMBER = st.integers(-2, 200) | st.floats(-1, 3)
NAMES = st.lists(st.sampled_from([*TOOLS, "sword", ""]), max_size=4)


def table(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A table with some of these fields, each as it should be or anything at all."""
    return st.fixed_dictionaries({}, optional={name: field | JSON for name, field in fields.items()})


MODELS = table(
    provider=st.sampled_from(["openai", "anthropic", "builtin", "acme"]),
    modelId=st.sampled_from(["gpt", "rehearsal"]),
    temperature=NUMBER,
    maxOutputTokens=NUMBER,
    maxContextTokens=NUMBER,
    endpoint=st.sampled_from(["http://host/v1", "https://[::1]:8", "http://[", "x"]) | st.text(max_size=9),
    fallbacks=st.lists(table(provider=st.just("openai"), modelId=st.just("m")), max_size=2),
)
DOCUMENTS = table(
    displayName=st.text(max_size=5),
    tier=st.sampled_from(["free", "premium", "gold"]),
    model=MODELS,
    systemPromptTemplate=st.text(max_size=9) | st.sampled_from(["{{date}}", "{{#if a}}b{{/if}}", "{{#if"]),
    skills=st.lists(st.sampled_from(["research", "juggling"]), max_size=2),
    tools=table(allow=NAMES, deny=NAMES),
    spawn=table(enabled=st.booleans(), allowedTargets=st.lists(st.just("chad"), max_size=2), maxDepth=NUMBER),
    fileAccess=table(restricted=st.booleans(), allowedPaths=st.lists(st.text(max_size=5), max_size=2)),
    session=table(idleTimeoutMinutes=NUMBER, dailyResetHour=NUMBER),
    budget=table(maxTokensPerTurn=NUMBER, maxToolCallsPerTurn=NUMBER, maxCostUsdPerTurn=NUMBER),
)
VALID = {"model": {"provider": "openai", "modelId": "m"}, "systemPromptTemplate": "Help."}


PARTS = {"model", "systemPromptTemplate", "skills", "tools", "fileAccess"}


def accepted(body: Any) -> AgentDocument | tuple[Detail, ...]:
    """The document, or what is wrong with it beside its form."""
    try:
        document = msgspec.json.decode(msgspec.json.encode(body), type=AgentDocument)
        check_agent("helper", document, providers=(), tools=TOOLS, skills=("research",))
    except msgspec.ValidationError as error:
        return (Detail("model", str(error)),)
    except Invalid as refusal:
        return refusal.details
    return document


@given(DOCUMENTS, st.booleans())
def test_whatever_is_sent_is_refused_by_name_or_can_be_stored_read_back_and_run(sent: Any, complete: bool) -> None:
    document = accepted({**VALID, **sent} if complete and isinstance(sent, dict) else sent)
    if isinstance(document, tuple):
        assert document
        assert {detail.path.partition(".")[0].partition("[")[0] for detail in document} <= PARTS
        return
    stored = to_json(document)
    assert from_json(stored) == document
    assert to_json(from_json(stored)) == stored
    names = {tool.name for tool in granted(document, {"research": ("web",)})}
    assert names <= set(TOOLS)
    assert names.isdisjoint(document.tools.deny)
    config = config_of("helper", document, tuple(names))
    assert config.provider != "anthropic"
    assert config.idle_timeout is None or config.idle_timeout >= 60
    assert config.budget.max_cost_micros is None or config.budget.max_cost_micros >= 1


def test_what_a_complete_document_says_survives_being_stored() -> None:
    body = {**VALID, "tools": {"allow": ["clock"]}, "spawn": {"allowedTargets": ["chad"]}, "tier": "free"}
    document = msgspec.convert(body, AgentDocument)
    assert from_json(msgspec.json.decode(msgspec.json.encode(to_json(document)))) == document
