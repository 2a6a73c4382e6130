"""Memory: the least recently used goes first, counts are right, threads and forks are safe."""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest_py.data.cache.memory import Memory


@given(
    st.lists(
        st.tuples(st.sampled_from(["get", "put", "drop"]), st.integers(0, 6), st.integers(1, 60)),
        max_size=60,
    )
)
def test_it_is_a_plain_queue_of_what_was_used(steps):
    memory, oracle = Memory(100), OrderedDict()
    hits = misses = evictions = 0
    for verb, key, size in steps:
        if verb == "drop":
            memory.drop(key)
            oracle.pop(key, None)
        elif verb == "put":
            memory.put(key, (key, size), size)
            oracle.pop(key, None)
            oracle[key] = size
            while sum(oracle.values()) > 100:
                oracle.popitem(last=False)
                evictions += 1
        else:
            found = memory.get(key)
            assert found == ((key, oracle[key]) if key in oracle else None)
            hits += key in oracle
            misses += key not in oracle
            if key in oracle:
                oracle.move_to_end(key)
        status = memory.status()
        assert (status.entries, status.n_bytes) == (len(oracle), sum(oracle.values()))
    status = memory.status()
    assert (status.hits, status.misses, status.evictions) == (hits, misses, evictions)


def test_what_is_too_large_is_not_kept():
    memory = Memory(100)
    memory.put("a", "small", 50)
    memory.put("a", "large", 101)
    assert memory.get("a") is None
    assert memory.status().entries == 0


def test_keys_are_dropped_by_a_rule():
    memory = Memory(100)
    for key in range(10):
        memory.put(key, key, 1)
    memory.drop_where(lambda key: key % 2)
    assert [memory.get(key) for key in range(4)] == [0, None, 2, None]


def test_threads_never_see_more_bytes_than_allowed():
    memory = Memory(1_000)
    seen = []

    def work(seed):
        choose = random.Random(seed)
        for _ in range(3_000):
            key = choose.randrange(50)
            found = memory.get(key)
            if found is not None and found != key:
                seen.append(("wrong", key, found))
            memory.put(key, key, 20 + key)
            if memory.status().n_bytes > 1_000:
                seen.append("too much")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == []
    status = memory.status()
    assert status.hits + status.misses == 8 * 3_000


def _child(memory, queue):
    found = memory.get("kept")
    memory.put("own", 1, 1)
    queue.put(found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_fork_while_other_threads_are_busy():
    memory, stop = Memory(1_000), threading.Event()
    memory.put("kept", "value", 1)

    def busy():
        while not stop.is_set():
            memory.get("kept")
            memory.put("other", 2, 1)

    threads = [threading.Thread(target=busy, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    try:
        for _ in range(20):
            child = context.Process(target=_child, args=(memory, queue), daemon=True)
            child.start()
            child.join(20)
            assert child.exitcode == 0
            assert queue.get() == "value"
    finally:
        stop.set()
    assert memory.get("own") is None
