"""Settings: what wins, what is refused and in which words, and which secrets are made."""

import os
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.config import ConfigError, Settings, ensure_secrets, find_secrets, load, read, settings_table
from understudy.config.values import BadValue, duration, show_duration

SECRET = "s" * 40


def problems(**sources: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(**sources)
    return [str(problem) for problem in caught.value.problems]


# ---- which source wins


def test_nothing_given_is_the_documented_defaults() -> None:
    settings = load()
    assert (settings.host, settings.port, settings.database_url) == ("127.0.0.1", 8080, None)
    assert settings.data_dir == Path(".understudy").absolute()
    assert (settings.jwt_access_seconds, settings.jwt_refresh_seconds) == (900, 7 * 86400)
    assert (settings.rate_limit_max, settings.user_rate_limit_max, settings.request_timeout) == (30, 60, 120.0)
    assert (settings.model, settings.warnings) == ("builtin/rehearsal", ())


def test_a_flag_beats_the_environment_beats_the_file() -> None:
    toml = {"port": 1}
    assert load(toml=toml).port == 1
    assert load(environ={"PORT": "2"}, toml=toml).port == 2
    assert load({"port": "3"}, {"PORT": "2"}, toml).port == 3


def test_an_empty_variable_and_an_absent_flag_count_as_unset() -> None:
    assert load({"port": None}, {"PORT": " "}, {"port": 7}).port == 7


def test_a_wrong_value_that_a_nearer_source_overrides_does_no_harm() -> None:
    assert load({"port": "3"}, {"PORT": "eighty"}).port == 3


def test_the_older_names_of_the_token_lifetimes_count_after_the_usual_ones() -> None:
    assert load(environ={"JWT_EXPIRY": "1h", "JWT_REFRESH_EXPIRY": "30d"}).jwt_access_seconds == 3600
    assert load(environ={"JWT_EXPIRY": "1h", "JWT_ACCESS_EXPIRES": "5m"}).jwt_access_seconds == 300


def test_tables_of_the_file_are_dotted_keys() -> None:
    settings = load(toml={"outbound": {"allow": ["127.0.0.1/32", "10.0.0.0/8"]}, "cors_origins": "https://a.example"})
    assert [str(network) for network in settings.outbound_allow] == ["127.0.0.1/32", "10.0.0.0/8"]
    assert settings.cors_origins == ("https://a.example",)


def test_agents_come_from_the_toml_and_from_astra_yml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "understudy.toml").write_text('[[agents]]\nid = "a"\nmodel = {temperature = 0.1}\n')
    (tmp_path / "astra.yml").write_text("agents:\n- {id: b}\nsettings: {}\n")
    settings = read({}, {})
    assert settings.agents == ({"id": "a", "model": {"temperature": 0.1}}, {"id": "b"})
    assert settings.warnings == ("settings (astra.yml) is not read; only agents is",)
    (tmp_path / "understudy.toml").unlink()
    assert read({}, {}).agents == ({"id": "b"},)
    (tmp_path / "astra.yml").write_text("")
    assert read({}, {}).agents == ()


@pytest.mark.parametrize(
    "content", ["- a", "agents: [", "a: b: c", "agents: !!python/object/apply:os.getpid []", "\x00"]
)
def test_an_astra_yml_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "astra.yml").write_text(content)
    with pytest.raises(ConfigError, match=r"astra\.yml"):
        read({}, {})


def test_agents_are_a_list_of_tables_with_ids_of_their_own() -> None:
    assert "give a list of agents" in problems(toml={"agents": ["a"]})[0]
    assert "give a list of agents" in problems(astra={"agents": {"a": {}}})[0]
    (told,) = problems(toml={"agents": [{"id": "a"}]}, astra={"agents": [{"id": "a"}, {"id": "b"}]})
    assert told == "agents.a (astra.yml): there is another agent of this id"


# ---- what is refused


def test_all_problems_are_told_together_each_with_its_name_source_and_remedy() -> None:
    told = problems(
        flags={"port": "eighty"},
        environ={"JWT_SECRET": "short", "REQUEST_TIMEOUT_MS": "soon", "UNDERSTUDY_OUTBOUND_ALLOW": "10.0.0.0/99"},
        toml={"trust_proxy": "perhaps", "log_level": "loud"},
    )
    assert len(told) == 6
    text = "\n".join(told)
    assert "--port (flag): 'eighty' will not do; give a port, a whole number from 0 to 65535" in text
    assert "REQUEST_TIMEOUT_MS (environment): 'soon' will not do; give milliseconds" in text
    assert "UNDERSTUDY_OUTBOUND_ALLOW (environment): '10.0.0.0/99' will not do; give networks in CIDR form" in text
    assert "trust_proxy (understudy.toml): 'perhaps' will not do; give true or false" in text
    assert "log_level (understudy.toml): 'loud' will not do; give one of debug, info, warning, error" in text
    assert "JWT_SECRET (environment): the value will not do; give at least 32 random characters" in text


