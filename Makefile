# Understudy: `make serve` and `make test` work on a fresh machine with Python 3.11 or newer and make, nothing else.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
TOOLS := $(VENV)/.installed-tools
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$python; break; }; done)
PYTEST_ARGS ?=
SERVE_ARGS ?=
BENCHMARKS ?= $(filter-out load paced,$(basename $(notdir $(wildcard benchmarks/*.py))))

.DEFAULT_GOAL := help
.PHONY: help install serve test load check format bench docs clean

help:  ## Show what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(READY) $(TOOLS)  ## Make .venv and install Understudy in it, with its development tools

# A stamp stands for "what pyproject.toml asks for is installed": it is younger than pyproject.toml exactly then.
$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Understudy needs Python 3.11 or newer, and none was found; say where it is with PYTHON=/path/to/python3." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { echo "Making $(VENV) failed. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Installing Understudy into $(VENV) ($$($(BIN)/python -V)) ..."
	@$(PIP) --editable '.[mcp]'
	@touch $@

$(TOOLS): $(READY)
	@echo "Installing the development tools ..."
	@$(PIP) --editable '.[dev]'
	@touch $@

serve: $(READY)  ## Start the server on http://127.0.0.1:8080 (PORT=… for another port; SERVE_ARGS=… for flags)
	@exec $(BIN)/understudy serve $(SERVE_ARGS)

# 5 is pytest's word for: none chosen.
test: $(TOOLS)  ## Run the tests (PYTEST_ARGS=… for pytest's own arguments)
	$(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist worksteal --quiet $(PYTEST_ARGS) || test $$? -eq 5

# These load a whole server, kill it on purpose and watch the clock: they have the machine to themselves.
load: $(TOOLS)  ## Run the tests that load, kill and starve a whole server (minutes)
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS) || test $$? -eq 5

check: $(TOOLS)  ## Lint, formatting, types, and the layers of the package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(TOOLS)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(TOOLS)  ## Run the benchmarks, each beside a peer when one is installed (BENCHMARKS="actors http" for some)
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

docs: $(READY)  ## Make the reference pages anew from the code
	$(BIN)/understudy reference --write docs/reference

clean:  ## Remove the virtual environment and the caches (never the data directory)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
