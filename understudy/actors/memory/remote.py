"""An embedder behind a provider's ``/embeddings``, in OpenAI's form: OpenAI, Mistral, ollama, vLLM and others."""

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
import trio
from msgspec import Meta

from understudy.actors.errors import ProviderFailed
from understudy.actors.inference.openai import DEFAULT_BASE_URL
from understudy.actors.inference.tree import ProviderConfig
from understudy.actors.memory.embedder import DIMENSIONS
from understudy.actors.memory.embedder import NAME as BUILTIN
from understudy.actors.outbound.connection import HttpFault
from understudy.actors.outbound.http1 import Http1Client
from understudy.actors.outbound.jsonpost import JsonPoster
from understudy.storage.remembered import Vector

LEAST_LIKENESS = 0.25
"""The cosine below which texts have little to do with each other; models differ, and it is meant to let too much in."""
LARGEST_ANSWER = 8 * 1024 * 1024
"""Bytes."""
AT_ONCE = 4
"""Requests under way."""
SHORTEST = 1e-290
"""The length below which a vector's numbers are subnormal, or nearly so, and say little of where it points."""


class _Embedding(msgspec.Struct):
    index: int
    embedding: Annotated[list[float], Meta(min_length=1, max_length=16_384)]


class _Answer(msgspec.Struct):
    data: list[_Embedding]


_decode = msgspec.json.Decoder(_Answer).decode


class RemoteEmbedder:
    """Vectors of *model* at *base_url*, brought to the length that memory compares. *provider* is what it is called.

    Whoever asks bounds the time. ``text-embedding-3…`` is asked for short vectors, which it makes well; longer ones of
    other models are folded.
    """

    least = LEAST_LIKENESS

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        provider: str,
        model: str,
        http: Http1Client | None = None,
    ) -> None:
        self.name = f"{provider}/{model}@{DIMENSIONS}"
        self._model = model
        self._provider = provider
        authorization = [("authorization", f"Bearer {api_key}")] if api_key else []
        self._poster = JsonPoster(base_url, "/embeddings", authorization, http=http)
        self._slots = trio.CapacityLimiter(AT_ONCE)

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """The vector of each text. Raises `ProviderFailed`; cancelled, the connection is closed."""
        asked: dict[str, object] = {"model": self._model, "input": list(texts), "encoding_format": "float"}
        if self._model.startswith("text-embedding-3"):
            asked["dimensions"] = DIMENSIONS
        body = msgspec.json.encode(asked)
        async with self._slots:
            try:
                answer = await self._poster.post(body, LARGEST_ANSWER)
            except HttpFault as fault:
                raise ProviderFailed(f"{self._provider} cannot be asked for embeddings: {fault}") from fault
        if len(answer.body) > LARGEST_ANSWER:
            raise ProviderFailed(f"{self._provider} answered with too much")
        if answer.head.status != 200:
            raise ProviderFailed(f"{self._provider} answered {answer.head.status} to a request for embeddings")
        try:
            # In a thread: fifty vectors of thousands of numbers take a tenth of a second.
            return await trio.to_thread.run_sync(_read, answer.body, len(texts))
        except (msgspec.DecodeError, KeyError, UnicodeError) as error:
            raise ProviderFailed(f"{self._provider} answered with something else than embeddings") from error

    async def aclose(self) -> None:
        """Close the kept connections."""
        self._poster.close()
        await trio.lowlevel.checkpoint()


def open_embedder(embedding_model: str, providers: Mapping[str, ProviderConfig]) -> RemoteEmbedder | None:
    """The embedder that is meant by ``provider/model``; None for the built-in one. Opens no connection.

    Raises ValueError for a provider that is not configured, or that does not speak OpenAI's form.
    """
    name, _, model = embedding_model.partition("/")
    if embedding_model == BUILTIN:
        return None
    provider = providers.get(name)
    url = provider.base_url or "" if provider is not None else ""
    if provider is None or name == "claude" or (name == "gemini" and not url.endswith("/openai")):
        raise ValueError(f"{name!r} is no configured provider that makes embeddings in OpenAI's form")
    return RemoteEmbedder(url or DEFAULT_BASE_URL, provider.api_key, provider=name, model=model)


def _read(answer: bytes, count: int) -> list[Vector]:
    found = {each.index: each.embedding for each in _decode(answer).data}
    return [folded(found[number]) for number in range(count)]


def folded(vector: Sequence[float]) -> Vector:
    """*vector* in `DIMENSIONS` numbers and of length one.

    Numbers that fall together are added with fixed random signs (a count sketch, Charikar et al. 2002): cosines stay
    what they were, with a deviation of about 0.06 where the vector was longer. One that is too short to be divided by
    its length without losing its direction is all zeros.
    """
    short = [0.0] * DIMENSIONS
    for at, value in enumerate(vector):
        short[at % DIMENSIONS] += value if at < DIMENSIONS or zlib.crc32(b"%d" % at) & 1 else -value
    length = math.hypot(*short)
    if not math.isfinite(length):
        raise ProviderFailed("an embedding has a number that is none")
    return tuple(value / length for value in short) if length > SHORTEST else (0.0,) * DIMENSIONS
