"""`/onboarding`: what users begin with."""

from quart import Blueprint

from understudy.actors.agents.messages import AgentDocument
from understudy.actors.onboarding.messages import ONBOARDING, Onboard, SetUp, Template, Wanted
from understudy.actors.workspaces.messages import WorkspaceRole, WorkspaceView
from understudy.http import schemas_onboarding
from understudy.http.access import once, user
from understudy.http.decode import optional_body
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, json
from understudy.http.request import this_request
from understudy.http.routes.agents import READ_EXAMPLE, agent_shown
from understudy.http.show_workspaces import workspace_of

routes = Blueprint("onboarding", __name__, url_prefix="/onboarding")

_EXAMPLE = {"workspaceName": "Lighthouse", "agents": ["assistant", "researcher"], "profile": {"name": "Mira"}}

_DONE = {
    "workspace": {
        "id": "ws_5",
        "name": "Lighthouse",
        "ownerId": "usr_71ab",
        "plan": "personal",
        "createdAt": 1772438400000,
        "settings": {},
        "yourRole": "owner",
    },
    "agents": [READ_EXAMPLE],
    "created": True,
}


@routes.post("/setup")
@operation(
    "setUp",
    Auth.JWT,
    body=schemas_onboarding.SetupRequest,
    replies={201: schemas_onboarding.SetupDone, 200: schemas_onboarding.SetupDone},
    reply_example=_DONE,
    headers=("X-Idempotency-Key",),
    errors=("CONFLICT", "NOT_FOUND", "RATE_LIMIT"),
    example=_EXAMPLE,
)
async def set_up() -> Reply:
    """Set up your workspace, agents and profile in one go.

    All of it or nothing, and once: asked again, it answers 200 with what there is and changes nothing. The workspace
    that came with your account is the one that is set up, as long as it is your only one and has no agents of its own;
    `force` makes another. The templates are `assistant`, `researcher` and `coder`.
    """
    request = this_request()
    principal = await user(request)
    given = optional_body(request, schemas_onboarding.SetupRequest)

    async def do() -> Reply:
        message = Onboard(
            uid=principal.uid,
            agents=tuple(_wanted(agent) for agent in given.agents),
            name=given.workspace_name,
            plan=given.plan.value if given.plan is not None else None,
            provider=given.provider,
            model_id=given.model_id,
            profile=given.profile or None,
            force=given.force,
            request_id=request.id,
        )
        done = await request.ask(ONBOARDING, message)
        return json(_shown(done), 201 if done.created else 200)

    return await once(request, principal.uid, do)


def _wanted(given: Template | schemas_onboarding.FirstAgent) -> Template | Wanted:
    if isinstance(given, Template):
        return given
    names = AgentDocument.__struct_fields__
    return Wanted(given.id, AgentDocument(**{name: getattr(given, name) for name in names}))


def _shown(done: SetUp) -> schemas_onboarding.SetupDone:
    return schemas_onboarding.SetupDone(
        workspace=workspace_of(WorkspaceView(done.workspace, WorkspaceRole.OWNER)),
        agents=[agent_shown(agent) for agent in done.agents],
        created=done.created,
    )
