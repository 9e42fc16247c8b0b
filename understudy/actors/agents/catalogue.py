"""Every agent there is, from the database and from the server itself; what becomes of a change to one."""

import logging
import re
from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import datetime

import attrs

from understudy.actors.agents.checks import check_agent
from understudy.actors.agents.config import AGENT_ID, AgentConfig
from understudy.actors.agents.document import config_of, from_json, to_json
from understudy.actors.agents.messages import (
    AgentDocument,
    AgentPage,
    AgentView,
    Author,
    Capabilities,
    Capability,
    CheckAgent,
    CreateAgent,
    DeleteAgent,
    GetVersion,
    LabelVersion,
    ListAgents,
    ListVersions,
    ReplaceAgent,
    RollBack,
    VersionPage,
    VersionView,
)
from understudy.actors.agents.ports import AgentStore, GrantedAgents
from understudy.actors.agents.tooling import Roster, Skills, Texts, granted
from understudy.actors.agents.views import first_version, only_version, version_view, view_of
from understudy.actors.audit.messages import act_of
from understudy.actors.errors import Conflict, Detail, Forbidden, NotFound, PreconditionFailed
from understudy.actors.inference.messages import ToolSpec
from understudy.actors.made import is_keyed, made_id
from understudy.storage.errors import StoreConflict
from understudy.storage.records import Agent, AgentVersion, AuditEntry

LAST_VERSION = 2**31 - 1
"""What the database counts to."""

log = logging.getLogger(__name__)

Tools = Callable[[], Awaitable[tuple[ToolSpec, ...]]]
"""Asks which tools this node has."""


