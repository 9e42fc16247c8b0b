"""Checks of what operators and users have set up: providers, agents, skills, keys, the embedder."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import urlsplit

import trio

from understudy.actors.agents.messages import AGENTS, CheckAgent
from understudy.actors.agents.views import view_of
from understudy.actors.diagnostics.check import Check, Finding, passed, warned
from understudy.actors.errors import Conflict, Invalid
from understudy.actors.identity.messages import IDENTITY, ListKeys
from understudy.actors.memory.vectors import Vectors
from understudy.actors.skills.messages import SKILLS, ListSkills
from understudy.runtime import ActorSystem
from understudy.storage.records import Agent

LOOKED_AT = 500
"""Agents that one run looks at."""
NAMED = 3
SOON = timedelta(days=14)
CONNECT = 2.0


class Place(Protocol):
    """Where a provider is, and with what it is asked."""

    @property
    def base_url(self) -> str:
        """The beginning of its addresses."""
        ...

    @property
    def api_key(self) -> str | None:
        """Its key; None for one that wants none."""
        ...


class AllAgents(Protocol):
    """Everybody's agents."""

    async def agents(self, *, limit: int = ..., offset: int = ...) -> tuple[tuple[Agent, ...], int]:
        """One page, and how many there are."""
        ...


def provider_reachable(name: str, place: Place) -> Check:
    """The provider's server takes a connection. Nothing is asked of it, so that nothing is spent."""

    async def run(_: ActorSystem) -> Finding:
        parts = urlsplit(place.base_url)
        host, port = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
        key = "with a key" if place.api_key else "without a key"
        try:
            with trio.fail_after(CONNECT):
                stream = await trio.open_tcp_stream(host, port)
        except (OSError, trio.TooSlowError) as error:
            reason = str(error) or type(error).__name__
            return warned(f"{host}:{port} cannot be reached: {reason}", f"see {name}'s base URL, and the way out")
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)
        return passed(f"{host}:{port} takes connections; {key}")

    return Check(f"inference.{name}", run, within=CONNECT + 1.0)


def agents_sound(store: AllAgents) -> Check:
    """Every agent could be made anew: its model's provider, its tools and its skills are there."""

    async def run(system: ActorSystem) -> Finding:
        agents, total = await store.agents(limit=LOOKED_AT)
        broken = []
        for agent in agents:
            try:
                await system.ask(AGENTS, CheckAgent(agent.id, view_of(agent).document))
            except Invalid as refusal:
                broken.append(f"{agent.id} of {agent.workspace_id}: {refusal.message}")
            except Conflict as refusal:
                # An id that has become everybody's hides nothing; a document that cannot be read does.
                if not refusal.details:
                    broken.append(f"{agent.id} of {agent.workspace_id}: {refusal.message}")
        looked_at = f"{len(agents)} of {total} agents" if len(agents) < total else f"{total} agents"
        if broken:
            more = f" and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
            return warned(
                f"of {looked_at}: {'; '.join(broken[:NAMED])}{more}", "change them, or bring back what is gone"
            )
        return passed(f"{looked_at}: their providers, tools and skills are all there")

    return Check("agents.sound", run, within=10.0)


def skills_read() -> Check:
    """Every skill's file could be read as it is."""

    async def run(system: ActorSystem) -> Finding:
        found = await system.ask(SKILLS, ListSkills(), timeout=2.0)
        if found.problems:
            told = "; ".join(f"{each.skill_id}: {each.problem}" for each in found.problems[:NAMED])
            return warned(told, "correct its SKILL.md; a skill that was read before stays as it was")
        return passed(f"{len(found.skills)} skills")

    return Check("skills.read", run)


def keys_current(now: Callable[[], datetime]) -> Check:
    """No internal key is about to run out unnoticed."""

    async def run(system: ActorSystem) -> Finding:
        keys = [key for key in await system.ask(IDENTITY, ListKeys(), timeout=2.0) if key.revoked_at is None]
        soon = [key for key in keys if key.expires_at is not None and key.expires_at <= now() + SOON]
        if soon:
            told = ", ".join(f"{key.name} ({key.expires_at:%Y-%m-%d})" for key in soon[:NAMED])
            return warned(f"these internal keys run out, or have: {told}", "make others, then revoke them")
        return passed(f"{len(keys)} internal keys")

    return Check("secrets.keys", run)


def embedder_answers(vectors: Vectors, now: Callable[[], datetime]) -> Check:
    """Texts become vectors: else memory is searched by words alone."""

    async def run(_: ActorSystem) -> Finding:
        # Once a day the embedder is truly asked; else what is known of its last answer will do, and costs nothing.
        made = await vectors.of(f"the node is well on {now():%Y-%m-%d}")
        if made is None or vectors.failure is not None:
            hint = "memory is searched by words until it does"
            return warned(f"{vectors.name} makes no vectors: {vectors.failure}", hint)
        return passed(f"vectors are made by {vectors.name}")

    return Check("memory.embedder", run)


def upkeep_checks(
    providers: Mapping[str, Place], agents: AllAgents, vectors: Vectors | None, now: Callable[[], datetime]
) -> tuple[Check, ...]:
    """The checks that need the whole tree."""
    return (
        *(provider_reachable(name, place) for name, place in sorted(providers.items())),
        *(() if vectors is None else (embedder_answers(vectors, now),)),
        agents_sound(agents),
        skills_read(),
        keys_current(now),
    )
