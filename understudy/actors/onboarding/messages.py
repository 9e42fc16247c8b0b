"""How a user's workspace is set up."""

from collections.abc import Mapping
from enum import StrEnum

import attrs

from understudy.actors.agents.messages import AgentDocument as AgentDocument
from understudy.actors.agents.messages import AgentView as AgentView
from understudy.runtime import Ask
from understudy.storage.records import Workspace as Workspace

ONBOARDING = "onboarding"
"""The address of the onboarding actor."""


class Template(StrEnum):
    """Agents that can be asked for by name."""

    ASSISTANT = "assistant"
    RESEARCHER = "researcher"
    CODER = "coder"


@attrs.frozen
class Wanted:
    """An agent of one's own design."""

    id: str
    document: AgentDocument


@attrs.frozen
class SetUp:
    """A workspace with its own agents. ``created`` says that this request set it up."""

    workspace: Workspace
    agents: tuple[AgentView, ...]
    created: bool


@attrs.frozen
class Onboard(Ask[SetUp]):
    """Set up the user's workspace, its agents and a first profile: all or nothing, and once.

    The workspace that came with the account is taken when it is their only one and has no agents yet; it keeps what of
    ``name`` and ``plan`` is None. Who is set up already, or has made more of it, is answered with what there is, unless
    ``force`` makes another workspace. A template that everybody has an agent of the name of is left out. Templates are
    on ``provider`` and ``model_id`` (None: the node's default). Refused with `Invalid`, `TooLarge` (the profile),
    `Conflict` (an agent's id is one of everybody's; too many workspaces), `NotFound` (the user), `Unavailable`.
    """

    uid: str
    agents: tuple[Template | Wanted, ...] = (Template.ASSISTANT,)
    name: str | None = None
    plan: str | None = None
    provider: str | None = None
    model_id: str | None = None
    profile: Mapping[str, object] | None = None
    force: bool = False
    request_id: str | None = None
