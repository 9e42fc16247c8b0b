"""What the OpenAPI document says of every operation, held against a live server by schemathesis."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.support.client import connect, register
from tests.support.node import INTERNAL_KEY, running_node
from tests.support.provider import StandIn, stand_in

NOT_CALLED = (
    "logout",  # it would end the session that all the other calls are made with
    *("killActor", "suspendActor", "restartActor"),  # the tests of chaos call these; the others stand on what they stop
    *("actorTree", "sessionEvents", "streamAudit"),  # streams that last as long as their reader
    "resumeActor",  # an address may hold slashes: GET of this path is the actor named so, which no schema can say
)

NOT_CHECKED = (
    # A schema cannot say that a time zone must exist, that a host must resolve, that an ETag must be the present one.
    "positive_data_acceptance",
)


EXPLAINED = """
[[operations]]
include-name = "POST /autonomous/batch"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", 502]
"""
"""A batch of which nothing succeeded is answered 502, whoever was at fault; each result says why."""


def every(provider: StandIn) -> dict[str, str]:
    """The providers that the document's examples name, all of them the stand-in."""
    return {
        "OPENAI_API_KEY": "sk-x",
        "OPENAI_BASE_URL": provider.base_url,
        "OLLAMA_BASE_URL": provider.base_url,
    }


@pytest.mark.slow
async def test_every_answer_is_as_the_openapi_document_says(tmp_path: Path) -> None:
    with trio.fail_after(550):
        async with stand_in() as provider, running_node(tmp_path / "node", environment=every(provider)) as node:
            async with connect(node.url) as http:
                client = await register(http)
                await client.chat("hello")
                mine = (await http.get("/workspaces", headers=client.headers)).json()["workspaces"][0]["id"]
            (tmp_path / "schemathesis.toml").write_text(EXPLAINED)
            said = tmp_path / "schemathesis.txt"
            with said.open("wb") as out:
                done = await trio.run_process(
                    [
                        *(sys.executable, "-m", "schemathesis.cli", "run", f"{node.url}/openapi.json"),
                        *("--header", f"Authorization: Bearer {client.token}"),
                        *("--header", f"X-Workspace-Id: {mine}"),
                        *("--header", f"X-Api-Key: {INTERNAL_KEY}"),
                        *("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "12"),
                        *("--checks", "all", "--exclude-checks", ",".join(NOT_CHECKED)),
                        *(part for name in NOT_CALLED for part in ("--exclude-operation-id", name)),
                        # What is hard to make up, and how fast, is no matter of the server's.
                        *("--suppress-health-check", "filter_too_much,too_slow"),
                        *(
                            "--request-timeout",
                            "60",
                            "--workers",
                            "2",
                            "--seed",
                            "1",
                            "--max-failures",
                            "20",
                            "--continue-on-failure",
                        ),
                        *("--warnings", "off", "--no-color"),
                    ],
                    cwd=tmp_path,
                    env={**os.environ, "COLUMNS": "200"},
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    check=False,
                )
            assert done.returncode == 0, said.read_text()[-12_000:]
            assert "Traceback" not in node.log
