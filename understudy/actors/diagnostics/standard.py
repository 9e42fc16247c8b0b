"""The checks that every node runs."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Protocol

from understudy.actors.clock import utc_now
from understudy.actors.diagnostics import backlog, configuration, database, machine, providers, tree
from understudy.actors.diagnostics.check import Check
from understudy.actors.diagnostics.ports import AuditChain, Counted, DatabaseProbe


class DiagnosticSettings(Protocol):
    """What the checks look at in the settings."""

    @property
    def data_dir(self) -> Path:
        """Where the data is kept."""
        ...

    @property
    def jwt_secret(self) -> str:
        """What signs tokens."""
        ...

    @property
    def internal_api_key(self) -> str:
        """The operator's key; empty for none."""
        ...

    @property
    def providers(self) -> Mapping[str, object]:
        """The configured providers, by name."""
        ...

    @property
    def model(self) -> str:
        """The default model, as ``provider/model``."""
        ...


class FullProbe(DatabaseProbe, Counted, Protocol):
    """All that the checks ask of the database."""


def standard_checks(
    settings: DiagnosticSettings, probe: FullProbe, audit: AuditChain, now: Callable[[], datetime] = utc_now
) -> tuple[Check, ...]:
    """The checks in the order of the report. Others add theirs to the tuple."""
    return (
        database.database_reachable(probe),
        database.database_writable(probe),
        database.database_migrated(probe),
        database.search_ready(probe),
        database.vectors_comparable(probe),
        backlog.search_in_step(probe),
        backlog.rows_guarded(probe),
        backlog.facts_told(probe, now),
        backlog.jobs_flow(probe, now),
        backlog.schedule_runs(probe, now),
        backlog.webhooks_arrive(probe, now),
        backlog.heartbeats_on_time(probe, now),
        backlog.grants_purged(probe, now),
        database.clock_agrees(probe, now),
        database.audit_chain_whole(audit),
        configuration.jwt_secret_strong(settings.jwt_secret),
        configuration.internal_key_set(settings.internal_api_key),
        configuration.providers_configured(settings.providers, settings.model),
        providers.circuits_closed(),
        configuration.chad_present(),
        backlog.agents_taking_turns(probe, now),
        machine.disk_free(settings.data_dir),
        machine.memory_free(),
        machine.loop_responsive(),
        tree.actors_settled(),
        tree.mailboxes_drained(),
        tree.mail_delivered(),
    )
