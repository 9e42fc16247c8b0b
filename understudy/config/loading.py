"""From flags, environment and TOML to `Settings`: the nearest source wins, and all problems are told together."""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import yaml

from understudy.config.mcp import McpReader, McpServerSettings
from understudy.config.providers import ALIASES, BUILTIN, KNOWN_PROVIDERS, REHEARSAL, KnownProvider, ProviderSettings
from understudy.config.settings import Settings, settings_table
from understudy.config.values import BadValue, http_url, text

CONFIG_ENV = "UNDERSTUDY_CONFIG"
CONFIG_FILE = "understudy.toml"
ASTRA_FILE = "astra.yml"
AGENTS = "agents"
MCP = "mcp"

_PROVIDER_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_NAME_ADVICE = f"give it a name of small letters, digits, - and _, other than {BUILTIN}"

# Read by the command line's clients, not by the server; known here so that they are not taken for misspellings.
_CLIENT_ENV = frozenset({CONFIG_ENV, "UNDERSTUDY_URL", "UNDERSTUDY_EMAIL", "UNDERSTUDY_PASSWORD"})


@attrs.frozen
class Problem:
    """One reason not to start: which setting, from where, and what would be right."""

    setting: str
    source: str
    message: str

    def __str__(self) -> str:
        """The problem on one line."""
        return f"{self.setting} ({self.source}): {self.message}"


