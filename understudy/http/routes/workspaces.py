"""`/workspaces`: where the caller belongs."""

from quart import Blueprint

from understudy.actors.workspaces.messages import WORKSPACES, ListWorkspaces
from understudy.http import schemas
from understudy.http.access import signed_in
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, json
from understudy.http.request import this_request

routes = Blueprint("workspaces", __name__, url_prefix="/workspaces")


@routes.get("")
@operation("listWorkspaces", Auth.JWT, replies={200: schemas.WorkspaceList})
async def list_workspaces() -> Reply:
    """List the workspaces you belong to, oldest membership first."""
    request = this_request()
    principal = await signed_in(request)
    views = await request.node.ask(WORKSPACES, ListWorkspaces(principal.uid))
    workspaces = [
        schemas.Workspace(
            id=view.workspace.id,
            name=view.workspace.name,
            owner_id=view.workspace.owner_id,
            plan=view.workspace.plan,
            created_at=int(view.workspace.created_at.timestamp() * 1000),
            settings=dict(view.workspace.settings),
            your_role=view.role.value,
        )
        for view in views
    ]
    return json(schemas.WorkspaceList(workspaces=workspaces))
