"""An agent as it may run in a workspace: by the workspace's clock, on no model that the workspace does not allow."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

from understudy.actors.agents.config import AgentConfig, Spawning
from understudy.actors.agents.document import ALIASES
from understudy.actors.agents.messages import GrantView
from understudy.actors.errors import ModelRestricted
from understudy.storage.records import Restrictions, Workspace


def run_in(config: AgentConfig, workspace: Workspace | None, grant: GrantView | None = None) -> AgentConfig:
    """The agent as it runs there; without a workspace, as it is.

    Fallbacks that the workspace does not allow are left out: they would only have been asked in need. What a *grant* is
    readonly for starts no sub-agents. Raises `ModelRestricted`, which names the provider or the model, when the agent's
    own model is not allowed.
    """
    if workspace is None:
        return config
    allowed = workspace.restrictions
    _check(allowed, config.provider, config.model_id)
    return attrs.evolve(
        config,
        workspace_name=workspace.name,
        timezone=time_zone(workspace),
        fallbacks=tuple(each for each in config.fallbacks if _allows(allowed, each.provider, each.model_id)),
        spawn=Spawning() if grant is not None and grant.readonly else config.spawn,
    )


def time_zone(workspace: Workspace) -> str:
    """The workspace's time zone: what its settings say, else UTC. Never one that this node does not know."""
    name = workspace.settings.get("timezone")
    try:
        return ZoneInfo(name).key if isinstance(name, str) else "UTC"
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return "UTC"


def _check(allowed: Restrictions, provider: str, model_id: str) -> None:
    if not _allows_provider(allowed, provider):
        raise ModelRestricted(f"this workspace does not allow the provider {provider!r}")
    if not _allows(allowed, provider, model_id):
        raise ModelRestricted(f"this workspace does not allow the model {f'{provider}/{model_id}'!r}")


def _allows_provider(allowed: Restrictions, provider: str) -> bool:
    return allowed.providers is None or provider in {ALIASES.get(name, name) for name in allowed.providers}


def _allows(allowed: Restrictions, provider: str, model_id: str) -> bool:
    """A model is allowed by its own name, whoever provides it, or by ``provider/model``."""
    if not _allows_provider(allowed, provider):
        return False
    if allowed.models is None:
        return True
    names = {provider} | {alias for alias, name in ALIASES.items() if name == provider}
    return not {model_id, *(f"{name}/{model_id}" for name in names)}.isdisjoint(allowed.models)