def test_no_secret_and_no_password_in_a_url_is_ever_repeated() -> None:
    told = problems(
        environ={
            "JWT_SECRET": "hunter2",
            "DATABASE_URL": "mysql://me:hunter2@db/x",
            "OPENAI_BASE_URL": "ftp://me:hunter2@models",
            "UNDERSTUDY_MODEL": "openai",
        }
    )
    assert len(told) == 4
    assert "hunter2" not in "\n".join(told)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("port", True),
        ("port", 65536),
        ("port", -1),
        ("port", "80 80"),
        ("port", 8080.5),
        ("drain_timeout", "-5s"),
        ("drain_timeout", "5 parsecs"),
        ("drain_timeout", float("nan")),
        ("drain_timeout", [30]),
        ("host", ""),
        ("host", 7),
        ("data_dir", "~nobody-of-this-name/data"),
        ("data_dir", "a\0b"),
        ("model", "rehearsal"),
        ("model", "builtin/other"),
        ("model", "nobody/gpt"),
        ("database_url", "localhost"),
        ("jwt_algorithm", "none"),
        ("cors_origins", "https://a.example/path"),
        ("cors_origins", ["https://a.example", 3]),
        ("rate_limit_max", "lots"),
    ],
)
def test_a_wrong_value_is_refused_by_name(setting: str, value: object) -> None:
    [told] = problems(toml={setting: value})
    assert told.startswith(f"{setting} (understudy.toml): ")
    assert "give" in told or "one of" in told or "the only" in told


def test_misspelt_names_are_warnings_with_a_suggestion() -> None:
    settings = load(environ={"UNDERSTUDY_DATADIR": "x", "UNDERSTUDY_XYZZY": "x", "HOME": "/"}, toml={"prot": 1})
    assert settings.warnings == (
        "UNDERSTUDY_DATADIR (environment) is not a setting; did you mean UNDERSTUDY_DATA_DIR?",
        "UNDERSTUDY_XYZZY (environment) is not a setting",
        "prot (understudy.toml) is not a setting; did you mean port?",
    )


def test_a_short_internal_key_warns() -> None:
    assert "INTERNAL_API_KEY is short" in load(environ={"INTERNAL_API_KEY": "abc"}).warnings[0]


# ---- providers and the default model


def test_a_key_configures_a_provider_and_its_usual_model_becomes_the_default() -> None:
    settings = load(environ={"GROQ_API_KEY": "gsk-1"})
    assert settings.providers["groq"].base_url == "https://api.groq.com/openai/v1"
    assert settings.providers["groq"].api_key == "gsk-1"
    assert settings.model.startswith("groq/")


def test_a_base_url_alone_configures_a_provider_without_a_key() -> None:
    settings = load(environ={"OPENAI_BASE_URL": "http://127.0.0.1:9101/v1/", "UNDERSTUDY_MODEL": "openai/local"})
    assert settings.providers["openai"].base_url == "http://127.0.0.1:9101/v1"
    assert settings.providers["openai"].api_key is None


def test_a_base_url_that_stops_before_v1_is_completed_where_the_providers_own_tools_would() -> None:
    settings = load(environ={"OLLAMA_BASE_URL": "http://127.0.0.1:11434", "UNDERSTUDY_MODEL": "ollama/qwen3:4b"})
    assert settings.providers["ollama"].base_url == "http://127.0.0.1:11434/v1"
    assert settings.model == "ollama/qwen3:4b"
    for said, taken in (
        ("https://api.anthropic.com", "https://api.anthropic.com/v1"),
        ("https://proxy.example/anthropic", "https://proxy.example/anthropic/v1"),
        ("https://proxy.example/anthropic/v1", "https://proxy.example/anthropic/v1"),
    ):
        assert load(environ={"ANTHROPIC_BASE_URL": said}).providers["claude"].base_url == taken
    google = "https://generativelanguage.googleapis.com"
    for said, taken in (
        (google, f"{google}/v1beta"),
        (f"{google}/v1alpha", f"{google}/v1alpha"),
        (f"{google}/v1beta/openai", f"{google}/v1beta/openai"),
    ):
        assert load(environ={"GEMINI_BASE_URL": said}).providers["gemini"].base_url == taken
    assert load(environ={"OPENAI_BASE_URL": "http://h/api"}).providers["openai"].base_url == "http://h/api"


