"""Rows into what is shown of agents, and back."""

from datetime import datetime

from understudy.actors.agents.document import from_json, to_json
from understudy.actors.agents.messages import AgentDocument, AgentView, Author, GrantView, Source, VersionView
from understudy.actors.made import made_id
from understudy.storage.records import Agent, AgentVersion, Grant


def first_version(author: Author, document: AgentDocument, now: datetime) -> AgentVersion:
    """A new version with this content; its number is the database's to say."""
    return AgentVersion(made_id("agv"), 1, to_json(document), now, created_by=author.uid)


def view_of(agent: Agent, grant: Grant | None = None) -> AgentView:
    """A stored agent as it is shown, to whom it was granted when it was.

    Raises `Conflict` when this version of the server cannot read it.
    """
    own = Source.GLOBAL if agent.workspace_id is None else Source.WORKSPACE
    return AgentView(
        id=agent.id,
        workspace_id=agent.workspace_id,
        document=from_json(agent.current.config),
        version=agent.current.version,
        revision=agent.current.id,
        source=own if grant is None else Source.GRANTED,
        created_at=agent.created_at,
        updated_at=agent.updated_at,
        grant=None if grant is None else GrantView(grant.readonly, grant.expires_at),
    )


def only_version(agent: AgentView) -> VersionView:
    """The one version of an agent that is not in the database."""
    return VersionView(agent.version, agent.document, current=True)


def version_view(version: AgentVersion, current: int) -> VersionView:
    """A stored version as it is shown, when *current* is the number of the present one. Raises as `view_of`."""
    return VersionView(
        version=version.version,
        document=from_json(version.config),
        current=version.version == current,
        label=version.label,
        created_by=version.created_by,
        created_at=version.created_at,
    )
