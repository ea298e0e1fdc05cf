# SPDX-License-Identifier: Apache-2.0
# Two commands do all the set-up: `make demo` and `make test`. Each makes .venv once and installs what it needs.
# A stamp file says what is installed; it is renewed when pyproject.toml or constraints.txt changes.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
OUT ?= out/office_walk

.PHONY: help demo docs test check pytest test-slow test-gpu format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/.core ## reconstruct the example video into out/office_walk
	$(BIN)/longtake reconstruct examples/office_walk.mp4 --out $(OUT)

docs: .venv/.dev ## build the documentation into out/site; a warning is an error, and the network is not used
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

test: check pytest ## everything a change must pass: lint, format, types, tests (not slow, not gpu)

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# A file's tests stay together: some tell one story, and most share what is slow to make.
pytest: .venv/.dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

test-slow: .venv/.dev ## the tests that take longer than ten seconds each
	$(BIN)/python -m pytest -m "slow and not gpu"

test-gpu: .venv/.dev ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

format: .venv/.dev ## write the code the way `make test` wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what was made here: environment, caches, outputs
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis dist out
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Longtake needs Python 3.11 or newer; $(PYTHON) is older. Name another: make PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable .
	@touch $@

.venv/.dev: .venv/.core
	$(PIP) --editable '.[dev]'
	@touch $@