def test_the_patience_with_providers_is_set_in_seconds() -> None:
    settings = load(environ={"UNDERSTUDY_MODEL_FIRST_TOKEN_TIMEOUT": "5m"}, toml={"model_connect_timeout": "500ms"})
    assert (settings.model_connect_timeout, settings.model_first_token_timeout) == (0.5, 300.0)
    assert settings.model_idle_timeout == 45.0


def test_anthropic_is_another_name_of_claude() -> None:
    settings = load(environ={"ANTHROPIC_API_KEY": "k", "UNDERSTUDY_MODEL": "anthropic/claude-x"})
    assert settings.model == "claude/claude-x"
    assert load(toml={"providers": {"anthropic": {"api_key": "k"}}}).providers["claude"].api_key == "k"


def test_a_provider_of_ones_own_needs_a_base_url() -> None:
    toml = {"providers": {"mycompany": {"base_url": "https://models.example.org/v1"}}, "model": "mycompany/m/1"}
    assert load(toml=toml).model == "mycompany/m/1"
    assert problems(toml={"providers": {"mycompany": {"api_key": "k"}}}) == [
        "providers.mycompany (understudy.toml): a provider of your own needs a base_url"
    ]


@pytest.mark.parametrize("name", ["builtin", "MyCompany", "my company", "a/b"])
def test_a_provider_whose_name_could_not_stand_before_a_slash_is_refused(name: str) -> None:
    [told] = problems(toml={"providers": {name: {"base_url": "https://models.example.org/v1"}}})
    assert "give it a name of small letters" in told


def test_a_model_without_its_provider_is_refused_with_the_variable_to_set() -> None:
    [told] = problems(environ={"UNDERSTUDY_MODEL": "mistral/large"})
    assert "set MISTRAL_API_KEY or MISTRAL_BASE_URL" in told


# ---- the file


def test_the_file_in_the_working_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "understudy.toml").write_text("port = 9\n[outbound]\nallow = ['127.0.0.1']\n")
    monkeypatch.chdir(tmp_path)
    assert read(environ={}).port == 9
    other = tmp_path / "other.toml"
    other.write_text("port = 10\n")
    assert read(environ={"UNDERSTUDY_CONFIG": str(other)}).port == 10


def test_a_named_file_must_exist_and_be_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read(environ={}, config=tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("port = \n")
    with pytest.raises(ConfigError, match=r"is not TOML: .*line 1"):
        read(environ={}, config=tmp_path / "bad.toml")
    (tmp_path / "latin.toml").write_bytes(b"host = '\xff'\n")
    with pytest.raises(ConfigError, match="is not TOML"):
        read(environ={}, config=tmp_path / "latin.toml")


# ---- secrets


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_made_once_private_and_found_again(tmp_path: Path) -> None:
    bare = load({"data_dir": str(tmp_path / "deep" / "data")})
    assert (find_secrets(bare).jwt_secret, bare.data_dir.exists()) == ("", False)
    made = ensure_secrets(bare)
    assert len(made.jwt_secret) >= 32
    assert made.internal_api_key
    assert made.internal_api_key != made.jwt_secret
    assert [mode(bare.data_dir), mode(bare.data_dir / "jwt_secret")] == [0o700, 0o600]
    assert ensure_secrets(bare) == made == find_secrets(bare)
    assert sorted(os.listdir(bare.data_dir)) == ["internal_api_key", "jwt_secret"]


def test_secrets_that_are_given_are_not_made(tmp_path: Path) -> None:
    environ = {"JWT_SECRET": SECRET, "INTERNAL_API_KEY": SECRET, "UNDERSTUDY_DATA_DIR": str(tmp_path / "data")}
    assert ensure_secrets(load(environ=environ)).jwt_secret == SECRET
    assert not (tmp_path / "data").exists()


def test_a_secret_that_others_could_read_is_made_private(tmp_path: Path) -> None:
    settings = load({"data_dir": str(tmp_path)})
    ensure_secrets(settings)
    (tmp_path / "jwt_secret").chmod(0o644)
    ensure_secrets(settings)
    assert mode(tmp_path / "jwt_secret") == 0o600


def test_servers_that_start_at_once_agree_on_the_secret(tmp_path: Path) -> None:
    settings = load({"data_dir": str(tmp_path / "data")})
    together = threading.Barrier(8)
    found: list[Settings] = []

    def start() -> None:
        together.wait(10)
        found.append(ensure_secrets(settings))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8
    assert len({made.jwt_secret for made in found}) == 1


def test_a_data_directory_that_cannot_be_is_a_named_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"data_dir .*Not a directory"):
        ensure_secrets(load({"data_dir": str(tmp_path / "file" / "data")}))
    (tmp_path / "jwt_secret").write_text("\n")
    with pytest.raises(ConfigError, match="jwt_secret is empty; delete it"):
        ensure_secrets(load({"data_dir": str(tmp_path)}))


