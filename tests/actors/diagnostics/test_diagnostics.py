"""Health, readiness and the runs of the diagnostics, as an operator meets them."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import attrs
import msgspec
import pytest
import trio
from trio.testing import MockClock

from tests.support.writing import DirectWriter
from understudy.actors.agents.actor import agents_spec
from understudy.actors.diagnostics.actor import as_json, diagnostics_spec
from understudy.actors.diagnostics.check import Check, Finding, passed
from understudy.actors.diagnostics.messages import (
    DIAGNOSTICS,
    BreakerState,
    CheckStatus,
    CircuitBreakers,
    DiagnosticHistory,
    Draining,
    Health,
    HealthReport,
    Readiness,
    Ready,
    RunDiagnostics,
)
from understudy.actors.diagnostics.standard import standard_checks
from understudy.actors.errors import Unavailable
from understudy.actors.inference.breaker import BreakerPolicy
from understudy.actors.inference.messages import Admit, Settle, SettleOutcome
from understudy.actors.inference.provider import ProviderLimits
from understudy.actors.inference.tree import inference_tree
from understudy.runtime import ActorSystem
from understudy.storage.entries import Audited
from understudy.storage.errors import StoreUnavailable
from understudy.storage.journal import Journal
from understudy.storage.pool import Pool
from understudy.storage.probe import Probe
from understudy.storage.records import AuditEntry, DiagnosticRun
from understudy.storage.repositories import Repositories


@attrs.frozen
class Settings:
    data_dir: Path
    jwt_secret: str = "b2f1c09d8e7a46534f0e1d2c3b4a5968"
    internal_api_key: str = "0123456789abcdef0123456789abcdef"
    providers: Mapping[str, object] = attrs.field(factory=lambda: {"openai": object()})
    model: str = "openai/gpt"


class Node:
    def __init__(self, pool: Pool, directory: Path) -> None:
        self.pool = pool
        self.settings = Settings(directory)
        self.system: ActorSystem

    @asynccontextmanager
    async def running(self, *more: Check) -> AsyncIterator[None]:
        store, probe = Repositories.on(self.pool), Probe(self.pool)
        checks = (*standard_checks(self.settings, probe, store.audit), *more)
        with trio.fail_after(30):
            async with ActorSystem("test") as self.system:
                await self.system.spawn(agents_spec(self.settings.model, store))
                await self.system.spawn(diagnostics_spec(checks, engine=probe, runs=store.diagnostics))
                yield

    async def health(self) -> HealthReport:
        return await self.system.ask(DIAGNOSTICS, Health())

    async def readiness(self) -> Ready:
        return await self.system.ask(DIAGNOSTICS, Readiness())


@pytest.fixture
async def node(pg_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    # A busy machine is not taken for a database that is away; what is away is told by the pool, in its own time.
    monkeypatch.setattr("understudy.actors.diagnostics.health.WITHIN", 10.0)
    monkeypatch.setattr("understudy.actors.diagnostics.actor.STORE_WITHIN", 10.0)
    pool = Pool(pg_dsn, min_size=0, max_size=8)
    await pool.open()
    try:
        yield Node(pool, tmp_path)
    finally:
        await pool.close()


async def test_a_well_node_passes_every_check_and_the_run_is_stored(node: Node) -> None:
    async with node.running():
        await DirectWriter(Journal(node.pool)).write(
            Audited(AuditEntry("aud_1", "user.registered", "low", datetime.now(UTC)))
        )
        report = await node.system.ask(DIAGNOSTICS, RunDiagnostics(), timeout=25)
        troubled = [c for c in report.checks if c.status is not CheckStatus.PASS and not c.name.startswith("machine.")]
        assert troubled == []
        assert report.summary["pass"] + report.summary["warn"] + report.summary["fail"] == len(report.checks)
        (run,) = await node.system.ask(DIAGNOSTICS, DiagnosticHistory())
        assert run.id == report.id
        assert run.report == json.loads(msgspec.json.encode(as_json(report)))


async def test_the_report_has_the_documented_shape(node: Node) -> None:
    async with node.running():
        document = as_json(await node.system.ask(DIAGNOSTICS, RunDiagnostics(), timeout=25))
    assert set(document) == {"id", "kind", "status", "startedAt", "durationMs", "checks", "summary"}
    checks = document["checks"]
    assert isinstance(checks, list)
    assert {frozenset(check) for check in checks} == {frozenset({"name", "status", "message", "durationMs", "hint"})}
    assert str(document["startedAt"]).endswith("Z")


async def test_the_last_ten_runs_are_kept(node: Node) -> None:
    async with node.running():
        ids = [(await node.system.ask(DIAGNOSTICS, RunDiagnostics(), timeout=25)).id for _ in range(12)]
        runs = await node.system.ask(DIAGNOSTICS, DiagnosticHistory())
        assert [run.id for run in runs] == ids[:1:-1]


async def test_a_quick_run_looks_at_connections_only_and_is_not_stored(node: Node) -> None:
    async with node.running():
        report = await node.system.ask(DIAGNOSTICS, RunDiagnostics(full=False))
        assert {check.name for check in report.checks} == {"database.reachable", "search.ready"}
        assert await node.system.ask(DIAGNOSTICS, DiagnosticHistory()) == ()


async def test_with_the_database_away_both_runs_still_answer_and_say_so(node: Node) -> None:
    async with node.running():
        node.pool.timeout = 0.5
        await node.pool.close()
        began = trio.current_time()
        quick = await node.system.ask(DIAGNOSTICS, RunDiagnostics(full=False))
        assert trio.current_time() - began < 4
        assert quick.status is CheckStatus.FAIL
        full = await node.system.ask(DIAGNOSTICS, RunDiagnostics(), timeout=25)
        assert full.status is CheckStatus.FAIL
        assert {c.name for c in full.checks if c.status is CheckStatus.FAIL} >= {"database.reachable", "audit.chain"}
        with pytest.raises(Unavailable):
            await node.system.ask(DIAGNOSTICS, DiagnosticHistory(), timeout=10)


async def test_a_check_of_somebody_else_s_is_run_with_the_rest(node: Node) -> None:
    async def look(_: ActorSystem) -> Finding:
        await trio.lowlevel.checkpoint()
        return passed("as well")

    async with node.running(Check("mine", look)):
        report = await node.system.ask(DIAGNOSTICS, RunDiagnostics(), timeout=25)
        assert report.checks[-1].name == "mine"


async def test_health_names_both_checks_and_says_what_truly_answers(node: Node) -> None:
    async with node.running():
        report = await node.health()
        assert report.status == "ok"
        assert report.checks == {"typesense": "ok", "postgres": "ok"}
        assert report.engines["postgres"].startswith("PostgreSQL 1")
        assert "PostgreSQL" in report.engines["typesense"]
        assert report.ws_connections == 0


async def test_with_the_database_away_health_and_readiness_say_so_within_a_second(node: Node) -> None:
    async with node.running():
        node.pool.timeout = 0.5
        await node.pool.close()
        began = trio.current_time()
        report = await node.health()
        assert trio.current_time() - began < 4
        assert (report.status, report.checks["postgres"]) == ("degraded", "error")


class Engine:
    """A database that is there, away, or silent."""

    def __init__(self) -> None:
        self.pings = 0
        self.away = self.silent = False

    async def ping(self, timeout: float = 2.0) -> None:
        self.pings += 1
        await trio.sleep(0.01)
        if self.silent:
            await trio.sleep_forever()
        if self.away:
            raise StoreUnavailable

    async def search(self) -> None:
        await trio.lowlevel.checkpoint()

    async def version(self) -> str:
        await trio.lowlevel.checkpoint()
        return "PostgreSQL 18.0"


class Runs:
    """Nothing is stored."""

    async def add(self, run: DiagnosticRun) -> None:
        await trio.lowlevel.checkpoint()

    async def last(self, limit: int = 10) -> tuple[DiagnosticRun, ...]:
        await trio.lowlevel.checkpoint()
        return ()


async def test_readiness_follows_the_database_down_and_up_again(autojump_clock: MockClock) -> None:
    engine = Engine()
    with trio.fail_after(3600):
        async with ActorSystem("test") as system:
            await system.spawn(diagnostics_spec((), engine=engine, runs=Runs()))
            for trouble in ("away", "silent"):
                assert await system.ask(DIAGNOSTICS, Readiness()) == Ready(ready=True)
                setattr(engine, trouble, True)
                assert (await system.ask(DIAGNOSTICS, Readiness())).ready  # two seconds old at most
                await trio.sleep(2.1)
                began = trio.current_time()
                down = await system.ask(DIAGNOSTICS, Readiness())
                assert trio.current_time() - began <= 1.1
                assert down == Ready(ready=False, reason="no answer from typesense, postgres")
                assert (await system.ask(DIAGNOSTICS, Health())).status == "degraded"
                setattr(engine, trouble, False)
                await trio.sleep(2.1)


async def test_however_many_ask_for_health_at_once_the_database_is_asked_once() -> None:
    engine = Engine()
    with trio.fail_after(30):
        async with ActorSystem("test") as system:
            await system.spawn(diagnostics_spec((), engine=engine, runs=Runs()))
            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(system.ask, DIAGNOSTICS, Health())
                    nursery.start_soon(system.ask, DIAGNOSTICS, Readiness())
            assert engine.pings == 1
            await system.kill(DIAGNOSTICS)
            assert (await system.ask(DIAGNOSTICS, Readiness())).ready
            assert engine.pings == 2


async def test_a_node_that_drains_is_not_ready_though_all_is_well(node: Node) -> None:
    async with node.running():
        assert (await node.readiness()).ready
        node.system.tell(DIAGNOSTICS, Draining())
        assert await node.readiness() == Ready(ready=False, reason="the server is stopping")
        assert (await node.health()).status == "ok"


async def test_the_breakers_of_all_configured_providers_are_shown_and_none_is_woken(
    autojump_clock: MockClock,
) -> None:
    async with ActorSystem("test") as system:
        with trio.fail_after(30):
            limits = ProviderLimits(breaker=BreakerPolicy(failures=2))
            await system.spawn(inference_tree(("claude", "openai"), limits))
            engine, runs = Engine(), Runs()
            await system.spawn(diagnostics_spec((), engine=engine, runs=runs, providers=("openai", "claude")))
            assert await system.ask(DIAGNOSTICS, CircuitBreakers()) == (
                BreakerState("claude", "closed"),
                BreakerState("openai", "closed"),
            )
            assert not system.addresses("inference")
            for number in range(2):
                await system.ask("inference/claude", Admit(f"prm_{number}"))
                system.tell("inference/claude", Settle(f"prm_{number}", SettleOutcome.FAILED, "claude answered 529"))
            claude, openai = await system.ask(DIAGNOSTICS, CircuitBreakers())
            assert (claude.state, claude.failures, claude.last_error) == ("open", 2, "claude answered 529")
            assert claude.opened_at is not None
            assert claude.next_attempt_at is not None
            assert (claude.next_attempt_at - claude.opened_at).total_seconds() == pytest.approx(60)
            assert abs((datetime.now(UTC) - claude.opened_at).total_seconds()) < 5
            assert openai.state == "closed"
            await system.suspend("inference/claude")
            claude, _ = await system.ask(DIAGNOSTICS, CircuitBreakers())
            assert claude.state == "unknown"
