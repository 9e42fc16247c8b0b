"""Where vectors come from: a provider, asked as seldom as can be; and what happens when it fails."""

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import attrs
import h11
import msgspec
import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.support.storage import START, Store
from understudy.actors.errors import ProviderFailed
from understudy.actors.jobs.kinds import JobFailed, JobRun
from understudy.actors.jobs.messages import Job
from understudy.actors.memory.embedder import DIMENSIONS, NAME
from understudy.actors.memory.jobs import MEMORY_SCHEDULE, REINDEX, memory_job_kinds
from understudy.actors.memory.remote import RemoteEmbedder, folded, open_embedder
from understudy.actors.memory.vectors import PATIENCE, PAUSE, Vectors
from understudy.config.providers import ProviderSettings
from understudy.storage.memory import MemoryStore
from understudy.storage.records import MemoryCategory, MemoryEntry, MemoryTier

Answer = Callable[[Any], tuple[int, bytes]]


@attrs.define
class Embeddings:
    """A stand-in for a provider's ``/embeddings``."""

    answer: Answer
    asked: list[Any] = attrs.field(factory=list)
    paths: list[str] = attrs.field(factory=list)
    base_url: str = ""

    async def serve(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        body = b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
            elif isinstance(event, h11.Request):
                self.paths.append(event.target.decode())
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return
        self.asked.append(msgspec.json.decode(body))
        status, said = self.answer(self.asked[-1])
        headers = [("content-length", str(len(said))), ("connection", "close")]
        for part in (h11.Response(status_code=status, headers=headers), h11.Data(data=said), h11.EndOfMessage()):
            await stream.send_all(connection.send(part) or b"")


def alike(asked: Any) -> tuple[int, bytes]:
    """Vectors by the length of their texts, and in the wrong order."""
    data = [
        {"index": at, "embedding": [1.0, float(len(text))], "object": "embedding"}
        for at, text in enumerate(asked["input"])
    ]
    return 200, msgspec.json.encode({"object": "list", "data": data[::-1], "model": asked["model"], "usage": {}})


@asynccontextmanager
async def embeddings(answer: Answer = alike) -> AsyncIterator[Embeddings]:
    provider = Embeddings(answer)
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        provider.base_url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/v1"
        nursery.start_soon(trio.serve_listeners, provider.serve, [listener])
        yield provider
        nursery.cancel_scope.cancel()


async def test_a_provider_is_asked_for_all_texts_at_once_and_its_order_is_borne() -> None:
    async with embeddings() as provider:
        remote = RemoteEmbedder(provider.base_url, "sk-test", provider="openai", model="text-embedding-3-small")
        one, three = await remote.embed(["a", "aaa"])
        await remote.aclose()
    assert len(one) == len(three) == DIMENSIONS
    assert [one[1] / one[0], three[1] / three[0]] == pytest.approx([1, 3])
    assert math.hypot(*three) == pytest.approx(1)
    assert provider.paths == ["/v1/embeddings"]
    assert provider.asked == [
        {"model": "text-embedding-3-small", "input": ["a", "aaa"], "encoding_format": "float", "dimensions": DIMENSIONS}
    ]
    assert remote.name == f"openai/text-embedding-3-small@{DIMENSIONS}"


@pytest.mark.parametrize(
    ("status", "said"),
    [(500, b"{}"), (401, b"no"), (200, b"<html>"), (200, b'{"data": []}'), (200, b'{"data": [{"index": 0}]}')],
)
async def test_an_answer_that_is_no_embedding_is_a_failure(status: int, said: bytes) -> None:
    async with embeddings(lambda _: (status, said)) as provider:
        remote = RemoteEmbedder(provider.base_url, None, provider="ollama", model="nomic")
        with pytest.raises(ProviderFailed):
            await remote.embed(["a"])
    with pytest.raises(ProviderFailed):  # nobody listens any more
        await remote.embed(["a"])


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=1536))
@example([5e-324, 5e-324])
@example([1e-300, -1e-300])
def test_a_folded_vector_has_one_length_or_none_at_all(vector: list[float]) -> None:
    short = folded(vector)
    assert len(short) == DIMENSIONS
    assert math.hypot(*short) == pytest.approx(1) or not any(short)
    if len(vector) <= DIMENSIONS and any(short):
        longest = math.hypot(*vector)
        assert short[: len(vector)] == pytest.approx([value / longest for value in vector], abs=1e-9)


def test_an_embedder_is_a_configured_provider_in_openais_form() -> None:
    providers = {
        "openai": ProviderSettings("openai", "https://example.org/v1", "sk"),
        "claude": ProviderSettings("claude", "https://example.org/v1"),
    }
    assert open_embedder(NAME, providers) is None
    opened = open_embedder("openai/small", providers)
    assert opened is not None
    assert opened.name == "openai/small@256"
    for name in ("claude/x", "mistral/embed", "builtin/other"):
        with pytest.raises(ValueError, match="no configured provider"):
            open_embedder(name, providers)


class Counting:
    """An embedder that counts, fails and hangs as told."""

    least = 0.1

    def __init__(self, name: str = "test/one") -> None:
        self.name = name
        self.asked: list[str] = []
        self.broken = self.hanging = False

    async def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        self.asked += texts
        if self.hanging:
            await trio.sleep_forever()
        if self.broken:
            raise ProviderFailed("out of vectors")
        return [(float(len(text)), *[0.0] * (DIMENSIONS - 1)) for text in texts]


