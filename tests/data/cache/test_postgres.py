"""PostgreSQL: stopped, started again, out of reach, and with a password that is not shown."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.market_blocks import PERIOD, SERIES, market_block
from tests.services import free_port

from backtest_py.data.cache.database import DAY_SECONDS, Database
from backtest_py.errors import CacheError, ConfigError


def test_a_server_that_stops_and_comes_back(postgres):
    cache = Database(postgres.new_database())
    cache.put(market_block())
    postgres.stop()
    try:
        for ask in (lambda: cache.get(SERIES, PERIOD), lambda: cache.put(market_block(seed=1))):
            began = time.monotonic()
            with pytest.raises(CacheError, match="cannot be used"):
                ask()
            assert time.monotonic() - began < 2
    finally:
        postgres.start()
    cache.put(market_block(seed=2))
    assert cache.get(SERIES, PERIOD) == market_block(seed=2)
    cache.close()


def test_a_connection_that_is_cut_while_it_writes(postgres):
    """The transaction is undone; the next use gets another connection."""
    cache = Database(postgres.new_database())
    cache.put(market_block(seed=1))

    def cut():
        with cache._using() as connection:
            connection.execute(cache._blocks.delete())
            connection.exec_driver_sql("select pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(CacheError):
        cut()
    assert cache.get(SERIES, PERIOD) == market_block(seed=1)
    cache.close()


def test_a_server_that_was_never_there_is_refused_at_once():
    began = time.monotonic()
    cache = Database(f"postgresql://me:planted-secret@127.0.0.1:{free_port()}/bars")
    with pytest.raises(CacheError, match="refused") as caught:
        cache.get(SERIES, PERIOD)
    assert time.monotonic() - began < 3
    assert "planted-secret" not in str(caught.value)


def test_a_server_that_does_not_answer_is_given_up(silent):
    host = silent.removeprefix("http://")
    cache = Database(f"postgresql://me:planted-secret@{host}/bars")
    began = time.monotonic()
    with pytest.raises(CacheError):
        cache.get(SERIES, PERIOD)
    assert time.monotonic() - began < 8
    again = time.monotonic()
    with pytest.raises(CacheError, match="not asked again"):
        cache.get(SERIES, PERIOD)
    assert time.monotonic() - again < 0.5


def test_many_make_the_tables_at_the_same_time(postgres):
    url = postgres.new_database()

    def work(seed):
        cache = Database(url)
        cache.put(market_block(1_000, seed=seed))
        found = cache.get(SERIES, PERIOD)
        cache.close()
        return found

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(work, range(6)))
    assert all(block in [market_block(1_000, seed=seed) for seed in range(6)] for block in found)


def test_a_time_to_live_holds_there_as_well(postgres):
    now = [1_800_000_000.0]
    cache = Database(postgres.new_database(), clock=lambda: now[0])
    cache.put(market_block())
    now[0] += 6 * DAY_SECONDS
    assert cache.get(SERIES, PERIOD) is not None
    now[0] += 6 * DAY_SECONDS
    assert cache.sweep() == 0
    now[0] += 2 * DAY_SECONDS
    assert cache.sweep() == 1
    assert cache.get(SERIES, PERIOD) is None
    cache.close()


def test_payloads_are_sent_as_they_are_and_not_compressed_twice(postgres):
    cache = Database(postgres.new_database())
    cache.put(market_block())
    with cache._using() as connection:
        storage = connection.exec_driver_sql(
            "select attstorage::text from pg_attribute where attname = 'payload'"
        ).scalar_one()
        result = connection.execute(cache._select(SERIES, PERIOD))
        assert result.cursor.format == 1
        assert all(isinstance(value, bytes) for value in result.one()[3:5])
    assert storage == "e"
    cache.close()


def test_one_at_sign_too_many_is_refused_without_showing_the_password():
    with pytest.raises(ConfigError, match="%40") as caught:
        Database("postgresql://me:planted@secret@127.0.0.1/bars")
    assert "planted" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_planted_password_is_shown_nowhere(postgres, caplog, capfd, recwarn):
    caplog.set_level(0)
    secret = "pl@nted/S3cret word"
    quoted = "pl%40nted%2FS3cret%20word"
    texts = []
    for url in (
        f"postgresql://tester:{quoted}@127.0.0.1:{postgres.port}/postgres",
        f"postgresql://tester:{quoted}@127.0.0.1:{free_port()}/postgres",
        f"postgresql://tester@127.0.0.1:{postgres.port}/postgres?password={quoted}",
        f"postgresql://tester:{quoted}@[/postgres",
        f"postgresql://tester:{quoted}@no.such.host.invalid/{'x' * 100}",
        f"postgresql+nonsense://tester:{quoted}@127.0.0.1/postgres",
        f"mysql://tester:{quoted}@127.0.0.1/postgres",
        f"postgresql://tester:{quoted}@127.0.0.1:99999999/postgres",
        f"postgresql://tester:{quoted}@127.0.0.1:{postgres.port}/postgres?nonsense=1",
    ):
        try:
            cache = Database(url)
            texts += [repr(cache), str(cache), repr(vars(cache))]
            cache.get(SERIES, PERIOD)
        except (CacheError, ConfigError) as error:
            texts += [str(error), repr(error), repr(error.__cause__)]
        else:
            raise AssertionError(url)
    texts += [caplog.text, *capfd.readouterr(), *(str(each.message) for each in recwarn)]
    for form in (secret, quoted, "S3cret", "nted"):
        assert not [text for text in texts if form in text]


@pytest.fixture
def silent():
    from tests.services import silent_server

    with silent_server() as address:
        yield address
