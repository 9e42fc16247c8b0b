"""Bills and traces in memory."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import attrs

from understudy.storage.entries import TurnClosed
from understudy.storage.errors import QuotaExceeded
from understudy.storage.memory.tables import Billed, Tables
from understudy.storage.records import Session, Turn, Usage
from understudy.storage.spending import AgentUse, Charge, DailyCost, Reservation, Spent, Trace, TraceFilter


def reserve(tables: Tables, turn_id: str, wanted: Sequence[Reservation]) -> int | None:
    """Reserve all of it, or nothing: then the place of the first that does not suffice."""
    for place, each in enumerate(wanted):
        if sum(tables.counters.get((each.scope, each.starts), (0, 0))) + each.amount > each.most:
            return place
    for each in wanted:
        used, reserved = tables.counters.get((each.scope, each.starts), (0, 0))
        tables.counters[each.scope, each.starts] = (used, reserved + each.amount)
    if wanted:
        tables.reservations[turn_id] = tuple(wanted)
    return None


def settle(tables: Tables, holder: str, charges: Sequence[Charge]) -> None:
    """Give back what the holder reserved, and count what was used."""
    for each in tables.reservations.pop(holder, ()):
        used, reserved = tables.counters[each.scope, each.starts]
        spent = [(x.cost or 0) if each.money else x.usage.total_tokens for x in charges]
        tables.counters[each.scope, each.starts] = (used + sum(spent), reserved - each.amount)
    tables.lapsing.pop(holder, None)


class MemoryAllowances:
    """See `understudy.storage.allowances.AllowanceRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def reserve(self, holder: str, wanted: Sequence[Reservation], *, now: datetime, lapses_at: datetime) -> None:
        """As the real one."""
        self._tables.check()
        asked = {(each.scope, each.starts) for each in wanted}
        for other, until in list(self._tables.lapsing.items()):
            held = {(each.scope, each.starts) for each in self._tables.reservations[other]}
            if other == holder or (until <= now and held & asked):
                settle(self._tables, other, ())
        lacking = reserve(self._tables, holder, wanted)
        if lacking is not None:
            raise QuotaExceeded(lacking)
        self._tables.lapsing[holder] = lapses_at

    async def settle(self, holder: str, charges: Sequence[Charge]) -> None:
        """As the real one."""
        self._tables.check()
        settle(self._tables, holder, charges)


def note_spending(tables: Tables, session: Session, turn: Turn, entry: TurnClosed) -> None:
    """What the end of a turn says of its costs and its course."""
    key = session.key
    settle(tables, turn.id, entry.charges)
    tables.bill += [Billed(key.workspace_id, key.uid, key.agent_id, charge) for charge in entry.charges]
    if (trace := entry.trace) is None:
        return
    usage = Usage()
    for charge in entry.charges:
        usage += charge.usage
    tables.traces[trace.id] = Trace(
        id=trace.id,
        turn_id=turn.id,
        workspace_id=key.workspace_id,
        uid=key.uid,
        agent_id=key.agent_id,
        session_id=session.id,
        status=entry.status,
        started_at=turn.started_at,
        finished_at=entry.finished_at,
        rounds=trace.rounds,
        tool_calls=trace.tool_calls,
        usage=usage,
        cost=sum(charge.cost or 0 for charge in entry.charges),
        unpriced=any(charge.cost is None for charge in entry.charges),
        request_id=trace.request_id,
        trace_id=trace.trace_id,
        parent_id=trace.parent_id,
        error_code=entry.error_code,
        spans=trace.spans,
    )


class MemoryCosts:
    """See `understudy.storage.costs.CostRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def spent(self, workspace_id: str, since: datetime, until: datetime) -> Spent:
        """As the real one."""
        self._tables.check()
        agents, providers, models, users, tools, unpriced = (Counter[str]() for _ in range(6))
        months: dict[datetime, int] = {}
        total = saved = 0
        for billed in self._tables.bill:
            charge = billed.charge
            if billed.workspace_id != workspace_id or not since <= charge.at < until:
                continue
            cost, model = charge.cost or 0, f"{charge.provider}/{charge.model}"
            total, saved = total + cost, saved + charge.saved
            month = charge.at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            months[month] = months.get(month, 0) + cost
            agents[billed.agent_id] += cost
            providers[charge.provider] += cost
            users[billed.uid] += cost
            if charge.cost is None:
                unpriced[model] += charge.usage.total_tokens
                continue
            models[model] += cost
            for place, tool in enumerate(charge.tools, start=1):
                tools[tool] += cost // len(charge.tools) + (place <= cost % len(charge.tools))
        return Spent(
            total,
            saved,
            dict(agents),
            dict(providers),
            dict(models),
            dict(users),
            dict(tools),
            {month.date(): cost for month, cost in months.items()},
            dict(unpriced),
        )

    async def used_by_agent(self, workspace_id: str, agent_id: str, since: Sequence[datetime]) -> tuple[AgentUse, ...]:
        """As the real one."""
        self._tables.check()
        found = []
        for start in since:
            use = AgentUse()
            for billed in self._tables.bill:
                charge, usage = billed.charge, billed.charge.usage
                if (billed.workspace_id, billed.agent_id) == (workspace_id, agent_id) and charge.at >= start:
                    unpriced = use.unpriced + (usage.total_tokens if charge.cost is None else 0)
                    use = AgentUse(use.inferences + 1, use.usage + usage, use.cost + (charge.cost or 0), unpriced)
            found.append(use)
        return tuple(found)

    async def counter(self, scope: str, starts: datetime) -> tuple[int, int]:
        """As the real one."""
        self._tables.check()
        return self._tables.counters.get((scope, starts), (0, 0))

    async def prune_counters(self, before: datetime) -> int:
        """As the real one."""
        self._tables.check()
        for holder in [holder for holder, until in self._tables.lapsing.items() if until < before]:
            settle(self._tables, holder, ())
        old = [key for key, (_, reserved) in self._tables.counters.items() if key[1] < before and not reserved]
        for key in old:
            del self._tables.counters[key]
        return len(old)


