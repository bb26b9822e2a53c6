# OTS Cert: every command that a developer needs. `make help` lists them; each can be run again at once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv from PATH when there is one, else the pinned one in the checkout's own environment.
UV = $$(command -v uv || echo $(BIN)/uv)
# Fetching parts takes the standard library only, so it works before `make install` too.
PARTS_PYTHON = $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
# Hash-pinned requirements that the environment holds, no more and no less.
PINNED := requirements/dev.txt requirements/uv.txt
TEST_STEPS := format-check lint-hq lint-agent types contracts pytest
TEST_WORKERS ?= 4
TEST_TIMEOUT_S ?= 120
PYTEST_ARGS ?=
# How long `make fuzz` looks at each of its targets.
FUZZ_S ?= 60
# Pins that still fit are kept; PIN_ARGS=--upgrade takes the newest of everything.
PIN_ARGS ?=

# Trust what the machine trusts, as pip and apt do: a network may have a proxy with a root of its own.
export UV_SYSTEM_CERTS ?= true
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
# A machine that keeps no bytecode compiles 900 modules at each start of a command: two thirds of the start's CPU.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help
.PHONY: help install parts test test-zone fuzz lint fmt types contracts demo bench lab pins year clean $(TEST_STEPS)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

install: $(VENV)/.installed ## the environment in .venv: pinned dependencies, agent and HQ (editable)

parts: ## the real parts of tests and benchmarks into .parts: Pebble, NSD, dnsperf, ... (Chromium when root)
	@$(PARTS_PYTHON) -m parts.fetch

test: install parts ## everything that CI runs: format, lint, types, import contracts, tests; ends with a table of seconds
	@$(BIN)/python -m tests.harness.steps $(TEST_STEPS)

test-zone: install parts ## the zone alone (part of make test): the RFCs' rules, other servers beside it, bad input
	@$(BIN)/python -m pytest -p tests.harness.nothing_skipped -n $(TEST_WORKERS) --dist worksteal --timeout $(TEST_TIMEOUT_S) hq/tests/zones tests/zone $(PYTEST_ARGS)

fuzz: install ## atheris looks for octets that break the name server, FUZZ_S (60) seconds a target; crashes are kept in .fuzz
	@$(UV) pip install --quiet --target .fuzz/lib --require-hashes -r requirements/fuzz.txt
	@for name in responder front cookie edns stream; do \
	  echo "fuzz: $$name"; \
	  PYTHONPATH=.fuzz/lib:. $(BIN)/python -m tests.zone.fuzz $$name .fuzz $(FUZZ_S) || exit; \
	done

lint: format-check lint-hq lint-agent ## ruff: format, HQ and tests (Python 3.11), agent (3.9)

fmt: install ## put the sources into shape
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

types: install ## mypy, strict
	@$(BIN)/mypy

contracts: install ## who may import what (import-linter)
	@$(BIN)/lint-imports --no-logo

demo: install ## a real CA, HQ and a box on this machine: a browser-trusted page in a second (Ctrl-C ends it)
	@$(PARTS_PYTHON) -m parts.fetch pebble
	@$(BIN)/otscert demo

bench: install parts ## measure (18 minutes on an idle machine), print, and write docs/benchmarks.md
	@$(BIN)/python -m bench

year: install ## 1,000 boxes through a year of outages in virtual time; prints the CAs' ledger, fails when a certificate lapsed
	@$(BIN)/python -m tests.year

lab: install ## the twin laboratory: one image booted twice without randomness (QEMU); docs/twin-lab.md
	@$(PARTS_PYTHON) -m parts.fetch qemu qemu-modules qemu-data seabios linux busybox openssl
	@$(BIN)/python -m lab

pins: install ## write the pins anew: Python packages (requirements/*.txt) and Debian packages (parts/pins.toml)
	@for name in uv runtime dev fuzz; do \
	  echo "pins: requirements/$$name.txt"; \
	  $(UV) pip compile --quiet --generate-hashes --no-header --no-emit-index-url --no-emit-find-links \
	    --python-version 3.11 $(PIN_ARGS) requirements/$$name.in -o requirements/$$name.txt || exit; \
	done
	@echo "pins: parts/pins.toml"
	@$(BIN)/python -m parts.pin

clean: ## remove what these commands made: .venv, .parts, caches
	rm -rf $(VENV) .parts .fuzz .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

format-check: install
	@$(BIN)/ruff format --check

lint-hq: install
	@$(BIN)/ruff check

# From its own folder, where agent/pyproject.toml names the oldest Python of the agent's pure parts.
lint-agent: install
	@cd agent && ../$(BIN)/ruff check

pytest: install
	@$(BIN)/python -m pytest -p tests.harness.nothing_skipped -n $(TEST_WORKERS) --dist worksteal --timeout $(TEST_TIMEOUT_S) $(PYTEST_ARGS)

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "install: $(PYTHON) is not Python 3.11 or newer; name one: make PYTHON=..." >&2; exit 1; }
	@# Debian keeps ensurepip, which venv needs, in a package of its own.
	@command -v uv >/dev/null || $(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  command="apt-get install -y --no-install-recommends python3-venv"; \
	  if [ "$$(id -u)" = 0 ]; then echo "install: $$command"; apt-get -q update && $$command; \
	  else echo "install: this Python cannot make environments; run once: sudo $$command" >&2; exit 1; fi; }
	@test -x $(BIN)/python || { echo "install: making $(VENV)"; \
	  if command -v uv >/dev/null; then uv venv --quiet --python $(PYTHON) $(VENV); else $(PYTHON) -m venv $(VENV); fi; }
	@touch $@

$(VENV)/.installed: $(VENV)/.python $(PINNED) agent/pyproject.toml hq/pyproject.toml
	@command -v uv >/dev/null || test -x $(BIN)/uv || { echo "install: uv, hash-pinned"; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt; }
	@echo "install: dependencies, hash-pinned"
	@$(UV) pip sync --quiet --require-hashes $(PINNED)
	@echo "install: agent and HQ"
	@$(UV) pip install --quiet --no-deps --no-build-isolation -e agent -e hq
	@touch $@
