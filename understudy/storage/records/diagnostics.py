"""Stored runs of the diagnostics."""

from datetime import datetime

import attrs

from understudy.storage.records.values import Json


@attrs.frozen
class DiagnosticRun:
    """One stored run of the diagnostics: ``report`` is the whole answer of ``GET /diagnostics``."""

    id: str
    status: str
    created_at: datetime
    report: Json
