"""Two teams on a whole server: an agent shared, the bill of who used it, the end of a grant, and what is restricted."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import httpx
import trio

from tests.support.client import Client, connect, register
from tests.support.node import running_node

AGENT = {
    "id": "helper",
    "model": {"provider": "builtin", "modelId": "rehearsal"},
    "systemPromptTemplate": "Help {{workspace.displayName}}.",
}


@attrs.frozen
class Team:
    """A user who owns a workspace, which every request names."""

    client: Client
    workspace_id: str

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        named = self.client.headers | {"X-Workspace-Id": self.workspace_id} | headers
        return await self.client.http.request(method, path, headers=named, json=body)

    async def chat(
        self, message: str = "hello", path: str = "/agent/chat", agent_id: str = "helper"
    ) -> tuple[int, str]:
        """The status, and an error's code."""
        answer = await self.call("POST", path, {"message": "hello", "agentId": agent_id})
        return answer.status_code, answer.json()["code"] if answer.status_code != 200 else ""

    async def sessions(self) -> list[dict[str, Any]]:
        """The caller's conversations, wherever they are."""
        found: list[dict[str, Any]] = (await self.call("GET", "/sessions")).json()["sessions"]
        return found


async def team(http: httpx.AsyncClient) -> Team:
    client = await register(http)
    made = await http.post("/workspaces", json={"name": "Acme", "plan": "team"}, headers=client.headers)
    return Team(client, made.json()["id"])


async def test_an_agent_is_shared_used_on_the_receiver_s_bill_and_ends_with_its_grant(
    tmp_path: Path, pg_dsn: str
) -> None:
    async with running_node(tmp_path, database_url=pg_dsn) as node, connect(node.url) as http:
        with trio.fail_after(110):
            giver, receiver = await team(http), await team(http)
            assert (await giver.call("POST", "/agents", AGENT)).status_code == 201
            assert await receiver.chat() == (403, "FORBIDDEN")

            grants = f"/workspaces/{giver.workspace_id}/grants"
            wish: dict[str, Any] = {"receivingWorkspaceId": receiver.workspace_id, "agentId": "helper"}
            assert (await giver.call("POST", grants, wish)).status_code == 201
            assert await receiver.chat() == (200, "")
            assert await receiver.chat(path="/agent/chat/stream") == (200, "")
            (mine, theirs) = [
                (await each.call("GET", f"/workspaces/{each.workspace_id}/stats")).json() for each in (giver, receiver)
            ]
            assert (mine["messages"], theirs["messages"], theirs["activeUsers"]) == (0, 4, 1)
            assert theirs["byAgent"][0]["agentId"] == "helper"
            assert theirs["tokens"]["completion"] > 0 == mine["tokens"]["completion"]
            assert theirs["sessions"] == {"active": 1, "total": 1}

            answer = 400
            while answer == 400:  # it was over before the server read it
                until = datetime.now(UTC) + timedelta(seconds=0.5)
                answer = (await giver.call("POST", grants, {**wish, "expiresAt": until.isoformat()})).status_code
            assert answer == 200
            while await receiver.chat() == (200, ""):
                pass  # it is talked to for as long as it is granted
            assert datetime.now(UTC) >= until
            for path in ("/agent/chat", "/agent/chat/stream"):
                assert await receiver.chat(path=path) == (403, "FORBIDDEN")

            await giver.call("POST", grants, wish)
            assert await receiver.chat() == (200, "")
            await giver.call("DELETE", grants, wish)
            assert await receiver.chat() == (403, "FORBIDDEN")

            restrictions = f"/workspaces/{giver.workspace_id}/restrictions"
            await giver.call("PUT", restrictions, {"allowedProviders": ["claude"]})
            for path in ("/agent/chat", "/agent/chat/stream"):
                refused = await giver.call("POST", path, {"message": "hi", "agentId": "helper"})
                assert (refused.status_code, refused.json()["code"]) == (403, "MODEL_RESTRICTED")
                assert "builtin" in refused.json()["error"]
            assert await giver.chat(agent_id="chad") == (403, "MODEL_RESTRICTED")
            assert (await giver.call("GET", "/sessions")).json()["total"] == 0, "refused before anything began"
            await giver.call("PUT", restrictions, {})
            assert await giver.chat() == (200, "")

            guest = attrs.evolve(receiver, workspace_id=giver.workspace_id)
            members = f"/workspaces/{giver.workspace_id}/members"
            assert await guest.chat() == (403, "FORBIDDEN")
            await giver.call("POST", members, {"uid": receiver.client.uid})
            assert await guest.chat() == (200, "")
            await giver.call("POST", members, {"uid": receiver.client.uid, "role": "viewer"})
            assert await guest.chat() == (403, "FORBIDDEN")
            await giver.call("POST", members, {"uid": receiver.client.uid})
            assert await guest.chat() == (200, "")
            (said,) = [each for each in await guest.sessions() if each["workspaceId"] == giver.workspace_id]
            await giver.call("DELETE", f"{members}/{receiver.client.uid}")
            assert await guest.chat() == (403, "FORBIDDEN")
            for path in ("", "/events?follow=false"):
                assert (await guest.call("GET", f"/sessions/{said['id']}{path}")).status_code == 404
            assert said not in await guest.sessions()
            assert await receiver.chat(agent_id="chad") == (200, "")