class MemoryTraces:
    """See `understudy.storage.traces.TraceRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def list(self, wanted: TraceFilter, *, limit: int = 20, offset: int = 0) -> tuple[tuple[Trace, ...], int]:
        """As the real one."""
        self._tables.check()
        found = [
            attrs.evolve(trace, spans=())
            for trace in self._tables.traces.values()
            if all(
                getattr(wanted, name) in (None, getattr(trace, name))
                for name in ("workspace_id", "uid", "agent_id", "session_id", "status")
            )
            and (wanted.since is None or trace.started_at >= wanted.since)
            and (wanted.until is None or trace.started_at <= wanted.until)
        ]
        found.sort(key=lambda trace: (trace.started_at, trace.id), reverse=True)
        return tuple(found[offset : offset + limit]), len(found)

    async def get(self, workspace_id: str, trace_id: str, *, uid: str | None = None) -> Trace | None:
        """As the real one."""
        self._tables.check()
        trace = self._tables.traces.get(trace_id)
        if trace is None or trace.workspace_id != workspace_id or uid not in (None, trace.uid):
            return None
        return trace

    async def of_turn(self, workspace_id: str, turn_id: str, started_at: datetime) -> Trace | None:
        """As the real one."""
        self._tables.check()
        for trace in self._tables.traces.values():
            near = abs(trace.started_at - started_at) <= timedelta(seconds=1)
            if near and (trace.workspace_id, trace.turn_id) == (workspace_id, turn_id):
                return trace
        return None

    async def prune(self, before: datetime, *, limit: int = 10_000) -> int:
        """As the real one."""
        self._tables.check()
        old = [x.id for x in self._tables.traces.values() if x.started_at < before][:limit]
        for id_ in old:
            del self._tables.traces[id_]
        return len(old)


class MemorySnapshots:
    """See `understudy.storage.snapshots.SnapshotRepository`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._days: dict[tuple[date, str, str, str, str], DailyCost] = {}

    async def take(self, first: date, last: date, *, now: datetime, workspace_id: str | None = None) -> int:
        """As the real one."""
        del now
        self._tables.check()
        summed: dict[tuple[date, str, str, str, str], DailyCost] = {}
        for billed in self._tables.bill:
            charge, day = billed.charge, billed.charge.at.astimezone(UTC).date()
            if not first <= day <= last or workspace_id not in {None, billed.workspace_id}:
                continue
            key = (day, billed.workspace_id, billed.agent_id, charge.provider, charge.model)
            before = summed.get(key) or DailyCost(*key, inferences=0, usage=Usage(), cost=0, saved=0, unpriced=0)
            summed[key] = attrs.evolve(
                before,
                inferences=before.inferences + 1,
                usage=before.usage + charge.usage,
                cost=before.cost + (charge.cost or 0),
                saved=before.saved + charge.saved,
                unpriced=before.unpriced + (charge.usage.total_tokens if charge.cost is None else 0),
            )
        self._days |= summed
        return len(summed)

    async def latest(self) -> date | None:
        """As the real one."""
        self._tables.check()
        return max((day for day, *_ in self._days), default=None)

    async def days(self, workspace_id: str, first: date, last: date) -> tuple[DailyCost, ...]:
        """As the real one."""
        self._tables.check()
        return tuple(
            row
            for _, row in sorted(self._days.items())
            if row.workspace_id == workspace_id and first <= row.day <= last
        )
