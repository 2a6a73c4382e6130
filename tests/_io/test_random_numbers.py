"""The one generator of random numbers, against its definition and its published outputs."""

from __future__ import annotations

import numpy as np

from backtest_py._io.random_numbers import splitmix64, splitmix64_at


def plain_splitmix64(state):
    """Yield the numbers one by one, in Python's integers."""
    mask = 2**64 - 1
    while True:
        state = (state + 0x9E3779B97F4A7C15) & mask
        mixed = state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        yield mixed ^ (mixed >> 31)


def test_generator_is_splitmix64():
    plain = plain_splitmix64(0)
    assert splitmix64(0, 0, 50).tolist() == [next(plain) for _ in range(50)]


def test_streams_and_seeds_differ_and_number_i_needs_none_before_it():
    numbers = {
        tuple(splitmix64(seed, stream, 5).tolist()) for seed in range(4) for stream in range(4)
    }
    assert len(numbers) == 16
    assert splitmix64(2**64 + 3, 1, 5).tolist() == splitmix64(3, 1, 5).tolist()
    assert splitmix64(3, 1, 9)[:5].tolist() == splitmix64(3, 1, 5).tolist()


def test_splitmix64_gives_the_published_sequence():
    # the first outputs from seed 1234567, as the reference implementation in C prints them
    numbers = splitmix64_at(1234567, np.arange(5, dtype=np.uint64))
    assert numbers.tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
