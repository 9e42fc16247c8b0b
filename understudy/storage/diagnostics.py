"""Runs of the diagnostics, the newest few."""

import msgspec

from understudy.storage.encoding import encode
from understudy.storage.records import DiagnosticRun
from understudy.storage.repository import Repository

KEPT = 10
_decode = msgspec.json.Decoder().decode


class DiagnosticsRepository(Repository):
    """Diagnostic runs."""

    async def add(self, run: DiagnosticRun) -> None:
        """Store a run and forget all but the newest `KEPT`."""
        await self._count(
            "INSERT INTO diagnostic_runs (id, status, report, created_at) VALUES (%s, %s, %s::json, %s)"
            " ON CONFLICT (id) DO NOTHING",
            run.id,
            run.status,
            encode(run.report).decode(),
            run.created_at,
        )
        await self._count(
            "DELETE FROM diagnostic_runs WHERE id IN"
            " (SELECT id FROM diagnostic_runs ORDER BY created_at DESC, id OFFSET %s)",
            KEPT,
        )

    async def last(self, limit: int = KEPT) -> tuple[DiagnosticRun, ...]:
        """The newest runs, newest first."""
        found = await self._rows(
            "SELECT id, status, created_at, report::text FROM diagnostic_runs ORDER BY created_at DESC, id LIMIT %s",
            limit,
        )
        return tuple(DiagnosticRun(id_, status, at, _decode(report)) for id_, status, at, report in found)
