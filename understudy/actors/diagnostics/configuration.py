"""Checks of what the operator configured: secrets, providers, agents."""

from collections.abc import Mapping

import trio

from understudy.actors.agents.builtin import CHAD
from understudy.actors.agents.messages import AGENTS, ResolveAgent
from understudy.actors.diagnostics.check import Check, Finding, failed, passed, warned
from understudy.actors.errors import NotFound
from understudy.runtime import ActorSystem

SHORTEST_SECRET = 32
FEWEST_DIFFERENT = 12
"""A random secret of 32 hexadecimal digits has 16 different ones, give or take two."""
KNOWN_DEFAULTS = ("changeme", "change-me", "change_me", "secret", "password", "example", "your-", "default")


def jwt_secret_strong(secret: str) -> Check:
    """The secret that signs tokens cannot be guessed."""

    async def run(_: ActorSystem) -> Finding:
        await trio.lowlevel.checkpoint()
        hint = "set JWT_SECRET to 64 random characters, the old one as JWT_SECRET_PREV, and restart"
        if len(secret) < SHORTEST_SECRET:
            return failed(f"the secret has {len(secret)} characters, fewer than {SHORTEST_SECRET}", hint)
        if any(word in secret.lower() for word in KNOWN_DEFAULTS):
            return failed("the secret looks like one from an example", hint)
        if len(set(secret)) < FEWEST_DIFFERENT:
            return warned("the secret repeats a few characters", hint)
        return passed(f"{len(secret)} characters")

    return Check("secrets.jwt", run)


def internal_key_set(key: str) -> Check:
    """There is a key for the operator's routes."""

    async def run(_: ActorSystem) -> Finding:
        await trio.lowlevel.checkpoint()
        if not key:
            return warned("no internal key is configured: the operator's routes answer 503", "set INTERNAL_API_KEY")
        if len(key) < SHORTEST_SECRET // 2:
            return warned(f"the key has only {len(key)} characters", "set INTERNAL_API_KEY to 32 random characters")
        return passed("an internal key is configured")

    return Check("secrets.internal_key", run)


def providers_configured(providers: Mapping[str, object], model: str) -> Check:
    """There is a provider, and the default model's is among them."""

    async def run(_: ActorSystem) -> Finding:
        await trio.lowlevel.checkpoint()
        provider = model.partition("/")[0]
        if provider == "builtin":
            return warned(
                "agents speak through builtin/rehearsal, which is no language model",
                "give a provider's key, such as OPENAI_API_KEY",
            )
        if provider not in providers:
            return failed(
                f"the default model {model} is of a provider that is not configured",
                "give that provider's key or base URL, or set UNDERSTUDY_MODEL",
            )
        return passed(f"{', '.join(sorted(providers))}; the default model is {model}")

    return Check("inference.providers", run)


def chad_present() -> Check:
    """The agent that every request means which names none is there."""

    async def run(system: ActorSystem) -> Finding:
        try:
            agent = await system.ask(AGENTS, ResolveAgent("", CHAD), timeout=2.0)
        except NotFound:
            return failed("there is no agent chad", "chats that name no agent fail; restore the built-in agents")
        return passed(f"chad speaks through {agent.provider}/{agent.model_id}")

    return Check("agents.chad", run)
