"""What the composition root starts: the supervisor of providers, and the clients behind them."""

from collections.abc import Collection, Mapping
from typing import Protocol

from understudy.actors.errors import NotFound
from understudy.actors.inference import claude, gemini, openai
from understudy.actors.inference.claude import ClaudeClient
from understudy.actors.inference.client import ModelClient
from understudy.actors.inference.gemini import GeminiClient
from understudy.actors.inference.messages import KIND
from understudy.actors.inference.openai import OpenAIClient
from understudy.actors.inference.provider import Provider, ProviderLimits
from understudy.actors.inference.rehearsal import PROVIDER as BUILTIN
from understudy.actors.inference.rehearsal import Rehearsal
from understudy.actors.inference.timeouts import Timeouts
from understudy.runtime import ChildSpec, DynamicSpec


class ProviderConfig(Protocol):
    """A provider as configured (`understudy.config.ProviderSettings`)."""

    @property
    def api_key(self) -> str | None:
        """The key, if it needs one."""
        ...

    @property
    def base_url(self) -> str | None:
        """Where it is; None is the provider's own address."""
        ...


def open_clients(
    providers: Mapping[str, ProviderConfig], *, timeouts: Timeouts | None = None, word_delay: float = 0.004
) -> dict[str, ModelClient]:
    """A client for each configured provider, and the built-in one. Opens no connection.

    ``claude`` and ``gemini`` are spoken to in their own dialects, all others in OpenAI's form, and need a base URL
    unless they are ``openai``: ValueError for one without. *word_delay* is the rehearsal's pace in seconds a word.
    """
    clients: dict[str, ModelClient] = {BUILTIN: Rehearsal(delay=word_delay)}
    for name, provider in providers.items():
        if name == BUILTIN:
            raise ValueError(f"the name {BUILTIN!r} is taken by the built-in provider")
        clients[name] = _client(name, provider, timeouts)
    return clients


def _client(name: str, provider: ProviderConfig, timeouts: Timeouts | None) -> ModelClient:
    url, key = provider.base_url, provider.api_key
    if name == "claude":
        return ClaudeClient(url or claude.DEFAULT_BASE_URL, key, name=name, timeouts=timeouts)
    if name == "gemini" and not (url or "").endswith("/openai"):  # Google's OpenAI form has an address of its own
        return GeminiClient(url or gemini.DEFAULT_BASE_URL, key, name=name, timeouts=timeouts)
    if name == "openai":
        url = url or openai.DEFAULT_BASE_URL
    if url is None:
        raise ValueError(f"provider {name!r} needs a base URL")
    return OpenAIClient(url, key, name=name, timeouts=timeouts)


ENDPOINT_IDLE = 600.0
"""Seconds of quiet after which the actor of an endpoint leaves."""
MOST_ACTORS = 1000
"""Providers and endpoints that may have an actor at a time."""


def inference_tree(providers: Collection[str], limits: ProviderLimits | None = None) -> DynamicSpec:
    """The supervisor of ``inference/<provider>``: an actor for each of *providers*, made when first asked.

    ``inference/<provider>@<host>`` is that of an endpoint of some agent: its failures are not the provider's.
    """

    def child(name: str) -> ChildSpec:
        if "@" in name:
            return ChildSpec(name, Provider, args=(name, limits), idle_after=ENDPOINT_IDLE)
        if name not in providers:
            raise NotFound(f"there is no provider {name!r} here")
        return ChildSpec(name, Provider, args=(name, limits))

    return DynamicSpec("inference", kind=KIND, child=child, max_children=MOST_ACTORS)
