"""Settings of the feed: environment over TOML over the profile's defaults."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest_py.data.settings import ENVIRONMENT, PROFILES, FeedSettings, open_feed
from backtest_py.errors import ConfigError

DOCS = Path(__file__).resolve().parents[2] / "docs" / "data.md"
SPECS = {spec.name: spec for spec in FeedSettings.parameters()}
REMOTE = {
    "BACKTEST_PY_DATABASE_URL": "postgresql://db.example/bars",
    "BACKTEST_PY_ARCHIVE_URL": "s3://bucket/bars",
}
names = st.text(string.ascii_lowercase, min_size=1, max_size=8)
VALUES = {
    "data_dir": names,
    "database_url": names.map("sqlite:///{}.sqlite".format),
    "archive_url": names,
    "s3_endpoint": names.map("http://{}".format),
    "exchange_url": names.map("http://{}:8700".format),
    "bulk_url": names.map("https://{}/root".format),
    "memory_bytes": st.integers(0, 1 << 40),
    "workers": st.integers(1, 64),
    "weight_limit": st.integers(10, 2_400),
}
sections = st.fixed_dictionaries({}, optional=VALUES)


def test_the_profiles_are_those_that_were_agreed():
    found = {
        name: (each["memory_bytes"] >> 20, each["workers"], each["weight_limit"])
        for name, each in PROFILES.items()
    }
    assert found == {
        "development": (512, 2, 1_200),
        "staging": (2_048, 4, 1_200),
        "production": (4_096, 8, 2_400),
    }


def test_every_setting_has_a_variable():
    assert set(ENVIRONMENT) == set(SPECS)
    assert set(VALUES) <= set(SPECS)


@given(
    profile=st.sampled_from(["development", "staging", "production"]),
    section=sections,
    environment=sections,
)
def test_environment_over_toml_over_profile(profile, section, environment):
    variables = {ENVIRONMENT[name]: str(value) for name, value in environment.items()}
    if profile == "production":
        variables |= REMOTE
        environment = environment | {
            name: REMOTE[variable] for name, variable in ENVIRONMENT.items() if variable in REMOTE
        }
    settings = FeedSettings.of(profile, section, environment=variables)
    for name, spec in SPECS.items():
        if name in environment:
            expected = environment[name]
        elif name in section:
            expected = section[name]
        else:
            expected = PROFILES[profile].get(name, spec.default)
        assert getattr(settings, name) == expected, name


@given(st.lists(st.sampled_from(["", *PROFILES]), min_size=3, max_size=3))
def test_the_profile_is_that_of_the_call_else_of_the_environment_else_of_toml(chosen):
    call, variable, toml = chosen
    found = FeedSettings.of(
        call, {"profile": toml}, environment={"BACKTEST_PY_PROFILE": variable, **REMOTE}
    )
    expected = PROFILES[call or variable or toml or "development"]
    assert (found.memory_bytes, found.workers) == (expected["memory_bytes"], expected["workers"])


def test_an_empty_variable_is_an_absent_one():
    environment = dict.fromkeys([*ENVIRONMENT.values(), "BACKTEST_PY_PROFILE"], "")
    assert FeedSettings.of(environment=environment) == FeedSettings.of(environment={})


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("BACKTEST_PY_WORKERS", "0", "a whole number from 1 to 64"),
        ("BACKTEST_PY_WORKERS", "two", "a whole number from 1 to 64"),
        ("BACKTEST_PY_WORKERS", "9" * 5_000, "a whole number from 1 to 64"),
        ("BACKTEST_PY_WEIGHT_LIMIT", "2401", "a whole number from 10 to 2,400"),
        ("BACKTEST_PY_MEMORY_BYTES", "-1", "a whole number of at least 0"),
        ("BACKTEST_PY_MEMORY_BYTES", "1.5", "a whole number of at least 0"),
    ],
)
def test_a_variable_that_is_not_allowed_is_named(variable, value, allowed):
    with pytest.raises(ConfigError) as caught:
        FeedSettings.of(environment={variable: value})
    assert str(caught.value).startswith(f"{variable} = {value[:40]!r}")
    assert allowed in str(caught.value)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"worker": 2}, "unknown key of [feed] 'worker'; did you mean 'workers'?"),
        ({"profile": "prod"}, "unknown profile 'prod'"),
        ({"profile": ["staging"]}, "unknown profile"),
        ({"workers": "two"}, "feed.workers = 'two' is not allowed"),
        ({"memory_bytes": 1.5}, "feed.memory_bytes = 1.5 is not allowed"),
        ({"data_dir": 5}, "feed.data_dir = 5 is not allowed; give a text in quotes"),
        ({"exchange_url": "localhost:80"}, "feed.exchange_url (BACKTEST_PY_EXCHANGE_URL)"),
        ([], "write it as a section [feed]"),
    ],
)
def test_a_key_that_is_not_allowed_is_named(section, message):
    with pytest.raises(ConfigError) as caught:
        FeedSettings.of(section=section, environment={})
    assert message in str(caught.value)


def test_production_needs_postgresql_and_s3():
    for lacking in REMOTE:
        environment = {name: value for name, value in REMOTE.items() if name != lacking}
        with pytest.raises(ConfigError, match=f"set {lacking} to an address"):
            FeedSettings.of("production", environment=environment)


def test_folders_of_a_section_are_relative_to_its_file(tmp_path):
    section = {"data_dir": "cache", "archive_url": "old", "database_url": "sqlite:///x/bars.sqlite"}
    assert FeedSettings.located(section, tmp_path) == {
        "data_dir": f"{tmp_path}/cache",
        "archive_url": f"{tmp_path}/old",
        "database_url": f"sqlite:///{tmp_path}/x/bars.sqlite",
    }
    remote = {"archive_url": "s3://bucket", "database_url": "postgresql://host/name"}
    assert FeedSettings.located(remote, tmp_path) == remote


def test_repr_shows_no_password():
    secret = "postgresql://user:hidden@host/name"
    settings = FeedSettings(
        database_url=secret, exchange_url="http://user:hidden@host", data_dir="/home/me@work"
    )
    assert "hidden" not in repr(settings)
    assert "/home/me@work" in repr(settings)


def test_each_tier_is_where_its_setting_says(tmp_path, monkeypatch):
    for name in ENVIRONMENT.values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BACKTEST_PY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("BACKTEST_PY_MEMORY_BYTES", "12345")
    monkeypatch.setenv("BACKTEST_PY_ARCHIVE_URL", "s3://bucket/bars")
    with open_feed() as feed:
        assert feed.memory.status().max_bytes == 12_345
        assert repr(feed.database) == f"Database(sqlite:///{tmp_path}/market.sqlite)"
        assert repr(feed.archive) == "Archive(s3://bucket/bars)"


def test_the_documentation_has_every_setting():
    text = DOCS.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    for name, variable in ENVIRONMENT.items():
        assert any(f"`{name}`" in row and f"`{variable}`" in row for row in rows), name
