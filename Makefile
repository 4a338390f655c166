# Every target sets up .venv by itself when needed and is quick when nothing changed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN    := .venv/bin
DEMO   := .venv/.demo-ready
DEV    := .venv/.dev-ready
PYTEST := $(BIN)/python -m pytest -n 4

.PHONY: help demo test test-all check bench proto proto-accept clean
help:  ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'runtap needs Python 3.11 or newer: make PYTHON=/path/to/python3.11'; exit 1; }
	@echo 'Setting up .venv (once) ...'
	@$(PYTHON) -m venv .venv

$(DEMO): pyproject.toml | $(BIN)/python
	@echo 'Installing runtap and what the demo needs ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

$(DEV): pyproject.toml | $(BIN)/python
	@echo 'Installing runtap and the development tools ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(DEMO)

demo: $(DEMO)  ## log real runs to a local server and read them through the daemon
	@$(BIN)/python clients/demo/demo.py

test: $(DEV)  ## all fast tests, as CI runs them
	@$(PYTEST)

test-all: $(DEV)  ## the fast tests, the static checks, and what is slow
	@$(MAKE) --no-print-directory check
	@$(PYTEST) -m 'slow or not slow'

check: $(DEV)  ## format, lint, types, import floors, generated code
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy daemon clients/python clients/demo tests proto/generate.py
	@$(BIN)/lint-imports
	@$(BIN)/python proto/generate.py --check

bench: $(DEV)  ## side by side with the real client: times, ratios, requests, memory
	@$(BIN)/python -m tests.bench

proto: $(DEV)  ## regenerate the stubs in clients/python/runtap/v1
	@$(BIN)/python proto/generate.py

proto-accept: $(DEV)  ## move the baseline that `buf breaking` compares with (needs a CHANGELOG line)
	@$(BIN)/python proto/generate.py --accept

clean:  ## remove .venv and caches
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
