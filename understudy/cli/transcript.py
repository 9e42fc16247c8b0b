"""A conversation as it appears on a terminal: the answer on standard output, all else, dimly, on standard error."""

import json
import re
import shutil
from typing import Any

import click

from understudy.cli.sse import ServerEvent

# What a model writes must not steer the terminal: no escape sequences, no carriage returns, no C1 controls.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """*text* without control characters other than newline and tab."""
    return _CONTROLS.sub("", text)


class Transcript:
    """Shows the events of turns, one after the other."""

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json
        self._line_open = False

    def show(self, event: ServerEvent) -> None:
        """Show one event of a turn."""
        if self._as_json:
            click.echo(json.dumps({"event": event.type, "id": event.id, "data": _data(event)}, ensure_ascii=False))
            return
        data = _data(event)
        match event.type:
            case "content":
                self._write(clean(str(data.get("content", ""))))
            case "tool_call_complete":
                self.note(f"→ {data.get('name')} {data.get('arguments', '')}")
            case "tool_result":
                failed = " failed" if data.get("ok") is False else ""
                self.note(f"← {data.get('name')}{failed} after {data.get('durationMs', '?')} ms")
            case "approval_requested":
                waits = f"? {data.get('name')} {data.get('arguments', '')} waits for somebody's consent"
                self.note(f"{waits}: POST /approvals/{data.get('requestId')}/approve or /deny")
            case "approval_decided":
                self.note(f"? {data.get('status')}")
            case "done":
                self.end_line()
            case "error":
                stopped = data.get("code") == "CANCELLED"
                self.note("(stopped)" if stopped else f"understudy: {data.get('message')} ({data.get('code')})")
            case _:  # session_resolved, tool_call, and what later servers may add
                pass

    def note(self, text: str) -> None:
        """Say something about the conversation, on a line of its own, cut to the terminal's width."""
        self.end_line()
        width = max(20, shutil.get_terminal_size().columns)
        line = clean(text).replace("\n", " ")
        click.secho(line if len(line) <= width else line[: width - 4] + " ...", dim=True, err=True)

    def end_line(self) -> None:
        """Close the line that the answer has left open."""
        if self._line_open:
            click.echo()
            self._line_open = False

    def _write(self, text: str) -> None:
        if text:
            click.echo(text, nl=False)
            self._line_open = not text.endswith("\n")


def _data(event: ServerEvent) -> dict[str, Any]:
    try:
        found = json.loads(event.data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
