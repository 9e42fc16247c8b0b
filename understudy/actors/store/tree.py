"""The storage branch of the tree."""

from collections.abc import Callable, Sequence
from pathlib import Path

from understudy.actors.store.database import DatabaseActor, Lifetime
from understudy.actors.store.housekeeper import HousekeeperActor
from understudy.actors.store.journal import JournalActor
from understudy.actors.store.outbox import Consumer, OutboxActor
from understudy.actors.store.postgres import PostgresActor
from understudy.runtime import ChildSpec, Strategy, SupervisorSpec
from understudy.storage.embedded import EmbeddedPostgres
from understudy.storage.journal import Journal
from understudy.storage.pool import Pool
from understudy.storage.repositories import Repositories


def storage_tree(
    pool: Pool,
    data_dir: Path,
    database_url: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
    *,
    consumers: Sequence[Consumer] = (),
) -> SupervisorSpec:
    """Everything below ``storage``, in the order in which each stands on the one before.

    Without *database_url* PostgreSQL is embedded in *data_dir*. *progress* is told what a start waits for. *pool* is
    pointed at the database when it is there; who holds it may ask before and waits. *consumers* are told what happens.
    """
    server = EmbeddedPostgres(data_dir, progress=progress) if database_url is None else None
    stores = Repositories.on(pool)

    def conninfo() -> str | None:
        return server.conninfo if server is not None else database_url

    children = [
        ChildSpec("database", DatabaseActor, args=(pool, conninfo, Lifetime(), progress), start_timeout=60.0),
        ChildSpec("journal", JournalActor, args=(Journal(pool),), shutdown=8.0),
        ChildSpec("outbox", OutboxActor, args=(stores.outbox, tuple(consumers))),
        ChildSpec("housekeeper", HousekeeperActor, args=(stores,)),
    ]
    if server is not None:
        children.insert(0, ChildSpec("postgres", PostgresActor, args=(server,), shutdown=25.0, start_timeout=60.0))
    return SupervisorSpec(
        "storage",
        strategy=Strategy.REST_FOR_ONE,
        children=children,
        max_restarts=10,
        window=30.0,
    )
