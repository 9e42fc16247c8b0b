"""Sessions on a platform of the tests: real ones, whose agents speak through the built-in rehearsal."""

import trio

from tests.support.platform import Platform
from tests.support.writing import DirectWriter
from understudy.actors.admin.actor import admin_spec
from understudy.actors.audit.actor import audit_spec
from understudy.actors.clock import utc_now
from understudy.actors.inference.gateway import Inference
from understudy.actors.inference.tree import inference_tree, open_clients
from understudy.actors.metrics.actor import metrics_spec
from understudy.actors.onboarding.actor import onboarding_spec
from understudy.actors.presence.actor import presence_spec
from understudy.actors.session.services import SessionServices
from understudy.actors.session.tree import sessions_spec
from understudy.actors.tools.cache import ToolCache
from understudy.actors.tools.toolbox import Toolbox
from understudy.runtime import SupervisorSpec
from understudy.storage.journal import Journal
from understudy.storage.oversight import AuditFilter
from understudy.storage.probe import Probe
from understudy.storage.records import AuditEntry


async def add_sessions(platform: Platform, *, word_delay: float = 0.0) -> None:
    """Let agents be talked to: sessions, the built-in model (so many seconds a word), presence and the audit log."""
    writer = DirectWriter(Journal(platform.pool))
    clients = open_clients({}, word_delay=word_delay)
    await platform.system.spawn(audit_spec(writer, platform.store.audit))
    await platform.system.spawn(presence_spec())
    await platform.system.spawn(inference_tree(clients))
    services = SessionServices(
        store=platform.store.sessions,
        writer=writer,
        models=Inference(platform.system, clients),
        tools=Toolbox([], report=lambda _: None, cache=ToolCache()),
        now=utc_now,
    )
    await platform.system.spawn(sessions_spec(services))


async def audited(platform: Platform, event: str) -> AuditEntry:
    """The newest line of that kind, once it is there: what is only told to the audit log is written a moment later."""
    with trio.fail_after(30):
        while True:
            lines, _ = await platform.store.audit.list(AuditFilter(event=event), limit=1)
            if lines:
                return lines[0].entry
            await trio.sleep(0.01)


async def add_oversight(platform: Platform) -> None:
    """Let operators look: the numbers, the admin, onboarding. After `add_sessions`."""
    await platform.system.spawn(SupervisorSpec("telemetry", children=(metrics_spec(Probe(platform.pool)),)))
    await platform.system.spawn(admin_spec(platform.store, monthly_tokens=1000))
    await platform.system.spawn(onboarding_spec("builtin/rehearsal", platform.store.onboarding))
