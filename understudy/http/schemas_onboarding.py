"""The JSON of `/onboarding`."""

from typing import Annotated, Any

from msgspec import Meta

from understudy.actors.agents.messages import AgentDocument, AgentId
from understudy.actors.onboarding.messages import Template
from understudy.http.schemas import Wire, Workspace
from understudy.http.schemas_agents import Agent
from understudy.http.schemas_workspaces import Plan, WorkspaceName


class FirstAgent(AgentDocument, frozen=True, kw_only=True):
    """An agent to begin with; as `POST /agents` takes them."""

    id: AgentId


class SetupRequest(Wire, frozen=True):
    """What to set up. Agents are templates by name, or whole configurations."""

    workspace_name: WorkspaceName | None = None
    plan: Plan | None = None
    agents: Annotated[tuple[Template | FirstAgent, ...], Meta(max_length=20)] = (Template.ASSISTANT,)
    provider: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    model_id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    profile: dict[str, Any] | None = None
    force: bool = False


class SetupDone(Wire, frozen=True):
    """The workspace and its own agents; ``created``: by this request."""

    workspace: Workspace
    agents: list[Agent]
    created: bool