def test_the_repr_of_settings_shows_no_secret() -> None:
    environ = {
        "JWT_SECRET": SECRET,
        "JWT_SECRET_PREV": SECRET,
        "INTERNAL_API_KEY": SECRET,
        "OPENAI_API_KEY": SECRET,
        "DATABASE_URL": f"postgresql://u:{SECRET}@h/d",
    }
    assert SECRET not in repr(load(environ=environ))


# ---- the declarations


def test_every_setting_names_its_variable_its_default_and_its_purpose_and_no_two_share_a_name() -> None:
    table = settings_table()
    for setting in table:
        assert setting.env
        assert setting.doc.endswith(".")
        assert setting.default or setting.unset, setting.key
        assert (setting.flag is None) == setting.secret
    names = [name for setting in table for name in setting.env]
    assert len(names) == len(set(names))
    assert len({setting.key for setting in table}) == len(table)


@given(st.floats(min_value=0, max_value=1e7).map(lambda seconds: round(seconds, 3)))
def test_a_duration_that_is_shown_is_read_back(seconds: float) -> None:
    shown = show_duration(seconds)
    if "e" not in shown:  # %g of what no operator would write
        assert duration(0, 1e8)(shown) == pytest.approx(seconds, rel=1e-4, abs=1e-3)


@given(st.text() | st.integers() | st.booleans() | st.none() | st.lists(st.text()) | st.floats())
def test_no_value_whatever_gets_past_a_parser_but_as_a_bad_value(raw: object) -> None:
    for setting in settings_table():
        with suppress(BadValue):
            setting.parse(raw)


def test_the_retries_of_webhooks_are_durations_in_a_list_or_between_commas() -> None:
    assert load().webhook_retries == (5.0, 30.0, 120.0, 600.0, 3600.0)
    assert load(environ={"UNDERSTUDY_WEBHOOK_RETRIES": "50ms, 1m30s"}).webhook_retries == (0.05, 90.0)
    assert load(toml={"webhooks": {"retries": ["5s", 10]}}).webhook_retries == (5.0, 10.0)
    for wrong in ("soon", "5s,", ",".join(["1s"] * 21), "2d"):
        (said,) = problems(environ={"UNDERSTUDY_WEBHOOK_RETRIES": wrong})
        assert "UNDERSTUDY_WEBHOOK_RETRIES" in said


# ---- where traces are exported to


def test_opentelemetrys_own_variables_say_where_traces_go() -> None:
    given = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://otel.example.org/base/",
        "OTEL_EXPORTER_OTLP_HEADERS": "Api-Key=a%20b%3D%2C, x-tenant=ours",
        "OTEL_SERVICE_NAME": "helpers",
    }
    settings = load(environ=given)
    assert settings.otlp_endpoint == "https://otel.example.org/base"
    assert settings.otlp_headers == (("api-key", "a b=,"), ("x-tenant", "ours"))
    assert settings.otlp_service_name == "helpers"
    assert "a b=," not in repr(settings)
    assert load().otlp_endpoint is None
    assert load(toml={"otlp": {"endpoint": "http://127.0.0.1:4318"}}).otlp_endpoint == "http://127.0.0.1:4318"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://me:s3cret@otel.example.org"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api key=s3cret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret%0d%0ax: y"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "content-length=s3cret"),
    ],
)
def test_a_collector_that_cannot_be_is_refused_without_showing_secrets(name: str, value: str) -> None:
    (said,) = problems(environ={name: value})
    assert name in said
    assert "s3cret" not in said
