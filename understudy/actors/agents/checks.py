"""What an agent's configuration must be beside well-formed: all that is wrong with it is said at once."""

import re
from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

from understudy.actors.agents.config import AGENT_ID
from understudy.actors.agents.document import AgentDocument, ModelName
from understudy.actors.agents.template import TemplateError, check_template
from understudy.actors.errors import Detail, Invalid
from understudy.actors.inference.rehearsal import MODEL as REHEARSAL
from understudy.actors.inference.rehearsal import PROVIDER as BUILTIN

PROVIDERS = frozenset(
    {
        "openai", "claude", "anthropic", "gemini", "grok", "groq", "mistral", "openrouter", "ollama", "vllm",
        "bedrock", "custom", "builtin",
    }
)  # fmt: skip
"""Providers that are known by name; the node may have more of its own."""

RESERVED = frozenset({"search", "cache", "agents"})
"""Ids that no agent may have: they are words of routes."""

MOST_SAID = 10
"""Problems that the message spells out; the details have them all."""

_Found = tuple[Detail, str]


def check_agent(
    agent_id: str,
    document: AgentDocument,
    *,
    providers: Collection[str],
    tools: Collection[str],
    skills: Collection[str],
) -> None:
    """Raise `Invalid`, with a detail for each field, unless the agent could run on a node with these.

    *providers* are those the node has configured, beside the ones known by name.
    """
    problems = [
        *_id(agent_id),
        *_model(document, providers),
        *_template(document),
        *_unknown("tools.allow", document.tools.allow, tools, "tool"),
        *_unknown("tools.deny", document.tools.deny, tools, "tool"),
        *_unknown("skills", document.skills, skills, "skill"),
        *_paths(document),
    ]
    if problems:
        details, words = zip(*problems, strict=True)
        raise Invalid("; ".join(words[:MOST_SAID]), details=details)


def _id(agent_id: str) -> Iterator[_Found]:
    if not re.fullmatch(AGENT_ID, agent_id):
        yield (
            Detail("id", "invalid_value"),
            "id: lower-case letters, digits, - and _; at most 64; no - or _ at the start",
        )
    if agent_id in RESERVED:
        yield Detail("id", "reserved"), f"id: {agent_id!r} is a reserved word"


def _model(document: AgentDocument, providers: Collection[str]) -> Iterator[_Found]:
    model, endpoint = document.model, document.model.endpoint
    named: dict[str, ModelName] = {"model": model}
    named |= {f"model.fallbacks[{at}]": fallback for at, fallback in enumerate(model.fallbacks)}
    for path, each in named.items():
        if each.provider not in PROVIDERS and each.provider not in providers:
            said = f"{path}.provider: there is no provider {each.provider!r}"
            yield Detail(f"{path}.provider", "unknown_provider"), said
        if each.provider == BUILTIN and each.model_id != REHEARSAL:
            said = f"{path}.modelId: the only built-in model is {REHEARSAL!r}"
            yield Detail(f"{path}.modelId", "unknown_model"), said
    answer = model.max_output_tokens + (model.thinking_tokens or 0)
    if model.max_context_tokens is not None and answer >= model.max_context_tokens:
        said = f"model.maxOutputTokens: with what it may think, the answer fills all {model.max_context_tokens} tokens"
        yield Detail("model.maxOutputTokens", "leaves_no_room", model.max_context_tokens - 1), said
    if endpoint is not None and not _is_endpoint(endpoint):
        said = "model.endpoint: not an http or https URL without a user, a query or a fragment"
        yield Detail("model.endpoint", "invalid_url"), said


def _is_endpoint(endpoint: str) -> bool:
    if not endpoint.isascii() or not endpoint.isprintable() or " " in endpoint:
        return False
    try:
        parts = urlsplit(endpoint)
        has_host = bool(parts.hostname) and parts.port != 0  # reading the port is what checks it
    except ValueError:
        return False
    plain = "@" not in parts.netloc and not parts.query and not parts.fragment
    return parts.scheme in {"http", "https"} and has_host and plain


def _template(document: AgentDocument) -> Iterator[_Found]:
    try:
        check_template(document.system_prompt_template)
    except TemplateError as error:
        yield Detail("systemPromptTemplate", "bad_template"), f"systemPromptTemplate: {error}"


def _unknown(path: str, named: tuple[str, ...], known: Collection[str], what: str) -> Iterator[_Found]:
    for position, name in enumerate(named):
        if name not in known:
            yield Detail(f"{path}[{position}]", f"unknown_{what}"), f"{path}: there is no {what} {name!r}"


def _paths(document: AgentDocument) -> Iterator[_Found]:
    for position, path in enumerate(document.file_access.allowed_paths):
        if ".." in path.replace("\\", "/").split("/"):
            at = f"fileAccess.allowedPaths[{position}]"
            yield Detail(at, "leaves_the_folder"), f"{at}: a path must not lead upwards"
