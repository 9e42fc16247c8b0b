"""Each check: what it finds in a well node, and in one that is not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from understudy.actors.agents.actor import Agents, agents_spec
from understudy.actors.agents.messages import AGENTS
from understudy.actors.diagnostics import configuration, database, machine, providers, tree
from understudy.actors.diagnostics.check import Check, Finding, failed, passed, run_checks, warned, worst
from understudy.actors.diagnostics.messages import CheckResult, CheckStatus
from understudy.actors.inference.messages import ProviderState, ProviderStatus
from understudy.runtime import Actor, ActorSystem, Ask, ChildSpec, DynamicSpec, Restart, receive
from understudy.storage.memory import MemoryStore
from understudy.storage.records import AuditVerdict

PASS, WARN, FAIL = CheckStatus.PASS, CheckStatus.WARN, CheckStatus.FAIL
NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)


@attrs.define
class Probe:
    """A database that answers as it is told to."""

    offset: float = 0.0
    levels: tuple[int, int] = (3, 3)
    verdict: AuditVerdict = attrs.field(factory=lambda: AuditVerdict(7))
    error: Exception | None = None
    pgvector: str | None = "0.8.5"

    async def _answer(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error

    async def ping(self, timeout: float = 2.0) -> float:
        await self._answer()
        return 0.001

    async def write(self) -> None:
        await self._answer()

    async def search(self) -> None:
        await self._answer()

    async def vectors(self) -> str | None:
        await self._answer()
        return self.pgvector

    async def version(self) -> str:
        await self._answer()
        return "PostgreSQL 18.0"

    async def clock(self) -> datetime:
        await self._answer()
        return NOW + timedelta(seconds=self.offset)

    async def migrations(self) -> tuple[int, int]:
        await self._answer()
        return self.levels

    async def verify(self) -> AuditVerdict:
        await self._answer()
        return self.verdict


async def found(check: Check, system: ActorSystem | None = None) -> CheckResult:
    if system is not None:
        (result,) = await run_checks([check], system)
        return result
    async with ActorSystem("test") as empty:
        (result,) = await run_checks([check], empty)
        return result


async def test_a_check_that_raises_is_a_failed_check_and_the_others_go_on() -> None:
    async def burst(_: ActorSystem) -> Finding:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError("one\ntwo")

    async def well(_: ActorSystem) -> Finding:
        await trio.lowlevel.checkpoint()
        return passed("fine")

    async with ActorSystem("test") as system:
        results = await run_checks([Check("a", burst), Check("b", well)], system)
    assert [(r.name, r.status) for r in results] == [("a", FAIL), ("b", PASS)]
    assert results[0].message == "ZeroDivisionError: one"


async def test_a_check_that_hangs_is_cut_off_and_the_others_are_not_held_up() -> None:
    async def hang(_: ActorSystem) -> Finding:
        await trio.sleep_forever()
        raise AssertionError

    async def well(_: ActorSystem) -> Finding:
        await trio.lowlevel.checkpoint()
        return passed("fine")

    with trio.fail_after(30):
        async with ActorSystem("test") as system:
            results = await run_checks([Check("a", hang, within=0.05), Check("b", well)], system)
    assert [r.status for r in results] == [FAIL, PASS]
    assert "0.05 s" in results[0].message


async def test_the_whole_is_as_bad_as_its_worst_part() -> None:
    def results(*findings: Finding) -> list[CheckResult]:
        return [CheckResult("x", finding.status, finding.message, 0.0) for finding in findings]

    well, odd, bad = passed("fine"), warned("odd", "look"), failed("bad", "act")
    assert worst(results()) is PASS
    assert worst(results(well, well)) is PASS
    assert worst(results(well, odd)) is WARN
    assert worst(results(odd, bad, well)) is FAIL


@pytest.mark.parametrize(
    "make",
    [
        database.database_reachable,
        database.database_writable,
        database.database_migrated,
        database.search_ready,
        database.vectors_comparable,
        database.audit_chain_whole,
    ],
)
async def test_a_database_that_is_away_fails_every_check_of_it(make: object) -> None:
    assert callable(make)
    assert (await found(make(Probe()))).status is PASS
    assert (await found(make(Probe(error=ConnectionError("gone"))))).status is FAIL


@pytest.mark.parametrize(("levels", "status"), [((3, 3), PASS), ((2, 3), FAIL), ((4, 3), WARN)])
async def test_a_schema_of_another_version_is_found_out(levels: tuple[int, int], status: CheckStatus) -> None:
    assert (await found(database.database_migrated(Probe(levels=levels)))).status is status


@pytest.mark.parametrize(
    ("offset", "status"), [(0, PASS), (4, PASS), (-4, PASS), (6, WARN), (-6, WARN), (31, FAIL), (-31, FAIL)]
)
async def test_clocks_that_drift_apart_are_found_out(offset: float, status: CheckStatus) -> None:
    assert (await found(database.clock_agrees(Probe(offset), lambda: NOW))).status is status


async def test_a_database_that_cannot_compare_vectors_is_found_out() -> None:
    result = await found(database.vectors_comparable(Probe(pgvector=None)))
    assert (result.status, result.message) == (WARN, "no pgvector: memory is searched by words alone")


async def test_a_broken_audit_chain_is_found_out_and_the_line_named() -> None:
    result = await found(database.audit_chain_whole(Probe(verdict=AuditVerdict(7, 4))))
    assert result.status is FAIL
    assert "line 4 of 7" in result.message


@pytest.mark.parametrize(
    ("secret", "status"),
    [
        ("short", FAIL),
        ("x" * 31, FAIL),
        ("changeme-changeme-changeme-changeme", FAIL),
        ("abababababababababababababababababab", WARN),
        ("b2f1c09d8e7a46534f0e1d2c3b4a5968", PASS),
    ],
)
async def test_a_signing_secret_that_can_be_guessed_is_found_out(secret: str, status: CheckStatus) -> None:
    result = await found(configuration.jwt_secret_strong(secret))
    assert result.status is status
    assert secret not in result.message


@pytest.mark.parametrize(("key", "status"), [("", WARN), ("short", WARN), ("x" * 32, PASS)])
async def test_a_missing_internal_key_is_found_out(key: str, status: CheckStatus) -> None:
    assert (await found(configuration.internal_key_set(key))).status is status


@pytest.mark.parametrize(
    ("providers", "model", "status"),
    [
        ({"openai": object()}, "openai/gpt", PASS),
        ({}, "builtin/rehearsal", WARN),
        ({"ollama": object()}, "openai/gpt", FAIL),
    ],
)
async def test_a_model_without_its_provider_is_found_out(
    providers: dict[str, object], model: str, status: CheckStatus
) -> None:
    assert (await found(configuration.providers_configured(providers, model))).status is status


async def test_chad_is_looked_for() -> None:
    async with ActorSystem("test") as system:
        await system.spawn(agents_spec("openai/gpt", MemoryStore()))
        assert (await found(configuration.chad_present(), system)).status is PASS
    async with ActorSystem("test") as system:
        await system.spawn(ChildSpec(AGENTS, Agents, args=((), MemoryStore())))
        assert (await found(configuration.chad_present(), system)).status is FAIL


async def test_the_machine_is_looked_at(tmp_path: Path) -> None:
    for check in (machine.disk_free(tmp_path), machine.memory_free(), machine.loop_responsive()):
        result = await found(check)
        assert result.message
        assert result.duration_ms >= 0
    assert (await found(machine.disk_free(tmp_path / "nowhere"))).status is FAIL


@attrs.define
class Answering(Actor):
    """A provider whose circuit is as it is told."""

    circuit: str
    name: str = "openai"

    @receive
    def status_of(self, message: ProviderStatus) -> ProviderState:
        return ProviderState(self.name, self.circuit, 0, 0, 8, 5, 0, 4, 1, 0, 0, 0.5, "HTTP 503")


@pytest.mark.parametrize(("circuit", "status"), [("closed", PASS), ("half-open", WARN), ("open", FAIL)])
async def test_a_provider_that_is_left_alone_is_found_out(circuit: str, status: CheckStatus) -> None:
    async with ActorSystem("test") as system:
        assert (await found(providers.circuits_closed(), system)).status is PASS
        spec = DynamicSpec("inference", "inference", lambda key: ChildSpec(key, Answering, args=(circuit,)))
        await system.spawn(spec)
        await system.ensure("inference/openai")
        result = await found(providers.circuits_closed(), system)
        assert result.status is status
        assert "openai" in result.message


async def test_an_agents_own_endpoint_that_is_left_alone_is_only_a_warning() -> None:
    async with ActorSystem("test") as system:
        await system.spawn(DynamicSpec("i", "inference", lambda key: ChildSpec(key, Answering, args=("open", key))))
        await system.ensure("inference/ollama@models.example")
        assert (await found(providers.circuits_closed(), system)).status is WARN


# ---- the actors ----------------------------------------------------------------------------------------------------


@attrs.frozen
class Crash(Ask[None]):
    """Crash on this."""


@attrs.frozen
class Word:
    """Something to lie in a mailbox."""


class Fragile(Actor):
    mailbox_limit = 10

    @receive
    def crash(self, message: Crash) -> None:
        raise RuntimeError("as asked")

    @receive
    def word(self, message: Word) -> None:
        return


async def test_an_actor_in_a_crash_loop_is_found_out_and_named() -> None:
    async with ActorSystem("test") as system:
        spec = DynamicSpec(
            "things",
            "thing",
            lambda key: ChildSpec(key, Fragile, restart=Restart.TRANSIENT),
            quarantine=60.0,
            max_restarts=1,
        )
        await system.spawn(spec)
        await system.ensure("thing/a")
        assert (await found(tree.actors_settled(), system)).status is PASS
        with pytest.raises(Exception, match="thing/a"):
            await system.ask("thing/a", Crash())
        assert (await found(tree.actors_settled(), system)).status is WARN
        for _ in range(3):
            with pytest.raises(Exception, match="thing/a"):
                await system.ask("thing/a", Crash())
        result = await found(tree.actors_settled(), system)
        assert result.status is FAIL
        assert "thing/a" in result.message


async def test_a_mailbox_that_fills_up_is_found_out() -> None:
    async with ActorSystem("test") as system:
        await system.spawn(ChildSpec("fragile", Fragile))
        await system.suspend("fragile")
        for _ in range(4):
            system.tell("fragile", Word())
        assert (await found(tree.mailboxes_drained(), system)).status is PASS
        for _ in range(4):
            system.tell("fragile", Word())
        result = await found(tree.mailboxes_drained(), system)
        assert result.status is WARN
        assert "fragile" in result.message


async def test_dead_letters_are_told_and_those_that_mean_lost_work_warned_of() -> None:
    async with ActorSystem("test") as system:
        assert (await found(tree.mail_delivered(), system)).message == "no dead letters"
        system.tell("nobody", Word())
        assert (await found(tree.mail_delivered(), system)).status is PASS
        ref = await system.spawn(ChildSpec("fragile", Fragile))
        ref.tell(object())
        await wait_all_tasks_blocked()
        assert (await found(tree.mail_delivered(), system)).status is WARN
