# Launchyard's tasks. `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= $(shell n=$$(nproc); echo $$((n < 4 ? n : 4)))
# A file's tests stay together, for the servers that they share, and the longest files, which come first, begin first.
PARALLEL := --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder
DEBIAN_PACKAGES := chromium fonts-dejavu-core fonts-noto-cjk postgresql redis-server

.DEFAULT_GOAL := help
.PHONY: help install system-deps demo test test-unit test-integration lint typecheck bench docs golden lock clean

help:  ## list the tasks
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## make the environment in .venv (once; again when a requirement changes)

$(STAMP): pyproject.toml requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked packages into $(VENV) (about 3 minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' requirements.lock)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

system-deps:  ## install the Debian packages that the tests use: a browser, fonts, PostgreSQL, Redis
	@missing=""; for name in $(DEBIAN_PACKAGES); do dpkg -s $$name >/dev/null 2>&1 || missing="$$missing $$name"; done; \
	if [ -n "$$missing" ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing; fi

demo: install  ## data -> trained model -> endpoint -> answers, on this machine, with real data
	@$(BIN)/python examples/review-sentiment/demo.py

test: lint typecheck  ## every check and test that this machine can run
	@$(BIN)/python -m pytest -m "not alone" $(PARALLEL)
	@$(BIN)/python -m pytest -m alone

test-unit: install  ## the tests that start no server
	@$(BIN)/python -m pytest -m "not integration and not browser and not gpu and not cluster"

test-integration: install  ## the tests that start real servers
	@$(BIN)/python -m pytest -m "integration or browser"

lint: install  ## style, dead code, who may import whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache

typecheck: install  ## strict types over source, tests and benchmarks
	@$(BIN)/mypy
	@$(BIN)/mypy tests benchmarks examples

bench: install  ## every measure of benchmarks/ (many hours, most for the searches of two libraries); goes on when one misses its target
	@$(BIN)/launchyard run examples/review-sentiment
	@$(BIN)/launchyard run examples/movie-recommender
	@missed=""; while read -r measure; do echo "== $$measure"; \
	eval "$(BIN)/python benchmarks/$$measure" || missed="$$missed\n  $$measure"; done < benchmarks/MEASURES; \
	if [ -n "$$missed" ]; then printf "missed:$$missed\n"; exit 1; fi

docs: install  ## write the generated reference anew: spec, JSON schema, commands, map of the source
	@$(BIN)/python -m launchyard.spec.reference
	@$(BIN)/python -m launchyard.cli.reference
	@$(BIN)/python docs/write_map.py

golden: install  ## write the golden files anew after a change that is meant
	@WRITE_GOLDEN=1 $(BIN)/python -m pytest -q tests/unit/test_pipeline.py

lock: install  ## write requirements.lock from what is installed
	@$(BIN)/python -m pip freeze --exclude-editable > requirements.lock

clean:  ## remove the environment, the caches and all local state
	rm -rf $(VENV) .launchyard .mypy_cache .ruff_cache .pytest_cache
