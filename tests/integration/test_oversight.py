"""A whole server as its operator uses it: keys that survive a kill, agents run in the background, a log that holds."""

from pathlib import Path

import trio

from tests.support.client import connect, register
from tests.support.node import INTERNAL_KEY, running_node


async def test_an_operator_runs_the_node(tmp_path: Path, pg_dsn: str) -> None:
    root = {"X-Api-Key": INTERNAL_KEY}
    with trio.fail_after(90):
        async with running_node(tmp_path, database_url=pg_dsn) as node, connect(node.url) as http:
            mira = await register(http)
            body = {"agents": ["assistant", "researcher", "coder"]}
            begun = await http.post("/onboarding/setup", json=body, headers=mira.headers)
            assert begun.status_code == 201, begun.text
            tools = {agent["id"]: agent["tools"]["allow"] for agent in begun.json()["agents"]}
            assert {"http_get", "memory_search"} <= set(tools["assistant"])
            assert "rss_read" in tools["researcher"]
            assert {"file_read", "file_write", "file_list"} <= set(tools["coder"])

            asked = {"message": "Where do herons nest?", "agentId": "assistant"}
            chat = (await http.post("/agent/chat", json=asked, headers=mira.headers)).json()
            found = (await http.get("/sessions/search/messages?q=heron", headers=mira.headers)).json()["results"]
            assert {hit["sessionId"] for hit in found} == {chat["sessionId"]}
            path = f"/sessions/{chat['sessionId']}/handoff"
            moved = await http.post(path, json={"agentId": "researcher"}, headers=mira.headers)
            assert moved.json()["agentId"] == "researcher"

            wanted = {"name": "robot", "scopes": ["autonomous", "audit"]}
            made = (await http.post("/admin/keys", json=wanted, headers=root)).json()
            robot = {"X-Api-Key": made["key"]}
            batch = {"uids": [mira.uid, "usr_nobody"], "taskMessage": "write the report"}
            taken = await http.post("/autonomous/batch?async=true", json=batch, headers=robot)
            assert taken.status_code == 202, taken.text
            where = taken.headers["location"]
            while (job := (await http.get(where, headers=robot)).json())["status"] in {"pending", "running"}:
                await trio.sleep(0.05)
            assert job["status"] == "completed", job
            assert (job["result"]["succeeded"], job["result"]["failed"]) == (1, 1)

            while not (await http.get("/audit?event=autonomous.run", headers=robot)).json()["entries"]:
                await trio.sleep(0.05)
            node.kill()
            await node.start()
            assert (await http.get("/audit?limit=1", headers=robot)).status_code == 200
            assert (await http.get("/admin/health", headers=robot)).status_code == 403
            verdict = (await http.get("/audit/verify", headers=robot)).json()
            assert (verdict["valid"], verdict["firstBroken"]) == (True, None)
            events = {
                entry["event"] for entry in (await http.get("/audit?limit=1000", headers=robot)).json()["entries"]
            }
            assert {"onboarding.completed", "session.handoff", "key.created", "autonomous.run"} <= events
            assert (await http.delete(f"/admin/keys/{made['id']}", headers=root)).status_code == 204
            assert (await http.get("/audit", headers=robot)).status_code == 401
            health = (await http.get("/admin/health", headers=root)).json()
            assert health["memory"]["rssBytes"] > 10_000_000
            assert health["toolCount"] > 10
