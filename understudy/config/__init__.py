"""Settings: flags, then environment, then ``understudy.toml``, then defaults; every problem reported together.

`Settings` declares them, `load` and `read` make one, `ensure_secrets` fills in what the server makes for itself.
This is the lowest floor: it imports nothing of Understudy, and everything that may be configured is handed down.
"""

from understudy.config.declare import Setting
from understudy.config.loading import CONFIG_ENV, CONFIG_FILE, ConfigError, Problem, load, read
from understudy.config.mcp import McpServerSettings
from understudy.config.providers import KNOWN_PROVIDERS, REHEARSAL, KnownProvider, ProviderSettings
from understudy.config.reference import reference
from understudy.config.secrets import ensure_secrets, find_secrets
from understudy.config.settings import Settings, settings_table

__all__ = [
    "CONFIG_ENV",
    "CONFIG_FILE",
    "KNOWN_PROVIDERS",
    "REHEARSAL",
    "ConfigError",
    "KnownProvider",
    "McpServerSettings",
    "Problem",
    "ProviderSettings",
    "Setting",
    "Settings",
    "ensure_secrets",
    "find_secrets",
    "load",
    "read",
    "reference",
    "settings_table",
]
