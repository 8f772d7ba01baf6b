# Portico: every command a developer needs. `make` alone lists them.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
UV_VERSION := 0.13.9
T ?= tests
# Files are spread over workers in the order of tests/conftest.py; what one file has started is shared by its tests.
WORKERS ?= auto
PYTEST := $(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# Who sets it (images of containers do) would wait seconds for every command: all its modules are compiled again.
unexport PYTHONDONTWRITEBYTECODE

# The commands that a developer runs by hand are LOCAL ones unless the environment says otherwise.
run reset migrate migration: export ENVIRONMENT ?= LOCAL

.DEFAULT_GOAL := help
.PHONY: help setup lock run reset format lint types contracts test test-unit test-contract test-integration test-e2e test-oldest test-upstream check migration migrate dead-code audit bench bench-docs soak chat crowd faults up down

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Start here
run: .venv/ready ## Start everything: servers, migrations, first administrator, API (Ctrl-C stops it)
	@exec $(BIN)/portico run

reset: .venv/ready ## Remove all local data, once nothing runs (YES=1: without being asked)
	@$(BIN)/portico reset $(if $(YES),--yes)

test: .venv/ready ## Run every test against real servers
	$(PYTEST) $(T)

check: .venv/ready ## Everything CI runs
	@$(MAKE) --no-print-directory --jobs 2 mypy format-check lint pyright contracts collect
	@$(MAKE) --no-print-directory coverage

##@ Set up
setup: .venv/ready ## Make the virtual environment and install the locked dependencies

# An installation is whole once .venv/ready is there; the commands of a clone that was moved lead to its old place.
WHOLE := $(shell test -e .venv/ready && grep -qsF "$$(pwd -P)/.venv/bin/python" .venv/bin/portico && echo yes)

.venv/ready: requirements-dev.lock pyproject.toml $(if $(WHOLE),,anew)
	@echo "Portico: making .venv and installing the locked dependencies (once)…"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Portico needs Python 3.11 or newer; set PYTHON=…"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Portico needs Python's venv module, which $(PYTHON) lacks; install it (Debian, Ubuntu: apt install python3-venv) and run make again"; exit 1; }
	@rm -f $@
	@$(if $(WHOLE),,rm -rf .venv && $(PYTHON) -m venv .venv)
	@{ $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) && \
	  eval "$$($(BIN)/python .ci/uv_environment.py)" && \
	  $(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements-dev.lock && \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --build-constraints requirements-build.lock --editable .; } || \
	  { echo "Portico: the installation failed for the reason above; the next make begins anew"; exit 1; }
	@touch $@

.PHONY: anew
anew:

lock: ## Lock the newest dependencies that pyproject.toml allows
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --extra tracing pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-emit-index-url --no-emit-find-links -c requirements.lock pyproject.toml --group local --group lint --group test -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-emit-index-url --no-emit-find-links -c requirements-dev.lock pyproject.toml --group bench -o requirements-bench.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --group build -o requirements-build.lock

##@ Keep the code clean
format: .venv/ready ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

format-check: .venv/ready
	$(BIN)/ruff format --check .

lint: .venv/ready ## Lint: ruff, codespell, unused dependencies, slots, image, compose files, workflows
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/deptry .
	$(BIN)/python -m slotscheck domain application
	$(BIN)/hadolint Containerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml .github/compose.tests.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zizmor --offline --quiet .github/workflows

.PHONY: format-check mypy pyright collect
types: mypy pyright ## Type-check: mypy strict, pyright strict on domain and application

mypy: .venv/ready
	$(BIN)/mypy

pyright: .venv/ready
	$(BIN)/basedpyright --level error

contracts: .venv/ready ## Check the import contracts of the architecture
	$(BIN)/lint-imports

dead-code: .venv/ready ## Advisory: code that nothing seems to use
	-$(BIN)/vulture

audit: .venv/ready ## Advisory: known vulnerabilities in the locked dependencies
	-$(BIN)/pip-audit --require-hashes -r requirements.lock

##@ Test (T=path narrows each, WORKERS=2 limits the processes)
test-unit: .venv/ready ## Unit tests: no server, seconds
	$(BIN)/pytest --hypothesis-profile=fast -p no:schemathesis -p no:valkey tests/unit

test-contract: .venv/ready ## Every port against memory and the real adapter
	$(PYTEST) tests/contract

