# One set of targets for people, hooks and CI; `make help` lists them.
# Stamp files in the virtual environments make every target cheap when nothing has changed.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
ifeq ($(OS),Windows_NT)
    BIN := Scripts
else
    BIN := bin
endif
PY := .venv/$(BIN)/python
PY_BENCH := .venv-bench/$(BIN)/python
PY_NUMBA := .venv-numba/$(BIN)/python
PIP_FLAGS := --quiet --disable-pip-version-check --prefer-binary
CRATE := --manifest-path engine_rust/Cargo.toml --locked

# maturin sets this too. Here it keeps `cargo test` from linking libpython, which a system Python
# has only with its development package, and lets cargo reuse what maturin compiled.
ifeq ($(shell uname -s),Linux)
    export PYO3_BUILD_EXTENSION_MODULE := 1
endif
export PYO3_PYTHON := $(abspath $(PY))

RUST_SOURCES := $(shell find engine_rust -name target -prune -o -name '*.rs' -print) engine_rust/Cargo.toml \
    engine_rust/Cargo.lock
PYTHON_SOURCES := $(shell find src -name '*.py' -o -name '*.pyi')

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' \
	    | awk -F '\t' '{ printf "  %-16s %s\n", $$1, $$2 }'

# --- build ---------------------------------------------------------------------------------

.PHONY: build
build: .venv/.warmed ## .venv with the package (editable), the Rust extension and the test tools

.venv/.dependencies: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "$(PYTHON) is not Python 3.11 or newer; run: make build PYTHON=python3.12" >&2; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install $(PIP_FLAGS) --constraint constraints.txt --upgrade pip
	$(PY) -m pip install $(PIP_FLAGS) --constraint constraints.txt --group test
	@touch $@

.venv/.extension: .venv/.dependencies $(RUST_SOURCES)
	@command -v cargo >/dev/null || { echo "cargo is missing: install a current Rust toolchain," \
	    "or build the Numba-only wheel with: make wheel-numba" >&2; exit 1; }
	PATH="$$PWD/.venv/$(BIN):$$PATH" \
	    $(PY) -m pip install $(PIP_FLAGS) --constraint constraints.txt --no-build-isolation --editable '.[plot]'
	@touch $@

.venv/.warmed: .venv/.extension $(PYTHON_SOURCES)
	$(PY) tools/warm_kernels.py
	@touch $@

# --- use -----------------------------------------------------------------------------------

.PHONY: demo
demo: build ## generate bars, backtest them on both engines, show that they agree
	$(PY) examples/demo.py --out demo-out

.PHONY: docs
docs: build ## write the generated pages of docs/
	$(PY) -m backtest_py.report.metrics_page docs/metrics.md

.PHONY: screenshots
screenshots: build services ## pictures of reports for the documentation; needs Chromium
	$(PY) tools/screenshots.py docs/img

.PHONY: services
services: ## PostgreSQL, promtool and Chromium for the tests that need them, where this is root with apt
	bash tools/services.sh

# --- check ---------------------------------------------------------------------------------

.PHONY: test
test: lint test-rust parity test-python ## everything: lint, types, cargo tests, parity, both engines

# Tests fail where the extension is missing; this makes them say so at once.
test-python test-boundscheck parity parity-long: export BACKTEST_PY_REQUIRE_RUST := 1

.PHONY: test-python
test-python: build services ## pytest: both engines, readers, command line, documentation, packaging
	$(PY) -m pytest src tests

.PHONY: test-rust
test-rust: build ## cargo test
	cargo test $(CRATE)

.PHONY: test-numba-only
test-numba-only: .venv-numba/.installed ## the installation without the Rust engine; no cargo
	$(PY_NUMBA) -m pytest --noconftest tests/test_numba_only.py

.PHONY: parity
parity: build ## both engines and the slow one on all cases; writes parity-report.json and .md
	$(PY) -m parity

.PHONY: parity-long
parity-long: build ## the same on 100,000 generated cases
	$(PY) -m parity --cases 100000

# The reports go elsewhere, so that those of `make parity` stay.
.PHONY: test-boundscheck
test-boundscheck: build ## parity with every index of the Numba kernels checked, and as plain Python
	out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT \
	    && NUMBA_BOUNDSCHECK=1 $(PY) -m parity --cases 300 --out "$$out" \
	    && NUMBA_DISABLE_JIT=1 $(PY) -m parity --cases 100 --out "$$out"

.PHONY: bench
bench: .venv-bench/.installed ## all benchmarks, also against vectorbt; writes docs/benchmarks*.md
	$(PY_BENCH) -m pytest benches -o addopts=--import-mode=importlib --benchmark-json bench-report.json
	$(PY_BENCH) -m benches.report bench-report.json docs/benchmarks.md
	@$(MAKE) bench-sweep
	@$(MAKE) bench-feed

.PHONY: bench-sweep
bench-sweep: .venv-bench/.installed ## sweeps: engines, a plain loop, vectorbt; writes docs/benchmarks-sweep.md
	$(PY_BENCH) -m benches.sweep bench-sweep.json
	$(PY_BENCH) -m benches.sweep_report bench-sweep.json docs/benchmarks-sweep.md

.PHONY: bench-feed
bench-feed: build services ## market data: latency by tier, exchange to metrics; writes docs/benchmarks-feed.md
	$(PY) -m benches.feed bench-feed.json
	$(PY) -m benches.feed_report bench-feed.json docs/benchmarks-feed.md

