"""The OpenAI form: any server that speaks OpenAI's chat completions, streamed.

`openai`, `grok`, `groq`, `mistral`, `openrouter`, `ollama`, `vllm` and every provider of one's own.
"""

from collections.abc import Mapping
from typing import ClassVar

from understudy.actors.inference.assembler import ChatAssembler
from understudy.actors.inference.messages import ModelRequest
from understudy.actors.inference.openai_wire import Accent, encode_request
from understudy.actors.inference.timeouts import Timeouts
from understudy.actors.inference.upstream import Call, Instead, StreamingClient
from understudy.actors.outbound.http1 import Http1Client

DEFAULT_BASE_URL = "https://api.openai.com/v1"


class OpenAIClient(StreamingClient):
    """Speaks chat completions to one base URL with one key. *name* is what errors call the provider."""

    # The reasoning models of several providers take no temperature; old servers know only one of the two limits.
    NEGOTIABLE: ClassVar[Mapping[str, Instead]] = {
        "temperature": None,
        "stream_options": None,
        "max_tokens": "max_completion_tokens",
        "max_completion_tokens": "max_tokens",
    }

    def __init__(
        self,
        base_url: str = DEFAULT_BASE_URL,
        api_key: str | None = None,
        *,
        name: str = "openai",
        timeouts: Timeouts | None = None,
        http: Http1Client | None = None,
    ) -> None:
        auth = [(b"authorization", f"Bearer {api_key}".encode())] if api_key else []
        super().__init__(base_url, api_key, name=name, auth=auth, timeouts=timeouts, http=http)
        self._target = f"{self._path}/chat/completions".encode()
        self._accent = Accent.of(self._origin.host)

    def _call(self, request: ModelRequest) -> Call:
        return Call(self._target, encode_request(request, self._accent), ChatAssembler(self._name, request))
