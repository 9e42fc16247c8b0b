"""Doing what a program asked for."""

import hashlib
from collections.abc import Callable, Sequence

import attrs
import trio

from understudy.actors.admin.messages import ADMIN, RequireUser
from understudy.actors.asking import Messenger
from understudy.actors.audit.messages import AUDIT, AuditEntry, Record
from understudy.actors.autonomous.asked import AT_ONCE, SURFACE, Task
from understudy.actors.clock import utc_now
from understudy.actors.errors import Detail, DomainError, Invalid
from understudy.actors.session.errand import Errand, ErrandDone, run_errand
from understudy.actors.session.messages import TurnStarted
from understudy.actors.workspaces.messages import WORKSPACES, ResolveWorkspace
from understudy.runtime import RuntimeFault
from understudy.storage.records import IdempotencyKey


@attrs.frozen
class Principal:
    """On whose order: the name of the internal key, and the request."""

    key: str
    request_id: str | None = None


@attrs.frozen
class Outcome:
    """What became of one task: ``done``, or the ``code`` and the words of what it failed of."""

    task: Task
    done: ErrandDone | None = None
    code: str | None = None
    error: str | None = None


async def run_task(
    system: Messenger, task: Task, by: Principal, *, within: float = float("inf"), once: str | None = None
) -> ErrandDone:
    """Run one turn of the task's agent, on the user's behalf and within their quotas, and wait for its end.

    At most the task's own time, and *within* seconds. With *once* the same task run again under that name is answered
    by the first one's turn. A line in the audit log says who had it run, before it has an answer. Cancelled, the turn
    is cancelled too and quiet before this returns. Raises `NotFound` (user, agent), `Forbidden` (the account
    is disabled), `Invalid` (``workspaceId`` is needed), and what else a chat is refused with.
    """
    await system.ask(ADMIN, RequireUser(task.uid))
    try:
        view = await system.ask(WORKSPACES, ResolveWorkspace(task.uid, task.workspace_id))
    except Invalid:
        said = "workspaceId: the user belongs to several workspaces; name one"
        raise Invalid(said, details=(Detail("workspaceId", "required"),)) from None
    workspace_id = view.workspace.id

    async def started(turn: TurnStarted) -> None:
        entry = AuditEntry(
            f"aud_{turn.turn_id}",  # one line however often the same task is asked for
            "autonomous.run",
            "medium",
            utc_now(),
            uid=task.uid,
            workspace_id=workspace_id,
            agent_id=task.agent_id,
            session_id=turn.session_id,
            request_id=by.request_id,
            metadata={"key": by.key, "turn": turn.turn_id},
        )
        system.tell(AUDIT, Record(entry))

    key = None
    if once is not None:
        digest = hashlib.sha256(task.task_message.encode()).digest()
        key = IdempotencyKey(f"{task.uid}|{workspace_id}|autonomous", once, digest)
    errand = Errand(
        uid=task.uid,
        workspace_id=workspace_id,
        agent_id=task.agent_id,
        message=task.task_message,
        surface=SURFACE,
        surface_id=task.surface_id,
        timeout=max(0.0, min(task.timeout_seconds, within)),
        idempotency=key,
    )
    return await run_errand(system, errand, on_start=started)


async def run_tasks(
    system: Messenger,
    tasks: Sequence[Task],
    by: Principal,
    *,
    deadline: float = float("inf"),
    once: Callable[[int], str] | None = None,
) -> tuple[Outcome, ...]:
    """Run the tasks, `AT_ONCE` at a time; what became of each, in their order. One that fails stops no other.

    What has not ended by the *deadline* (trio's clock) is cancelled, and has timed out. *once* names each task by its
    place, as in `run_task`. Cancelled, all that run are cancelled too.
    """
    outcomes: dict[int, Outcome] = {}
    room = trio.CapacityLimiter(AT_ONCE)

    async def run(place: int, task: Task) -> None:
        async with room:
            within = deadline - trio.current_time()
            if within <= 0:
                outcomes[place] = Outcome(task, None, "TIMEOUT", "there was no time left for it")
                return
            name = once(place) if once is not None else None
            outcomes[place] = await _outcome(system, task, by, within, name)

    async with trio.open_nursery() as nursery:
        for place, task in enumerate(tasks):
            nursery.start_soon(run, place, task)
    return tuple(outcomes[place] for place in range(len(tasks)))


async def _outcome(system: Messenger, task: Task, by: Principal, within: float, once: str | None) -> Outcome:
    try:
        return Outcome(task, await run_task(system, task, by, within=within, once=once))
    except DomainError as refusal:
        return Outcome(task, None, refusal.code, refusal.message)
    except RuntimeFault as fault:
        # An actor that died under it, or was too busy: the next task may find it well.
        return Outcome(task, None, "UNAVAILABLE", f"{fault}; try again")