class ConfigError(Exception):
    """The configuration cannot be used. ``problems`` holds every reason, not only the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems


def load(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    toml: Mapping[str, Any] | None = None,
    astra: Mapping[str, Any] | None = None,
) -> Settings:
    """Settings from *flags* (by key; None is "not given"), *environ* and the parsed *toml*, in that order.

    Agents come from *toml* and from *astra*, the parsed ``astra.yml``, of which nothing else is used.

    Touches nothing outside its arguments: no file is read, no secret made. An empty environment variable counts as
    unset. Unknown TOML keys and misspelt ``UNDERSTUDY_…`` variables become ``warnings``.

    Raises:
        ConfigError: with every wrong value named.
    """
    toml = toml or {}
    reading = _Reading(flags or {}, environ or {}, _flatten({key: toml[key] for key in toml if key != MCP}))
    found = reading.settings()
    found["providers"] = reading.providers()
    found["agents"] = (*reading.agents(AGENTS, CONFIG_FILE, reading.toml.get(AGENTS)), *reading.astra(astra or {}))
    found["mcp_servers"] = reading.mcp_servers(toml.get(MCP, {}))
    if "model" in found:
        found["model"] = reading.checked_model(found["model"], found["providers"])
    else:
        found["model"] = _usual_model(found["providers"])
    found["data_dir"] = found.get("data_dir", Settings().data_dir).absolute()
    warnings = (*reading.warnings, *reading.unknown())
    if reading.problems:
        raise ConfigError(tuple(reading.problems))
    return Settings(**found, warnings=warnings)


def read(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> Settings:
    """`load`, with the files read: *config*, else ``UNDERSTUDY_CONFIG``, else ``understudy.toml`` when it exists.

    And ``astra.yml`` in the working directory, when it exists.

    Raises:
        ConfigError: also for a file that is missing though it was named, or is no TOML or YAML.
    """
    environ = os.environ if environ is None else environ
    named = config or (Path(environ[CONFIG_ENV]) if environ.get(CONFIG_ENV) else None)
    file = named or Path(CONFIG_FILE)
    astra = _astra(Path(ASTRA_FILE))
    if named is None and not file.is_file():
        return load(flags, environ, astra=astra)
    try:
        toml = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError((Problem(str(file), "configuration file", f"cannot be read: {error.strerror}"),)) from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError both are
        raise ConfigError((Problem(str(file), "configuration file", f"is not TOML: {error}"),)) from error
    return load(flags, environ, toml, astra)


def _astra(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        return {}
    try:
        read = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError((Problem(str(file), "configuration file", f"cannot be read: {error.strerror}"),)) from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise ConfigError((Problem(str(file), "configuration file", f"is not YAML: {said}"),)) from error
    if not isinstance(read, dict | None):
        raise ConfigError((Problem(str(file), "configuration file", "is not a mapping of keys to values"),))
    return read or {}


class _Reading:
    """One pass over the three sources, gathering problems and warnings on the way."""

    def __init__(self, flags: Mapping[str, object], environ: Mapping[str, str], toml: Mapping[str, Any]) -> None:
        self.flags = flags
        self.environ = environ
        self.toml = toml
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self.agent_ids: set[str] = set()

    def settings(self) -> dict[str, Any]:
        """The values that somebody gave and that can be used, by field name."""
        found: dict[str, Any] = {}
        for setting in settings_table():
            given = self._given(setting.key, setting.env)
            if given is None:
                continue
            name, source, raw = given
            try:
                found[setting.field] = setting.parse(raw)
            except BadValue as error:
                self.problems.append(Problem(name, source, f"{setting.show(raw)} will not do; {error}"))
        if 0 < len(found.get("internal_api_key", "")) < 16:
            self.warnings.append("INTERNAL_API_KEY is short: give 16 random characters or more")
        return found

    def _given(self, key: str, env: tuple[str, ...]) -> tuple[str, str, object] | None:
        """The nearest value of a setting, with its name there and the source's; None when nobody gave one."""
        if (raw := self.flags.get(key)) is not None:
            return "--" + key.replace(".", "-").replace("_", "-"), "flag", raw
        for name in env:
            if self.environ.get(name, "").strip():
                return name, "environment", self.environ[name]
        if key in self.toml:
            return key, "understudy.toml", self.toml[key]
        return None

    def providers(self) -> dict[str, ProviderSettings]:
        """The providers that have a key or a base URL, the known ones first."""
        found: dict[str, ProviderSettings] = {}
        for known in KNOWN_PROVIDERS:
            spelt = (known.name, *(alias for alias, name in ALIASES.items() if name == known.name))
            key = self._provider_value(spelt, "api_key", (known.key_env,), text)
            url = self._provider_value(spelt, "base_url", (known.url_env,), http_url)
            if key or url:
                found[known.name] = ProviderSettings(known.name, known.complete(url or known.base_url), key)
        for name in self._custom_providers():
            if name == BUILTIN or not _PROVIDER_NAME.fullmatch(name):
                self.problems.append(Problem(f"providers.{name}", "understudy.toml", _NAME_ADVICE))
                continue
            url = self._provider_value((name,), "base_url", (), http_url)
            key = self._provider_value((name,), "api_key", (), text)
            if url:
                found[name] = ProviderSettings(name, url, key)
            elif not any(problem.setting.startswith(f"providers.{name}.") for problem in self.problems):
                self.problems.append(
                    Problem(f"providers.{name}", "understudy.toml", "a provider of your own needs a base_url")
                )
        return found

    def _provider_value(self, names: tuple[str, ...], part: str, env: tuple[str, ...], parse: Any) -> str | None:
        for name in names:
            if (given := self._given(f"providers.{name}.{part}", env)) is not None:
                try:
                    return str(parse(given[2]))
                except BadValue as error:
                    self.problems.append(Problem(given[0], given[1], f"the value will not do; {error}"))
                    return None
        return None

    def agents(self, key: str, source: str, entries: Any) -> Iterator[Mapping[str, Any]]:
        """The tables under *key*; what is in them is for the agents' own floor to check. No id comes twice."""
        if entries is None:
            return
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            self.problems.append(Problem(key, source, f"give a list of agents, each a table: [[{AGENTS}]] in TOML"))
            return
        for entry in entries:
            name = entry.get("id")
            if isinstance(name, str) and name in self.agent_ids:
                self.problems.append(Problem(f"{key}.{name}", source, "there is another agent of this id"))
            elif isinstance(name, str):
                self.agent_ids.add(name)
            yield entry

    def astra(self, astra: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The agents of ``astra.yml``; its other keys are warned of."""
        self.warnings += [f"{key} ({ASTRA_FILE}) is not read; only {AGENTS} is" for key in astra if key != AGENTS]
        yield from self.agents(AGENTS, ASTRA_FILE, astra.get(AGENTS))

    def mcp_servers(self, table: object) -> tuple[McpServerSettings, ...]:
        """The MCP servers that can be used."""
        reader = McpReader(self.environ)
        servers = tuple(reader.servers(table))
        self.problems += [Problem(key, CONFIG_FILE, said) for key, said in reader.problems]
        self.warnings += [f"{key} ({CONFIG_FILE}) is not a setting" for key in reader.unknown]
        return servers

    def _custom_providers(self) -> list[str]:
        known = {known.name for known in KNOWN_PROVIDERS} | set(ALIASES)
        named = (key.split(".")[1] for key in self.toml if key.startswith("providers.") and key.count(".") == 2)
        return [name for name in dict.fromkeys(named) if name not in known]

    def checked_model(self, model: str, providers: Mapping[str, ProviderSettings]) -> str:
        """A default model must be one that can be asked; anything else would fail at the first chat instead."""
        provider, _, name = model.partition("/")
        provider = ALIASES.get(provider, provider)
        if provider not in providers and model != REHEARSAL and (given := self._given("model", ("UNDERSTUDY_MODEL",))):
            self.problems.append(Problem(given[0], given[1], _model_advice(model, provider)))
        return f"{provider}/{name}"

    def unknown(self) -> Iterator[str]:
        """A warning for each TOML key and ``UNDERSTUDY_…`` variable that means nothing here."""
        known_env = _CLIENT_ENV | {name for setting in settings_table() for name in setting.env}
        for name in sorted(self.environ):
            if name.startswith("UNDERSTUDY_") and name not in known_env:
                yield f"{name} (environment) is not a setting" + _did_you_mean(name, known_env)
        known_keys = {setting.key for setting in settings_table()}
        for key in sorted(self.toml):
            parts = key.split(".")
            if parts[0] == "providers" and len(parts) == 3 and parts[2] in {"api_key", "base_url"}:
                continue
            if key not in known_keys and key != AGENTS:
                yield f"{key} (understudy.toml) is not a setting" + _did_you_mean(key, known_keys)


def _model_advice(model: str, provider: str) -> str:
    if provider == BUILTIN:
        return f"{model!r} will not do; the only built-in model is {REHEARSAL}"
    known: KnownProvider | None = next((k for k in KNOWN_PROVIDERS if k.name == provider), None)
    if known is not None:
        return f"{model!r} will not do without its provider; set {known.key_env} or {known.url_env}"
    names = ", ".join(known.name for known in KNOWN_PROVIDERS)
    return f"{model!r} will not do; the provider is one of {BUILTIN}, {names}, or one named in understudy.toml"


def _usual_model(providers: Mapping[str, ProviderSettings]) -> str:
    for known in KNOWN_PROVIDERS:
        if known.name in providers and known.usual_model is not None:
            return f"{known.name}/{known.usual_model}"
    return REHEARSAL


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested TOML tables as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _did_you_mean(name: str, known: frozenset[str] | set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ""