async def test_a_text_is_paid_for_once_also_after_a_restart() -> None:
    store, embedder = MemoryStore(lambda: START), Counting()
    vectors = Vectors(embedder, store.memory_index, lambda: START)
    assert await vectors.of("a", "bb") == await vectors.of("a", "bb")
    again = Vectors(embedder, store.memory_index, lambda: START)
    assert [vector[0] for vector in await again.of("bb", "ccc") or ()] == [2, 3]
    assert embedder.asked == ["a", "bb", "ccc"]


async def test_an_embedder_that_fails_is_left_alone_for_a_while(autojump_clock: MockClock) -> None:
    embedder = Counting()
    vectors = Vectors(embedder)
    with trio.fail_after(600):
        embedder.broken = True
        assert [await vectors.of("a") for _ in range(3)] == [None] * 3
        assert (embedder.asked, vectors.failure) == (["a"], "out of vectors")
        embedder.broken = False
        await trio.sleep(PAUSE)
        assert await vectors.of("a")
        assert vectors.failure is None
        embedder.hanging = True
        began = trio.current_time()
        assert [await vectors.of("b") for _ in range(3)] == [None] * 3
        assert trio.current_time() - began == PATIENCE


async def test_another_embedder_makes_all_vectors_anew() -> None:
    store = MemoryStore(lambda: START)
    user, workspace = await Store(store, store.journal).user()  # type: ignore[arg-type]
    for name, made_by in (("a", "builtin"), ("bb", ""), ("ccc", "test/one")):
        store.tables.memories[name] = MemoryEntry(
            name,
            workspace.id,
            user.id,
            MemoryTier.DAILY,
            START.date(),
            MemoryCategory.NOTE,
            name,
            START,
            embedder=made_by,
        )
    embedder = Counting()
    kinds = memory_job_kinds(store.memories, store.knowledge, store.memory_index, Vectors(embedder))
    (reindex,) = (kind for kind in kinds if kind.name == REINDEX)
    run = JobRun(Job("job_1", REINDEX, {}, START, START), lambda: START)
    assert await reindex.run(run) == {"embedder": "test/one", "renewed": 2}
    assert await reindex.run(run) == {"embedder": "test/one", "renewed": 0}
    assert {entry.embedder for entry in store.tables.memories.values()} == {"test/one"}
    assert embedder.asked == ["a", "bb"]

    other = Counting("test/other")
    other.broken = True
    kinds = memory_job_kinds(store.memories, store.knowledge, store.memory_index, Vectors(other))
    (reindex,) = (kind for kind in kinds if kind.name == REINDEX)
    with pytest.raises(JobFailed) as failed:
        await reindex.run(run)
    assert failed.value.retryable


async def test_somebodys_own_upkeep_is_of_what_they_have_where_they_asked_for_it() -> None:
    store = MemoryStore(lambda: START)
    making = Store(store, store.journal)  # type: ignore[arg-type]
    (mira, here), (omar, there) = await making.user(), await making.user("omar@example.org")
    for uid, workspace in ((mira.id, here.id), (mira.id, there.id), (omar.id, here.id)):
        for content in ("I like tea", "I like tea!"):
            name = f"{uid} {workspace} {content}"
            store.tables.memories[name] = MemoryEntry(
                name, workspace, uid, MemoryTier.DAILY, START.date(), MemoryCategory.NOTE, content, START, embedder=""
            )
    kinds = memory_job_kinds(store.memories, store.knowledge, store.memory_index, Vectors(Counting()))
    assert {kind.name for kind in kinds if kind.public} == {"memory.consolidate", "memory.reindex"}
    tomorrow = START + timedelta(days=1)
    done = {}
    for kind in kinds:
        if kind.public:
            assert kind.check({"uid": omar.id}) != ()
            job = Job("j", kind.name, {}, START, START, here.id, mira.id)
            done[kind.name] = await kind.run(JobRun(job, lambda: tomorrow))
    assert done == {"memory.consolidate": {"deleted": 1}, "memory.reindex": {"embedder": "test/one", "renewed": 1}}
    assert len(store.tables.memories) == 5
    renewed = [each for each in store.tables.memories.values() if each.embedder == "test/one"]
    assert [(each.uid, each.workspace_id) for each in renewed] == [(mira.id, here.id)]


async def test_the_upkeep_deletes_what_is_over_and_nothing_else() -> None:
    store = MemoryStore(lambda: START)
    user, workspace = await Store(store, store.journal).user()  # type: ignore[arg-type]
    for name, content in (("a", "I like tea"), ("b", "I like tea!"), ("c", "I like coffee")):
        expires = START if name == "c" else None
        store.tables.memories[name] = MemoryEntry(
            name,
            workspace.id,
            user.id,
            MemoryTier.DAILY,
            START.date(),
            MemoryCategory.NOTE,
            content,
            START,
            expires_at=expires,
        )
    kinds = memory_job_kinds(store.memories, store.knowledge, store.memory_index, Vectors())
    done = {kind.name: await kind.run(JobRun(Job("j", kind.name, {}, START, START), lambda: START)) for kind in kinds}
    assert done["memory.consolidate"] == {"deleted": 1}
    assert done["memory.decay"] == {"expired": 1, "vectors": 0}
    assert done["memory.graph_decay"] == {"edges": 0, "entities": 0}
    assert list(store.tables.memories) == ["a"]
    assert {each.kind for each in MEMORY_SCHEDULE} == set(done)
