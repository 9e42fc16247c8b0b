"""`/agent/memory/notes`: what the caller wants to be kept."""

from quart import Blueprint

from understudy.actors.memory.messages import (
    MEMORY,
    AddNote,
    EntryView,
    ForgetNote,
    ListNotes,
)
from understudy.actors.workspaces.messages import WorkspaceRole
from understudy.http import schemas_memory as shapes
from understudy.http.access import once
from understudy.http.decode import body
from understudy.http.errors import invalid
from understudy.http.operation import Auth, operation
from understudy.http.replies import Reply, json
from understudy.http.request import this_request
from understudy.http.routes.memory import expected_ids, owner_of, tag_of, which_of

routes = Blueprint("memory_notes", __name__, url_prefix="/agent/memory/notes")

_NOTE = {"id": "mem_5qd0b1aX", "note": "Ship on Tuesdays", "createdAt": "2026-03-02T08:00:00Z"}


@routes.post("")
@operation(
    "addNote",
    Auth.WORKSPACE,
    body=shapes.NewNote,
    replies={201: shapes.NoteAdded},
    headers=("X-Workspace-Id", "X-Idempotency-Key"),
    errors=("CONFLICT", "RATE_LIMIT"),
    example={"note": "Ship on Tuesdays"},
    reply_example={"index": 0, "note": "Ship on Tuesdays", "notes": [_NOTE]},
)
async def add_note() -> Reply:
    """Write a note, which does not fade; there may be 200 of them."""
    request = this_request()
    owner = await owner_of(request, WorkspaceRole.MEMBER)
    given = body(request, shapes.NewNote)
    text = given.note if given.note is not None else given.content
    if text is None:
        raise invalid("note", "missing")
    if not text.strip():
        raise invalid("note", "too_short", "note: there must be more than spaces")

    async def do() -> Reply:
        notes = await request.ask(MEMORY, AddNote(owner, text))
        shown = _notes(notes)
        added = shapes.NoteAdded(index=len(shown) - 1, note=shown[-1].note, notes=shown)
        return json(added, 201, tag_of(notes))

    return await once(request, owner.uid, do)


@routes.delete("/<index>")
@operation(
    "deleteNote",
    Auth.WORKSPACE,
    replies={200: shapes.NoteDeleted},
    headers=("X-Workspace-Id", "If-Match"),
    errors=("NOT_FOUND", "RATE_LIMIT", "PRECONDITION_FAILED"),
    reply_example={"deleted": True, "notes": [_NOTE]},
)
async def delete_note(index: str) -> Reply:
    """Delete a note, by its place from 0 on, or by its id.

    `If-Match` takes the `ETag` that came with the notes.
    """
    request = this_request()
    owner = await owner_of(request, WorkspaceRole.MEMBER)
    which = which_of(index, "index")
    expected = None
    if "If-Match" in request.headers:
        expected = expected_ids(request, await request.ask(MEMORY, ListNotes(owner)))
    left = await request.ask(MEMORY, ForgetNote(owner, which, expected))
    return json(shapes.NoteDeleted(deleted=True, notes=_notes(left)), headers=tag_of(left))


def _notes(entries: tuple[EntryView, ...]) -> list[shapes.NoteEntry]:
    return [shapes.NoteEntry(id=entry.id, note=entry.content, created_at=entry.created_at) for entry in entries]
