"""The actor that sets up what users begin with."""

from collections.abc import Callable
from datetime import datetime

from understudy.actors.agents.messages import AGENTS, AgentView, Author, CheckAgent, ListAgents, Source
from understudy.actors.agents.views import first_version
from understudy.actors.clock import utc_now
from understudy.actors.errors import Conflict, Detail, Invalid, NotFound
from understudy.actors.made import made_id
from understudy.actors.memory.merging import check_depth, check_size
from understudy.actors.onboarding.messages import ONBOARDING, Onboard, SetUp, Template, Wanted
from understudy.actors.onboarding.ports import OnboardingStore
from understudy.actors.onboarding.templates import document_of
from understudy.actors.serving import Server
from understudy.actors.tools.messages import HOST, ListTools
from understudy.actors.workspaces.messages import WORKSPACES, MembershipsChanged
from understudy.runtime import ChildSpec, Deferred, receive
from understudy.storage.errors import Missing, StoreConflict
from understudy.storage.oversight import Onboarding
from understudy.storage.records import Agent, AuditEntry, Workspace

DEFAULT_NAME, DEFAULT_PLAN = "My workspace", "personal"


class Onboarder(Server):
    """Checks everything first, then writes it in one transaction. It remembers nothing."""

    def __init__(self, model: str, store: OnboardingStore, now: Callable[[], datetime]) -> None:
        self._provider, _, self._model_id = model.partition("/")
        self._store = store
        self._now = now

    @receive
    def onboard(self, message: Onboard) -> Deferred[SetUp]:
        """Set up one user."""
        return self.answer(message, self._onboard, message)

    async def _onboard(self, message: Onboard) -> SetUp:
        now = self._now()
        if message.profile is not None:
            check_depth(message.profile)
            check_size(message.profile)
        author = Author("", message.uid, message.request_id)
        workspace = Workspace(
            made_id("ws"), message.name or DEFAULT_NAME, message.uid, message.plan or DEFAULT_PLAN, now
        )
        wish = Onboarding(
            uid=message.uid,
            workspace=workspace,
            agents=await self._agents(message, author, now),
            at=now,
            name=message.name,
            plan=message.plan,
            profile=message.profile,
            force=message.force,
        )
        audit = AuditEntry(
            made_id("aud"), "onboarding.completed", "info", now, uid=message.uid, request_id=message.request_id
        )
        try:
            done = await self._store.onboard(wish, audit)
        except Missing:
            raise NotFound("there is no such user") from None
        except StoreConflict as conflict:
            if conflict.what == "members":
                raise Conflict("your workspace has several members: it cannot be personal") from conflict
            raise Conflict(f"you have reached the {conflict.what} that one user may have") from conflict
        self.system.tell(WORKSPACES, MembershipsChanged(message.uid))
        return SetUp(done.workspace, await self._own(done.workspace.id), done.created)

    async def _agents(self, message: Onboard, author: Author, now: datetime) -> tuple[Agent, ...]:
        made: dict[str, Agent] = {}
        for position, wanted in enumerate(message.agents):
            agent_id = wanted.value if isinstance(wanted, Template) else wanted.id
            if agent_id in made:
                said = f"agents[{position}]: {agent_id!r} is there twice"
                raise Invalid(said, details=(Detail(f"agents[{position}]", "duplicate"),))
            agent = await self._agent(message, wanted, agent_id, position, author, now)
            if agent is not None:
                made[agent_id] = agent
        return tuple(made.values())

    async def _agent(
        self, message: Onboard, wanted: Template | Wanted, agent_id: str, position: int, author: Author, now: datetime
    ) -> Agent | None:
        if isinstance(wanted, Template):
            provider, model_id = message.provider or self._provider, message.model_id or self._model_id
            known = {tool.name for tool in (await self.system.ask(HOST, ListTools())).tools}
            document = document_of(wanted, provider, model_id, known)
        else:
            document = wanted.document
        try:
            checked = await self.system.ask(AGENTS, CheckAgent(agent_id, document))
        except Conflict:
            if isinstance(wanted, Template):
                return None  # everybody has an agent of this name: that one will do
            raise
        except Invalid as refusal:
            details = tuple(Detail(f"agents[{position}].{at.path}", at.issue, at.max) for at in refusal.details)
            raise Invalid(f"agents[{position}]: {refusal.message}", details=details) from refusal
        version = first_version(author, checked, now)
        return Agent(made_id("agc", agent_id), None, agent_id, version, now, now)

    async def _own(self, workspace_id: str) -> tuple[AgentView, ...]:
        page = await self.system.ask(AGENTS, ListAgents(workspace_id))
        return tuple(agent for agent in page.agents if agent.source is Source.WORKSPACE)


def onboarding_spec(model: str, store: OnboardingStore, *, now: Callable[[], datetime] = utc_now) -> ChildSpec:
    """The child at `ONBOARDING`; templates that name no model are on *model* (``provider/model``)."""
    return ChildSpec(ONBOARDING, Onboarder, args=(model, store, now))
