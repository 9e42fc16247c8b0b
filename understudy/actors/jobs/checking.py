"""Whether a job can be taken at all."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import attrs
import msgspec

from understudy.actors.errors import Detail, Invalid
from understudy.actors.jobs.kinds import JobKind, Payload
from understudy.actors.jobs.messages import (
    FURTHEST_DAYS,
    LARGEST_PAYLOAD,
    LONGEST_DEDUPE_KEY,
    LONGEST_TIMEOUT,
    MOST_RETRIES,
    PRIORITIES,
    EnqueueJob,
)
from understudy.actors.made import made_id
from understudy.storage.job import Job


def new_job(asked: EnqueueJob, kinds: Mapping[str, JobKind], now: datetime) -> Job:
    """The job that is asked for. Raises `Invalid` naming everything that is wrong with it."""
    kind = kinds.get(asked.type)
    if kind is None or (asked.public and not kind.public):
        known = ", ".join(sorted(name for name, each in kinds.items() if each.public or not asked.public))
        shown = asked.type[:64]
        raise Invalid(
            f"type: there are no jobs of type {shown!r}; there are: {known}", details=(Detail("type", "unknown_type"),)
        )
    problems = (*_numbers(asked), *_times(asked, now), *_payload(asked.payload, kind))
    if problems:
        raise Invalid(_sentence(problems), details=problems)
    return Job(
        id=made_id("job"),
        type=kind.name,
        payload=asked.payload,
        created_at=now,
        run_at=max(asked.run_at, now) if asked.run_at is not None else now,
        workspace_id=asked.workspace_id,
        uid=asked.uid,
        priority=asked.priority,
        max_retries=asked.max_retries,
        timeout_seconds=asked.timeout_seconds,
        dedupe_key=asked.dedupe_key,
        internal=not asked.public,
    )


def _numbers(asked: EnqueueJob) -> list[Detail]:
    found = []
    for path, value, least, most in (
        ("maxRetries", asked.max_retries, 0, MOST_RETRIES),
        ("timeoutSeconds", asked.timeout_seconds, 1, LONGEST_TIMEOUT),
        ("priority", asked.priority, *PRIORITIES),
    ):
        if value < least:
            found.append(Detail(path, "too_small"))
        elif value > most:
            found.append(Detail(path, "too_large", most))
    if asked.dedupe_key is not None and not 1 <= len(asked.dedupe_key) <= LONGEST_DEDUPE_KEY:
        found.append(Detail("dedupeKey", "too_long" if asked.dedupe_key else "too_short", LONGEST_DEDUPE_KEY))
    return found


def _times(asked: EnqueueJob, now: datetime) -> list[Detail]:
    if asked.run_at is not None and asked.run_at > now + timedelta(days=FURTHEST_DAYS):
        return [Detail("runAt", "too_late")]
    return []


def _payload(payload: Payload, kind: JobKind) -> list[Detail]:
    try:
        size = len(msgspec.json.encode(payload))
    except (TypeError, ValueError, RecursionError):
        return [Detail("payload", "not_json")]
    if size > LARGEST_PAYLOAD:
        return [Detail("payload", "too_large", LARGEST_PAYLOAD)]
    return [attrs.evolve(each, path=f"payload.{each.path}" if each.path else "payload") for each in kind.check(payload)]


def _sentence(problems: tuple[Detail, ...]) -> str:
    return "; ".join(f"{each.path}: {each.issue.replace('_', ' ')}" for each in problems)
