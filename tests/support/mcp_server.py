"""An MCP server that does what it is told, also what no server should: a program of its own, without the SDK.

``python -I tests/support/mcp_server.py [mode]``: ``dies``, ``hangs``, ``babbles`` and ``screams`` never come to the
point; ``deaf`` stops reading after it has listed its tools; without a mode it serves the tools in `TOOLS`.
"""

import json
import subprocess
import sys
import time
from typing import Any

OBJECT: dict[str, Any] = {"type": "object", "properties": {}}
TOOLS: dict[str, dict[str, Any]] = {
    "echo": {
        "type": "object",
        "properties": {"text": {"type": "string", "maxLength": 20, "pattern": "^(a+)+$"}, "times": {"type": "integer"}},
        "required": ["text"],
        "additionalProperties": False,
    },
    "env": OBJECT,
    "hang": OBJECT,
    "hanging": OBJECT,
    "die": OBJECT,
    "flood": OBJECT,
    "noise": OBJECT,
    "nonsense": OBJECT,
    "fail": OBJECT,
    "pictures": OBJECT,
    "grow": OBJECT,
    "cancelled": OBJECT,
    "offspring": OBJECT,
    "a tool/with.an odd name that is far longer than what providers take": OBJECT,
    "broken": {"type": "object", "properties": {"a": {"type": "flob"}}},
    "endless": {"type": "object", "properties": {"a": {"description": "x" * 40_000}}},
}
hanging: list[Any] = []
cancelled: list[Any] = []


def send(message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def text(said: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": said}]}


def call(request: Any, name: str, arguments: Any) -> dict[str, Any] | None:
    match name:
        case "echo":
            return text(arguments["text"] * arguments.get("times", 1))
        case "env":
            import os

            return text(json.dumps(dict(os.environ)))
        case "hang":
            hanging.append(request)
            sys.stderr.write("hanging\n")
            sys.stderr.flush()
            return None
        case "hanging":
            return text(json.dumps(hanging))
        case "die":
            sys.stderr.write("I have had enough\n")
            sys.stderr.flush()
            sys.exit(3)
        case "flood":
            block = "x" * 1_000_000
            sys.stdout.write(
                f'{{"jsonrpc": "2.0", "id": {request}, "result": {{"content": [{{"type": "text", "text": "'
            )
            for _ in range(100):
                sys.stdout.write(block)
            sys.stdout.write('"}]}}\n')
            sys.stdout.flush()
            return None
        case "noise":
            sys.stdout.write("starting up ...\n{not json}\n\n[1, 2]\n\xff\n")
            return text("all the same")
        case "nonsense":
            return {"content": "nonsense"}
        case "fail":
            return {**text("no such file"), "isError": True}
        case "pictures":
            return {
                "content": [
                    {"type": "image", "data": "AAAA", "mimeType": "image/png"},
                    {"type": "resource_link", "uri": "file:///a", "name": "a"},
                    {"type": "resource", "resource": {"uri": "file:///b", "text": "of b"}},
                ]
            }
        case "grow":
            TOOLS["grown"] = OBJECT
            send({"method": "notifications/tools/list_changed"})
            return text("grown")
        case "cancelled":
            return text(json.dumps(cancelled))
        case "offspring":
            child = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL)
            return text(str(child.pid))
        case _:
            return {**text(f"what is {name}?"), "isError": True}


def serve(mode: str) -> None:
    for line in sys.stdin:
        message = json.loads(line)
        request, method, params = message.get("id"), message.get("method"), message.get("params", {})
        match method:
            case "initialize":
                result: Any = {
                    "protocolVersion": params["protocolVersion"],
                    "capabilities": {"tools": {"listChanged": True}},
                    "serverInfo": {"name": "scripted", "version": "1"},
                }
                send({"id": request, "result": result})
            case "ping":
                send({"id": request, "result": {}})
            case "tools/list":
                tools = [{"name": name, "inputSchema": schema} for name, schema in TOOLS.items()]
                send({"id": request, "result": {"tools": tools}})
                if mode == "deaf":
                    time.sleep(1000)  # noqa: TID251  # a program of its own
            case "tools/call":
                answer = call(request, params["name"], params.get("arguments", {}))
                if answer is not None:
                    send({"id": request, "result": answer})
            case "notifications/cancelled":
                cancelled.append(params.get("reason"))
            case _ if request is not None:
                send({"id": request, "error": {"code": -32601, "message": "no such method"}})
            case _:
                pass


def main(mode: str) -> None:
    match mode:
        case "dies":
            sys.stderr.write("no licence\n")
            sys.exit(7)
        case "hangs":
            time.sleep(1000)  # noqa: TID251
        case "babbles":
            while True:
                sys.stdout.write("blah\n")
        case "screams":
            while True:
                sys.stdout.write("A" * 65536)
        case _:
            serve(mode)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