class Catalogue:
    """The agents of the node, read anew each time; see `messages` for what each method refuses with.

    What comes with the server (*builtin*) is everybody's, and its ids are nobody else's. What comes from the
    configuration (*seeds*) is everybody's too, but a workspace that has had an agent of that id keeps its own.
    """

    def __init__(
        self,
        builtin: Iterable[AgentView],
        store: AgentStore,
        grants: GrantedAgents,
        *,
        seeds: Iterable[AgentView],
        providers: Collection[str],
        tools: Tools,
        skills: Skills,
        texts: Texts,
        roster: Roster,
        now: Callable[[], datetime],
    ) -> None:
        self._builtin = {agent.id: agent for agent in builtin}
        self._seeds = {agent.id: agent for agent in seeds}
        self._store = store
        self._grants = grants
        self._providers = providers
        self._tools = tools
        self._skills = skills
        self._texts = texts
        self._roster = roster
        self._now = now

    def runnable(self, agent: AgentView) -> AgentConfig:
        """The agent as it is run, with its skills as they are now."""
        document = agent.document
        names = tuple(tool.name for tool in granted(document, self._skills, self._roster))
        texts = tuple(self._texts[skill] for skill in document.skills if skill in self._texts)
        return config_of(agent.id, document, names, texts)

    async def get(self, workspace_id: str, agent_id: str) -> AgentView:
        """One agent."""
        found = await self._stored(workspace_id, agent_id)
        return view_of(found) if found is not None else await self._not_stored(workspace_id, agent_id)

    async def list(self, message: ListAgents) -> AgentPage:
        """A page of agents."""
        stored: dict[str, AgentView] = {}
        granted: dict[str, AgentView] = {}
        found = [(agent, None) for agent in await self._store.list(message.workspace_id)]
        for agent, grant in (*found, *await self._grants.all_granted(message.workspace_id, now=self._now())):
            try:
                (stored if grant is None else granted)[agent.id] = view_of(agent, grant)
            except Conflict as error:  # one unreadable agent must not hide the others
                log.error("agent %s of %s left out: %s", agent.id, agent.workspace_id, error)  # noqa: TRY400  # where is known
        agents = sorted((granted | self._seeds | stored | self._builtin).values(), key=lambda agent: agent.id)
        end = None if message.limit is None else message.offset + message.limit
        return AgentPage(tuple(agents[message.offset : end]), len(agents))

    async def capabilities(self, workspace_id: str, agent_id: str) -> Capabilities:
        """What the agent can do."""
        document = (await self.get(workspace_id, agent_id)).document
        specs = {spec.name: spec for spec in await self._tools()}
        tools = tuple(
            Capability(tool.name, specs[tool.name].description, tool.source)
            for tool in granted(document, self._skills, self._roster)
            if tool.name in specs
        )
        skills = tuple(skill for skill in document.skills if skill in self._skills)
        return Capabilities(agent_id, skills, tools, document.tools.deny)

    async def check(self, message: CheckAgent) -> AgentDocument:
        """What the document would be stored as."""
        if message.agent_id in self._builtin or message.agent_id in self._seeds:
            raise _taken(message.agent_id)
        return await self._checked(message.agent_id, message.document)

    async def create(self, message: CreateAgent) -> AgentView:
        """Make an agent."""
        author, agent_id, now = message.author, message.agent_id, self._now()
        document = await self._checked(agent_id, message.document)
        if agent_id in self._builtin or agent_id in self._seeds or await self._is_global(author, agent_id):
            raise _taken(agent_id)
        version = first_version(author, document, now)
        agent = Agent(made_id("agc"), author.workspace_id, agent_id, version, now, now)
        try:
            await self._store.create(agent, self._audit("agent.created", author, agent_id, version=1))
        except StoreConflict as conflict:
            if conflict.what == "agent id":
                raise _taken(agent_id) from conflict
            raise Conflict("this workspace has as many agents as it may: delete one first") from conflict
        # An earlier attempt's, if that came so far: its version and times are those that count.
        found = await self._stored(author.workspace_id, agent_id) if is_keyed() else None
        return view_of(found or agent)

    async def replace(self, message: ReplaceAgent) -> AgentView:
        """Give an agent another configuration."""
        await self._own(message.author, message.agent_id)
        document = await self._checked(message.agent_id, message.document)
        return await self._revise(message, document, "agent.updated")

    async def roll_back(self, message: RollBack) -> AgentView:
        """Give an agent a configuration it had."""
        await self._own(message.author, message.agent_id)
        version = await self._version(message.author.workspace_id, message.agent_id, message.version)
        document = await self._checked(message.agent_id, from_json(version.config))
        label = f"rollback to version {message.version}"
        return await self._revise(message, document, "agent.rolled_back", label)

    async def delete(self, message: DeleteAgent) -> None:
        """Delete an agent."""
        author, agent_id = message.author, message.agent_id
        await self._own(author, agent_id)
        audit = self._audit("agent.deleted", author, agent_id)
        try:
            done = await self._store.delete(
                author.workspace_id, agent_id, audit, now=self._now(), expected=message.expected
            )
        except StoreConflict as conflict:
            raise _changed() from conflict
        if not done:
            raise _missing()

    async def versions(self, message: ListVersions) -> VersionPage:
        """A page of an agent's versions."""
        agent = await self.get(message.workspace_id, message.agent_id)
        _check_history(agent)
        if agent.created_at is None:
            only = (only_version(agent),)
            return VersionPage(only[message.offset : message.offset + message.limit], len(only))
        found, total = await self._store.versions(
            message.workspace_id, message.agent_id, limit=message.limit, offset=message.offset
        )
        # They are numbered without gaps, so that the newest, which is the present one, has the number of them all.
        return VersionPage(tuple(version_view(version, total) for version in found), total)

    async def version(self, message: GetVersion) -> VersionView:
        """One version of an agent."""
        agent = await self.get(message.workspace_id, message.agent_id)
        _check_history(agent)
        if agent.created_at is None:
            if message.version != agent.version:
                raise _no_version()
            return only_version(agent)
        found = await self._version(message.workspace_id, message.agent_id, message.version)
        return version_view(found, agent.version)

    async def label(self, message: LabelVersion) -> VersionView:
        """Label a version of an agent."""
        author, agent_id = message.author, message.agent_id
        agent = await self._own(author, agent_id)
        audit = self._audit("agent.version_labelled", author, agent_id, version=message.version, label=message.label)
        if message.version > LAST_VERSION:
            raise _no_version()
        found = await self._store.label(author.workspace_id, agent_id, message.version, message.label, audit)
        if found is None:
            raise _no_version()
        return version_view(found, agent.current.version)

    async def _stored(self, workspace_id: str, agent_id: str) -> Agent | None:
        """The agent from the database; None also for one that comes with the server, or an id that can be nobody's."""
        if agent_id in self._builtin or not re.fullmatch(AGENT_ID, agent_id):
            return None
        return await self._store.find(workspace_id, agent_id)

    async def _not_stored(self, workspace_id: str, agent_id: str) -> AgentView:
        """The agent that is neither the workspace's own nor stored for all. Raises `Forbidden` or `NotFound`."""
        agent = self._builtin.get(agent_id) or self._seeds.get(agent_id)
        if agent is not None:
            return agent
        if not re.fullmatch(AGENT_ID, agent_id):
            raise _missing()
        granted = await self._grants.granted(workspace_id, agent_id, now=self._now())
        if granted is not None:
            return view_of(*granted)
        if await self._store.is_elsewhere(workspace_id, agent_id):
            raise Forbidden("this agent belongs to another workspace, which has not granted it to this one")
        raise _missing()

    async def _own(self, author: Author, agent_id: str) -> Agent:
        """The agent, if the workspace may change it."""
        found = await self._stored(author.workspace_id, agent_id)
        if found is None:
            agent = await self._not_stored(author.workspace_id, agent_id)
            if agent.grant is not None:
                raise Forbidden("this agent was granted by another workspace; it can be changed there only")
        elif found.workspace_id is not None:
            return found
        raise Forbidden("this agent is everybody's; it cannot be changed from a workspace")

    async def _is_global(self, author: Author, agent_id: str) -> bool:
        found = await self._stored(author.workspace_id, agent_id)
        return found is not None and found.workspace_id is None

    async def _checked(self, agent_id: str, document: AgentDocument) -> AgentDocument:
        """The document with what it leaves open filled in. Raises `Invalid`."""
        known = {spec.name for spec in await self._tools()}
        expected = filter(self._roster.expects, (*document.tools.allow, *document.tools.deny))
        tools = known.union(expected)
        check_agent(agent_id, document, providers=self._providers, tools=tools, skills=self._skills.keys())
        named = document.display_name or agent_id
        return from_json({**to_json(document), "displayName": named})

    async def _revise(
        self, message: ReplaceAgent | RollBack, document: AgentDocument, event: str, label: str | None = None
    ) -> AgentView:
        author, agent_id = message.author, message.agent_id
        version = attrs.evolve(first_version(author, document, self._now()), label=label)
        audit = self._audit(event, author, agent_id)
        if isinstance(message, RollBack):
            audit = attrs.evolve(audit, metadata={"from": message.version})
        try:
            agent = await self._store.revise(author.workspace_id, agent_id, version, audit, expected=message.expected)
        except StoreConflict as conflict:
            raise _changed() from conflict
        if agent is None:
            raise _missing()
        return view_of(agent)

    async def _version(self, workspace_id: str, agent_id: str, version: int) -> AgentVersion:
        found = await self._store.version(workspace_id, agent_id, version) if version <= LAST_VERSION else None
        if found is None:
            raise _no_version()
        return found

    def _audit(self, event: str, author: Author, agent_id: str, **metadata: object) -> AuditEntry:
        return act_of(author, event, self._now(), metadata, agent_id=agent_id)


def _check_history(agent: AgentView) -> None:
    if agent.grant is not None:
        raise Forbidden("this agent was granted by another workspace; its history is not part of that")


def _missing() -> NotFound:
    return NotFound("there is no such agent in this workspace")


def _no_version() -> NotFound:
    return NotFound("the agent has no such version")


def _taken(agent_id: str) -> Conflict:
    return Conflict(f"the id {agent_id!r} is taken", details=(Detail("id", "taken"),))


def _changed() -> PreconditionFailed:
    return PreconditionFailed("the agent was changed since you read it; read it again")
