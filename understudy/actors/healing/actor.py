"""The actor that counts how often agents fail in a row."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import ClassVar, Protocol

import attrs
import trio

from understudy.actors.audit.messages import AUDIT, Record, act_of_key
from understudy.actors.clock import utc_now, written
from understudy.actors.errors import AgentPaused
from understudy.actors.facts import fact
from understudy.actors.healing.messages import (
    COUNTED,
    HEALING,
    PAUSED,
    RESUMED,
    CheckAgent,
    ResumeAgent,
    TurnEnded,
)
from understudy.actors.serving import Server
from understudy.runtime import ChildSpec, receive
from understudy.storage.entries import Published
from understudy.storage.errors import StoreUnavailable
from understudy.storage.records import AgentHealth

FORGOTTEN = timedelta(days=7)
"""After so long a failure is in no row any more."""

Key = tuple[str, str]
"""A workspace and an agent in it."""


class HealthStore(Protocol):
    """The health of agents; each may raise `StoreUnavailable`."""

    async def unwell(self) -> tuple[AgentHealth, ...]:
        """All agents that failed the last time they ran."""
        ...

    async def note(self, health: AgentHealth, *facts: Published) -> None:
        """Store what is known of an agent now, and tell *facts* of it."""
        ...

    async def clear(self, workspace_id: str, agent_id: str, *facts: Published) -> None:
        """The agent is well, or taken for it."""
        ...


@attrs.frozen
class HealingRules:
    """An agent is left alone for ``pause`` seconds after ``most`` failures in a row.

    Every ``forget_every`` seconds it is looked for failures that are older than `FORGOTTEN`.
    """

    most: int = 3
    pause: float = 900.0
    forget_every: float = 3600.0


@attrs.frozen
class _Over:
    key: Key


@attrs.frozen
class _Forget:
    """Time to look for failures of long ago."""


class Healing(Server):
    """Decides from what it has in memory, and writes that down behind.

    A pause is over after a restart when it would have been without one. What happened while the database was away is
    written when it is back; a crash before that forgets it.
    """

    mailbox_limit: ClassVar[int] = 10_000

    def __init__(self, store: HealthStore, rules: HealingRules, now: Callable[[], datetime]) -> None:
        self._store = store
        self._rules = rules
        self._now = now
        self._unwell: dict[Key, AgentHealth] = {}
        self._unwritten: dict[Key, list[Published]] = {}
        self._writing = False

    async def started(self) -> None:
        """Learn who is unwell. Raises `StoreUnavailable`; the supervisor then tries again."""
        self.every(self._rules.forget_every, _Forget())
        for health in await self._store.unwell():
            key = (health.workspace_id, health.agent_id)
            self._unwell[key] = health
            self._arm(key, health)

    def snapshot(self) -> Mapping[str, object]:
        """How many agents have failed the last time, and how many are left alone."""
        paused = sum(health.paused_until is not None for health in self._unwell.values())
        return {"unwell": len(self._unwell), "paused": paused, "unwritten": len(self._unwritten)}

    @receive
    def check(self, message: CheckAgent) -> None:
        """Refuse while it is paused."""
        health = self._unwell.get((message.workspace_id, message.agent_id))
        if health is None or health.paused_until is None:
            return
        left = (health.paused_until - self._now()).total_seconds()
        if left > 0:
            raise AgentPaused(
                f"the agent failed {health.failures} times in a row ({health.last_error}) and is left alone",
                retry_after=left,
            )

    @receive
    def turn_ended(self, message: TurnEnded) -> None:
        """Count a failure, or forget those before."""
        key = (message.workspace_id, message.agent_id)
        known = self._unwell.get(key)
        if message.failure is None:
            # A turn that had begun before the pause may still end well; the pause holds.
            if known is not None and known.paused_until is None:
                del self._unwell[key]
                self._write(key)
        elif message.failure in COUNTED and (known is None or known.paused_until is None):
            self._failed(key, known, message.failure)

    @receive
    def resume(self, message: ResumeAgent) -> tuple[str, ...]:
        """Let it run again."""
        found = [
            key
            for key, health in self._unwell.items()
            if key[1] == message.agent_id and message.workspace_id in (None, key[0]) and health.paused_until is not None
        ]
        for key in found:
            self._resumed(key, message.by)
            line = act_of_key(
                RESUMED, message.by, request_id=message.request_id, at=self._now(), agentId=key[1], workspaceId=key[0]
            )
            self.system.tell(AUDIT, Record(line))
        return tuple(workspace_id for workspace_id, _ in found)

    @receive
    def over(self, message: _Over) -> None:
        """A pause is perhaps over."""
        health = self._unwell.get(message.key)
        if health is None or health.paused_until is None:
            return
        if health.paused_until <= self._now():
            self._resumed(message.key, "timer")
        else:
            self._arm(message.key, health)

    @receive
    def forget(self, message: _Forget) -> None:
        """Let go of failures of long ago: their agents may be no more, and nothing else would ever end them."""
        del message
        old = self._now() - FORGOTTEN
        for key in [k for k, health in self._unwell.items() if health.paused_until is None and health.failed_at < old]:
            del self._unwell[key]
            self._write(key)

    def _failed(self, key: Key, known: AgentHealth | None, failure: str) -> None:
        now = self._now()
        failures = (known.failures if known else 0) + 1
        health = AgentHealth(*key, failures, failure, now)
        told = []
        if failures >= self._rules.most:
            health = attrs.evolve(health, paused_until=now + timedelta(seconds=self._rules.pause))
            told.append(
                self._fact(
                    PAUSED,
                    key,
                    consecutiveFailures=failures,
                    error=failure,
                    until=written(health.paused_until) if health.paused_until else None,
                )
            )
        self._unwell[key] = health
        self._arm(key, health)
        self._write(key, *told)

    def _resumed(self, key: Key, by: str) -> None:
        del self._unwell[key]
        self._write(key, self._fact(RESUMED, key, resumedBy=by))

    def _fact(self, event: str, key: Key, **data: object) -> Published:
        return fact(event, uid=None, workspace_id=key[0], data={"agentId": key[1], **data}, at=self._now())

    def _arm(self, key: Key, health: AgentHealth) -> None:
        if health.paused_until is not None:
            self.after(max(0.0, (health.paused_until - self._now()).total_seconds()), _Over(key))

    def _write(self, key: Key, *facts: Published) -> None:
        self._unwritten.setdefault(key, []).extend(facts)
        if not self._writing:
            self._writing = True
            self.work(self._drain, name="write")

    async def _drain(self) -> None:
        """Write what has changed, one agent at a time, so that what is stored is what was last."""
        while self._unwritten:
            key, facts = next(iter(self._unwritten.items()))
            health, told = self._unwell.get(key), tuple(facts)
            try:
                if health is None:
                    await self._store.clear(*key, *told)
                else:
                    await self._store.note(health, *told)
            except StoreUnavailable as error:
                await trio.sleep(error.retry_after)
                continue
            del facts[: len(told)]
            if not facts and self._unwell.get(key) is health:
                del self._unwritten[key]
        self._writing = False


def healing_spec(store: HealthStore, rules: HealingRules, now: Callable[[], datetime] = utc_now) -> ChildSpec:
    """The child at `HEALING`."""
    return ChildSpec(HEALING, Healing, args=(store, rules, now))
