"""A job that has something delivered once more."""

from typing import Annotated

from msgspec import Meta

from understudy.actors.jobs.kinds import JobFailed, JobKind, JobResult, JobRun
from understudy.actors.jobs.payloads import Fields, fits, read
from understudy.actors.webhooks.messages import WEBHOOKS, Owner, ReplayDelivery
from understudy.runtime import ActorSystem

WEBHOOK_DELIVER = "webhook.deliver"

Id = Annotated[str, Meta(min_length=1, max_length=128)]


class Redelivery(Fields, frozen=True):
    """Which delivery of which webhook."""

    webhook_id: Id
    delivery_id: Id


def webhook_job_kinds(system: ActorSystem) -> tuple[JobKind, ...]:
    """The type ``webhook.deliver``: queues a delivery of whoever asked for the job anew; see `ReplayDelivery`."""

    async def run(attempt: JobRun) -> JobResult:
        job, asked = attempt.job, read(Redelivery, attempt.job.payload)
        if job.uid is None:
            raise JobFailed("a webhook belongs to somebody", code="VALIDATION")
        replayed = await system.ask(WEBHOOKS, ReplayDelivery(Owner(job.uid), asked.webhook_id, asked.delivery_id))
        return {"webhookId": asked.webhook_id, "deliveryId": replayed.id, "eventId": replayed.event_id}

    return (JobKind(WEBHOOK_DELIVER, run, fits(Redelivery), public=True),)
