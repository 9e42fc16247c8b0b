"""The reference of the configuration, as Markdown made from the declarations."""

from itertools import groupby

from understudy.config.declare import Setting
from understudy.config.providers import ALIASES, KNOWN_PROVIDERS
from understudy.config.settings import settings_table

_HEAD = """\
# Configuration

Made from the code by `understudy reference configuration`: edit the declarations in `understudy/config/`, not this
page.

A setting is taken from the first of: the command line's flag, the environment variable (an empty one counts as unset),
`understudy.toml` in the working directory (another file with `--config` or `UNDERSTUDY_CONFIG`), the default. A wrong
value refuses to start, and all wrong values are named at once. An unknown key in the file, or a variable that begins
with `UNDERSTUDY_` and means nothing, is a warning with a suggestion.

Durations are written `30s`, `15m`, `1h30m`, `7d`; a plain number is seconds. Lists have commas between, or are TOML
arrays. A key with a dot is in a TOML table: `outbound.allow` is `allow` under `[outbound]`.
"""

_PROVIDERS = """\
## Providers

A provider is configured by its key or its base URL, in the environment or in `understudy.toml`:

```toml
[providers.openai]
api_key = "sk-…"

[providers.mycompany]                  # any server that speaks OpenAI's chat completions, under a name of your own
base_url = "https://models.example.org/v1"
```

`claude` is spoken to in Anthropic's Messages API and `gemini` in Google's generateContent (a base URL that ends in
`/openai`: in OpenAI's form); all others in OpenAI's chat completions.

| provider | key | base URL | its default | usual model |
|---|---|---|---|---|
"""


_AGENTS = """\
## Agents

Agents for every workspace, in the form that `POST /agents` takes; one that names no model is on the model above:

```toml
[[agents]]
id = "librarian"
systemPromptTemplate = "You keep the books of {{workspace.displayName}}."
tools = { allow = ["calculator"] }
```

The list `agents` of an `astra.yml` in the working directory is read too, and nothing else of that file. An agent that
cannot be run refuses to start; a field that no agent has is a warning.
"""

_MCP = """\
## MCP servers

Servers of the Model Context Protocol, whose tools agents may be allowed as `mcp__<server>__<tool>` (see
[Use MCP servers](../howto/use-mcp-servers.md)). Each has either a command or a URL:

```toml
[mcp.servers.time]
command = ["uvx", "mcp-server-time"]
env = { TZ = "UTC" }                        # beside PATH, HOME, the locale and the like
cwd = "/srv/time"
timeout = "30s"                             # of each call of a tool

[mcp.servers.tracker]
url = "https://tracker.example.org/mcp"     # streamable HTTP
headers = { Authorization = "Bearer ${TRACKER_TOKEN}" }
```

`${NAME}` is that variable of the server's environment; one that is not set refuses to start. Without the extra
`understudy[mcp]` a configured server does, too.
"""


def reference() -> str:
    """The whole page."""
    parts = [_HEAD]
    for group, settings in groupby(settings_table(), key=lambda setting: setting.group):
        parts.append(f"\n## {group}\n")
        parts.extend(_entry(setting) for setting in settings)
        if group == "Models":
            parts.append("\n" + _providers())
            parts.append("\n" + _AGENTS)
        if group == "Tools":
            parts.append("\n" + _MCP)
    return "".join(parts)


def _entry(setting: Setting) -> str:
    env = " or ".join(f"`{name}`" for name in setting.env)
    flag = f"`{setting.flag}`" if setting.flag else "none, it is secret"
    default = f"`{setting.default}`" if setting.default is not None else setting.unset
    return f"\n### `{setting.key}`\n\n{setting.doc}\n\n- environment: {env}\n- flag: {flag}\n- default: {default}\n"


def _providers() -> str:
    rows = []
    for known in KNOWN_PROVIDERS:
        aliases = "".join(f" (also `{alias}`)" for alias, name in ALIASES.items() if name == known.name)
        model = f"`{known.usual_model}`" if known.usual_model else "none: name one"
        rows.append(
            f"| `{known.name}`{aliases} | `{known.key_env}` | `{known.url_env}` | `{known.base_url}` | {model} |\n"
        )
    return (
        _PROVIDERS
        + "".join(rows)
        + "\n`builtin/rehearsal` is always there: a deterministic stand-in that needs no key and no network.\n"
    )