LOAD_SECONDS ?= 150

.PHONY: load
load: build ## market data under load, with faults, in LOAD_SECONDS=150; writes docs/benchmarks-load.md
	status=0; $(PY) -m benches.load_feed load-report.json --seconds $(LOAD_SECONDS) || status=$$?; \
	    $(PY) -m benches.load_report load-report.json docs/benchmarks-load.md; exit $$status

.PHONY: lint
lint: build ## ruff, mypy, the extension's stub, rustfmt, clippy
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(PY) -m mypy examples tools engine_rust
	$(PY) -m mypy.stubtest backtest_py._engine_rust --mypy-config-file pyproject.toml
	cargo fmt --check --manifest-path engine_rust/Cargo.toml
	cargo clippy $(CRATE) --quiet --all-targets -- -D warnings

.PHONY: lint-workflows
lint-workflows: ## actionlint on .github/workflows, where it is installed
	actionlint

.PHONY: fmt
fmt: build ## format and fix what can be fixed
	$(PY) -m ruff check --fix
	$(PY) -m ruff format
	cargo fmt --manifest-path engine_rust/Cargo.toml

# --- ship ----------------------------------------------------------------------------------

# `pip install $(DIST)/*.whl` and `pip install $(DIST)/numba/*.whl` each find one wheel: the two kinds
# have folders of their own, and a new wheel takes the place of older ones.
DIST ?= dist

# A wheel built on Linux asks for that system's C library or a newer one. MANYLINUX=manylinux_2_28
# links against an older one, with zig as the linker.
.PHONY: wheel
wheel: .venv/.dependencies ## the wheel with both engines in dist/; MANYLINUX=manylinux_2_28
	rm -f "$(DIST)"/backtest_py-*.whl
ifdef MANYLINUX
	$(PY) -m pip install $(PIP_FLAGS) --constraint constraints.txt ziglang
endif
	PATH="$$PWD/.venv/$(BIN):$$PATH" $(PY) -m maturin build --release --out "$(DIST)" \
	    $(if $(MANYLINUX),--zig --compatibility $(MANYLINUX))

.PHONY: sdist
sdist: .venv/.dependencies ## the source distribution in dist/
	$(PY) -m maturin sdist --manifest-path engine_rust/Cargo.toml --out "$(DIST)"

.PHONY: wheel-numba
wheel-numba: .venv-numba/.tools ## a pure Python wheel without the Rust engine in dist/numba/; no cargo
	rm -f "$(DIST)"/numba/backtest_py-*.whl
	$(PY_NUMBA) -m hatchling build --target wheel --directory "$(DIST)/numba"

.venv-numba/.tools: pyproject.toml constraints.txt
	test -x $(PY_NUMBA) || $(PYTHON) -m venv .venv-numba
	$(PY_NUMBA) -m pip install $(PIP_FLAGS) --constraint constraints.txt --upgrade pip hatchling
	@touch $@

.venv-numba/.installed: .venv-numba/.tools $(PYTHON_SOURCES)
	rm -rf .venv-numba/dist
	$(PY_NUMBA) -m hatchling build --target wheel --directory .venv-numba/dist
	$(PY_NUMBA) -m pip uninstall --quiet --yes backtest-py
	$(PY_NUMBA) -m pip install $(PIP_FLAGS) --constraint constraints.txt --group test .venv-numba/dist/*.whl
	@touch $@

.venv-bench/.dependencies: pyproject.toml constraints-bench.txt
	test -x $(PY_BENCH) || $(PYTHON) -m venv .venv-bench
	$(PY_BENCH) -m pip install $(PIP_FLAGS) --constraint constraints-bench.txt --upgrade pip
	$(PY_BENCH) -m pip install $(PIP_FLAGS) --constraint constraints-bench.txt --group bench
	@touch $@

.venv-bench/.installed: .venv-bench/.dependencies .venv/.dependencies $(RUST_SOURCES) $(PYTHON_SOURCES)
	rm -rf .venv-bench/dist
	$(PY) -m maturin build --release --out .venv-bench/dist
	$(PY_BENCH) -m pip uninstall --quiet --yes backtest-py
	$(PY_BENCH) -m pip install $(PIP_FLAGS) --constraint constraints-bench.txt .venv-bench/dist/*.whl
	@touch $@

.PHONY: notices
notices: ## write THIRD_PARTY_NOTICES.md from Cargo.lock
	$(PYTHON) tools/third_party_notices.py

.PHONY: constraints
constraints: .venv/.dependencies ## resolve the newest versions into the constraints files
	PATH="$$PWD/.venv/$(BIN):$$PATH"; \
	    $(PY) tools/constraints.py constraints.txt --no-build-isolation --group test '.[plot]' ziglang; \
	    $(PY) tools/constraints.py constraints-bench.txt --no-build-isolation --group bench .

.PHONY: clean
clean: ## delete what builds and tests leave behind, the extension included
	rm -rf dist demo-out parity-report.* bench-report.json bench-sweep.json bench-feed.json load-report.json .pytest_cache .mypy_cache .ruff_cache
	rm -rf .hypothesis .benchmarks engine_rust/target .venv/.extension .venv/.warmed
	find src tests parity benches -name __pycache__ -type d -prune -exec rm -rf {} +
	find src \( -name '*.so' -o -name '*.pyd' \) -delete

.PHONY: distclean
distclean: clean ## also delete the virtual environments
	rm -rf .venv .venv-bench .venv-numba