test-integration: .venv/ready ## Adapters and HTTP against real servers
	$(PYTEST) tests/integration

test-e2e: .venv/ready ## Real processes, real sockets
	$(PYTEST) tests/e2e

# Private names of these are used; for HTTP, `test_internals` names them.
OLDEST := $(shell sed -nE 's/^ *"(fastapi|starlette|uvicorn|python-engineio|python-socketio|redis)(\[[a-z]+\])?>=([0-9.]+)".*/\1==\3/p' pyproject.toml)
# About `max_concurrency`, which the oldest FastAPI lacks.
NEWER := tests/unit/entrypoints/socketio/test_registration.py::test_a_limit_that_would_not_be_kept_is_refused

# The processes that some tests start have working directories of their own, so the path is a whole one.
test-oldest: .venv/ready ## HTTP, Socket.IO, Redis and the API's processes with the oldest libraries that pyproject.toml allows
	@eval "$$($(BIN)/python .ci/uv_environment.py)" && $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target .oldest $(OLDEST)
	PYTHONPATH=$(CURDIR)/.oldest $(PYTEST) --deselect $(NEWER) tests/unit/entrypoints/{cli,http,socketio,realtime} \
	  tests/integration/test_{http_server,realtime_server,redis,redis_cluster,redis_events,redis_sentinel,redis_tls}.py \
	  tests/e2e/test_{rolling_restart,run}.py

test-upstream: .venv/ready ## python-socketio's own tests, with our server in the place of theirs
	$(BIN)/python -m tests.upstream

# So that pytest compiles the tests of a new clone once, and not each of its workers.
collect: .venv/ready
	@$(BIN)/pytest --collect-only --quiet --quiet $(T) >/dev/null || $(BIN)/pytest --collect-only --quiet --quiet $(T)

coverage: .venv/ready
	$(BIN)/coverage erase
	$(PYTEST) --cov --cov-report= $(T)
	$(BIN)/coverage report
	@echo -n 'Of domain, application and adapters: '; $(BIN)/coverage report --include='domain/*,application/*,adapters/*' --format=total --fail-under=95

##@ Measure
bench: .venv/bench-ready ## Each figure beside its reference (ROW=1 for one row, ARGS="beat --json" for a part)
	@$(BIN)/python -m benchmarks $(if $(ROW),--row $(ROW)) $(ARGS)

bench-docs: .venv/bench-ready ## The same, recorded in docs/performance.json and shown in docs/performance.md and READMEs
	@$(BIN)/python -m benchmarks --record $(if $(ROW),--row $(ROW)) $(ARGS)

soak: .venv/ready ## An API under a load of everything; what it holds, each minute (MINUTES=60, PAUSE=0, ARGS=--record)
	@$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),60) --pause $(or $(PAUSE),0) $(ARGS)

chat: .venv/ready ## 10,000 messages over API processes that are killed in between (ARGS="--messages 500 --kills 2")
	@$(BIN)/python -m tests.e2e.chat $(ARGS)

faults: .venv/ready ## Every server fails in every way under load; what clients see (ARGS="--seconds 10")
	@$(BIN)/python -m tests.faults $(ARGS)

crowd: .venv/ready ## 2,000 connections to one API process: what each costs, a broadcast, slow readers
	@$(BIN)/python -m tests.e2e.crowd $(ARGS)

.venv/bench-ready: .venv/ready requirements-bench.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-bench.lock
	@touch $@

##@ Run in containers
COMPOSE ?= docker compose

secrets: | .venv/ready
	@$(BIN)/portico make-secrets $@

up: secrets ## Build the image and start compose.yaml; makes ./secrets at first (COMPOSE="podman compose")
	$(COMPOSE) up --build --detach --wait

down: ## Stop it; the data stays in volumes
	$(COMPOSE) down

##@ Database
migration: .venv/ready ## Write a migration from the tables: make migration m="what changes"
	@test -n "$(m)" || { echo 'usage: make migration m="what changes"'; exit 2; }
	$(BIN)/portico migrate --autogenerate "$(m)"
	@$(BIN)/ruff format --quiet migrations/versions
	$(BIN)/pytest tests/integration/test_migrations.py -k step

migrate: .venv/ready ## Bring the database to the newest schema
	$(BIN)/portico migrate
