"""Every metric, declared once: its name, what it says, its labels and buckets.

Labels have few values, all known beforehand. A symbol, an interval or a parameter is never one:
each combination would be a series of its own.
"""

from __future__ import annotations

from typing import Final

from backtest_py.monitoring.instruments import Counter, Gauge, Histogram, Instrument

__all__ = ["METRICS", "PROCESS"]

TIERS: Final = ("memory", "database", "archive", "exchange")
STORES: Final = TIERS[:3]
ON_DISK: Final = ("database", "archive")
EXCHANGE: Final[dict[str, tuple[str, ...]]] = {"exchange": ()}
"""Its values are the names of the exchanges that a process has opened."""
ENDPOINTS: Final = ("klines", "exchange_info", "time", "archive", "checksum")
RESULTS: Final = (
    *("ok", "not_found", "rate_limited", "banned", "server_error", "refused", "redirected"),
    *("unusable", "cut", "timeout", "unreachable"),
)
VERDICTS: Final = ("agreed", "disagreed", "skipped", "not_needed")
OUTCOMES: Final = ("complete", "interrupted", "refused", "disagreed", "failed")

SECONDS: Final = (
    *(0.000_01, 0.000_05, 0.000_1, 0.000_25, 0.001, 0.005, 0.02, 0.06, 0.15),
    *(0.5, 1.0, 5.0, 30.0, 120.0),
)
"""Bounds at the times that the tiers are held to."""
REQUEST_SECONDS: Final = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
WAIT_SECONDS: Final = (0.01, 0.1, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

# --- the four tiers

HITS: Final = Counter(
    "backtest_py_cache_hits_total",
    "Questions that a tier answered in full: requests in memory, else months or years of a series.",
    {"tier": TIERS},
)
MISSES: Final = Counter(
    "backtest_py_cache_misses_total",
    "Questions that a tier could not answer in full, so that the next one was asked.",
    {"tier": TIERS},
)
READ_SECONDS: Final = Histogram(
    "backtest_py_cache_read_seconds",
    "Time of one read from a tier; for the exchange, of fetching all that a request lacked.",
    {"tier": TIERS},
    buckets=SECONDS,
)
WRITE_SECONDS: Final = Histogram(
    "backtest_py_cache_write_seconds",
    "Time of writing one month or year of a series to a tier.",
    {"tier": ON_DISK},
    buckets=SECONDS,
)
READ_BYTES: Final = Counter(
    "backtest_py_cache_read_bytes_total",
    "Bytes that a tier gave, unpacked.",
    {"tier": TIERS},
)
WRITTEN_BYTES: Final = Counter(
    "backtest_py_cache_written_bytes_total",
    "Bytes that a tier was given to keep, unpacked.",
    {"tier": STORES},
)
PUTS: Final = Counter(
    "backtest_py_cache_puts_total",
    "Entries that were kept: bars in memory, else months or years of a series.",
    {"tier": STORES},
)
DROPS: Final = Counter(
    "backtest_py_cache_drops_total",
    "Entries that a tier forgot.",
    {"tier": STORES, "reason": ("evicted", "expired", "damaged", "withdrawn")},
)
CORRUPTIONS: Final = Counter(
    "backtest_py_cache_corruptions_total",
    "Damage that was found: in one month or year of a series, or in a whole database file.",
    {"tier": ON_DISK, "reason": ("block", "file")},
)
DEGRADATIONS: Final = Counter(
    "backtest_py_cache_degradations_total",
    "Times that a tier failed and the next one had to do its work.",
    {"tier": ON_DISK, "reason": ("damaged", "newer", "unreadable", "unwritable")},
)
MEMORY_BYTES: Final = Gauge(
    "backtest_py_cache_memory_bytes", "Bytes that the first tier holds in memory."
)
MEMORY_LIMIT_BYTES: Final = Gauge(
    "backtest_py_cache_memory_limit_bytes", "The most bytes that the first tier may hold."
)
MEMORY_ENTRIES: Final = Gauge(
    "backtest_py_cache_memory_entries", "Bars that the first tier holds in memory."
)

# --- the exchange

REQUESTS: Final = Counter(
    "backtest_py_exchange_requests_total",
    "Requests that were sent, each attempt counted, by how they ended.",
    EXCHANGE | {"endpoint": ENDPOINTS, "result": RESULTS},
)
RETRIES: Final = Counter(
    "backtest_py_exchange_retries_total",
    "Requests that were sent again, by how the attempt before ended.",
    EXCHANGE | {"result": RESULTS},
)
REQUEST_TIME: Final = Histogram(
    "backtest_py_exchange_request_seconds",
    "Time from sending a request to the end of its answer, or to its failure.",
    EXCHANGE | {"endpoint": ENDPOINTS},
    buckets=REQUEST_SECONDS,
)
RECEIVED_BYTES: Final = Counter(
    "backtest_py_exchange_received_bytes_total",
    "Bytes of answers, unpacked.",
    EXCHANGE | {"endpoint": ENDPOINTS},
)
WEIGHT: Final = Counter(
    "backtest_py_exchange_weight_total", "Request weight that this process used.", EXCHANGE
)
WEIGHT_USED: Final = Gauge(
    "backtest_py_exchange_weight_used",
    "Request weight of the last minute, of all users of the address, as the exchange last said.",
    EXCHANGE,
)
WEIGHT_LIMIT: Final = Gauge(
    "backtest_py_exchange_weight_limit",
    "Request weight that this machine may use in a minute, by its settings.",
    EXCHANGE,
)
WEIGHT_WAIT: Final = Histogram(
    "backtest_py_exchange_weight_wait_seconds",
    "Time that a request waited for its weight, or for a pause that the exchange asked for.",
    EXCHANGE,
    buckets=WAIT_SECONDS,
)
FALLBACKS: Final = Counter(
    "backtest_py_exchange_fallbacks_total",
    "Files of the exchange's public archive that could not be used; REST was asked instead.",
    EXCHANGE | {"reason": ("damaged", "unreachable")},
)

# --- the data itself

CANDLES: Final = Counter(
    "backtest_py_data_candles_total", "Candles that were fetched from an exchange.", EXCHANGE
)
HOLES: Final = Counter(
    "backtest_py_data_holes_total",
    "Stretches without a candle that the exchange itself has, found while fetching.",
    EXCHANGE,
)
HOLE_CANDLES: Final = Counter(
    "backtest_py_data_hole_candles_total", "Candles that those stretches lack.", EXCHANGE
)
REWRITES: Final = Counter(
    "backtest_py_data_rewritten_blocks_total",
    "Months or years of a series in which the exchange gave other candles, or another file.",
    EXCHANGE,
)

# --- sweeps

SWEEPS: Final = Counter(
    "backtest_py_sweeps_total", "Sweeps that ended, by how.", {"outcome": OUTCOMES}
)
SWEEPS_RUNNING: Final = Gauge("backtest_py_sweep_running", "Sweeps that run now.")
SWEEP_COMBINATIONS: Final = Counter(
    "backtest_py_sweep_combinations_total", "Combinations whose results are kept."
)
SWEEP_SHARDS: Final = Counter("backtest_py_sweep_shards_total", "Shards whose results are kept.")
SWEEP_DONE: Final = Gauge(
    "backtest_py_sweep_combinations_done",
    "Combinations of the present sweep that are computed, those of earlier runs included.",
)
SWEEP_PLANNED: Final = Gauge(
    "backtest_py_sweep_combinations_planned", "Combinations of the present sweep in all."
)
SWEEP_SHARDS_DONE: Final = Gauge(
    "backtest_py_sweep_shards_done", "Shards of the present sweep that are kept."
)
SWEEP_SHARDS_PLANNED: Final = Gauge(
    "backtest_py_sweep_shards_planned", "Shards of the present sweep in all."
)
SWEEP_RATE: Final = Gauge(
    "backtest_py_sweep_combinations_per_second", "Speed of the present sweep since it began."
)
SWEEP_ETA: Final = Gauge(
    "backtest_py_sweep_eta_seconds", "Estimate of the time until the present sweep is done."
)
GATES: Final = Counter(
    "backtest_py_sweep_gates_total",
    "Verdicts of the gate that compares an engine with the reference before a large sweep.",
    {"verdict": VERDICTS},
)
GATE: Final = Gauge(
    "backtest_py_sweep_gate_verdict",
    "1 for the verdict of the last gate, 0 for the others.",
    {"verdict": VERDICTS},
)

# --- the process

BUILD: Final = Gauge(
    "backtest_py_build_info",
    "1, with the versions of the package and of Python.",
    {"version": (), "python": ()},
)

METRICS: Final = tuple(
    sorted(
        (each for each in list(globals().values()) if isinstance(each, Instrument)),
        key=lambda each: each.name,
    )
)
"""All that this package measures."""
PROCESS: Final = {
    "process_resident_memory_bytes": "gauge",
    "process_virtual_memory_bytes": "gauge",
    "process_cpu_seconds_total": "counter",
    "process_open_fds": "gauge",
    "process_max_fds": "gauge",
    "process_start_time_seconds": "gauge",
}
"""What prometheus-client adds about the process, on Linux."""
