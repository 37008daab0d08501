# `make run` opens the workbench, `make test` checks everything; both set up .venv first when it is missing.
# Extra arguments: `make run ARGS="path/to/model --kv-blocks 64"`, `make test ARGS="-k radix"`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=

.PHONY: setup run test lint bench

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or \
		sys.exit("Python 3.11 or newer is needed, this is %s: try make PYTHON=python3.12" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt torch
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	@touch $@

run: $(READY)
	@$(BIN)/workbench $(ARGS)

test: lint
	$(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=3000 $(BIN)/python -m benchmarks $(ARGS)
