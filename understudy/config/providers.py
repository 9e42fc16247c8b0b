"""The providers of models: their variables, where they live, and which model they usually mean.

`claude` and `gemini` are spoken to in their own dialects, all others in OpenAI's chat-completions form.
"""

import re
from urllib.parse import urlsplit

import attrs

_VERSIONED = re.compile(r"/v\d\w*(?:/openai)?")


@attrs.frozen
class ProviderSettings:
    """How to reach one configured provider. ``api_key`` is None when it wants none (a local server)."""

    name: str
    base_url: str
    api_key: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class KnownProvider:
    """A provider known by name.

    Attributes:
        name: the part before the slash of ``provider/model``.
        prefix: what its environment variables begin with.
        base_url: where it is when nobody says otherwise.
        usual_model: taken when it is configured and no model is named; None for one that serves what its owner loaded.
        version: what its own tools put behind a base URL by themselves, so that one may be given without.
    """

    name: str
    prefix: str
    base_url: str
    usual_model: str | None = None
    version: str = ""

    @property
    def key_env(self) -> str:
        """The environment variable of its key."""
        return f"{self.prefix}_API_KEY"

    @property
    def url_env(self) -> str:
        """The environment variable of its base URL."""
        return f"{self.prefix}_BASE_URL"

    def complete(self, base_url: str) -> str:
        """*base_url*, with the API's version added when it stops before that and this provider's tools add it too."""
        return base_url if _VERSIONED.search(urlsplit(base_url).path) else base_url + self.version


KNOWN_PROVIDERS: tuple[KnownProvider, ...] = (
    KnownProvider("openai", "OPENAI", "https://api.openai.com/v1", "gpt-4.1-mini"),
    KnownProvider("claude", "ANTHROPIC", "https://api.anthropic.com/v1", "claude-sonnet-4-5", version="/v1"),
    KnownProvider(
        "gemini",
        "GEMINI",
        "https://generativelanguage.googleapis.com/v1beta",
        "gemini-2.5-flash",
        version="/v1beta",
    ),
    KnownProvider("grok", "GROK", "https://api.x.ai/v1", "grok-4"),
    KnownProvider("groq", "GROQ", "https://api.groq.com/openai/v1", "llama-3.3-70b-versatile"),
    KnownProvider("mistral", "MISTRAL", "https://api.mistral.ai/v1", "mistral-small-latest"),
    KnownProvider("openrouter", "OPENROUTER", "https://openrouter.ai/api/v1", "openrouter/auto"),
    KnownProvider("ollama", "OLLAMA", "http://127.0.0.1:11434/v1", version="/v1"),
    KnownProvider("vllm", "VLLM", "http://127.0.0.1:8000/v1", version="/v1"),
)

ALIASES = {"anthropic": "claude"}

BUILTIN = "builtin"
REHEARSAL = "builtin/rehearsal"
