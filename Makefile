# Everything a person does with a checkout. `make` alone lists it.
#
# PYTHON   the interpreter that .venv is made from (3.11 or newer)
# WORKERS  pytest processes
# BENCHMARKS  which of benchmarks/ `make bench` runs
# UV       the uv that `make test-lowest` installs with (pip cannot choose the oldest versions)
# RUNS     where `make ui` and `make pictures` look for runs; RUN the one to show

PYTHON  ?= python3
WORKERS ?= 2
UV      ?= uv
RUNS    ?= runs
BENCHMARKS ?= attacks record_scale sampling improve probes
BIN     := .venv/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check

# A thread pool per process would only make two workers on two cores wait for one another.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help demo test test-lowest lint docs ui pictures bench clean

help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.demo ## install into .venv, then train and audit a small model on this machine (minutes)
	$(BIN)/restaudit demo

test: lint ## install into .venv, then check style, types and imports, and run the tests
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-lowest: ## run the tests with the oldest versions that pyproject.toml allows (needs uv; gigabytes)
	$(UV) venv -q --seed --allow-existing -p $(PYTHON) .venv-lowest
	$(UV) pip install -q -p .venv-lowest --resolution lowest-direct -e '.[test]'
	$(ONE_THREAD) .venv-lowest/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: .venv/.test ## check style, types and imports only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The notice is about the future of mkdocs; decision 20 answers it. With --quiet mkdocs would count no warnings.
docs: .venv/.docs ## build the documentation into build/site (open build/site/index.html); warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

ui: .venv/.demo ## open the app on the runs under RUNS
	$(BIN)/restaudit ui $(RUNS)

pictures: .venv/.test ## take pictures of the app's pages on RUNS/RUN (needs Debian's chromium)
	$(BIN)/python tools/screenshots.py $(RUNS) $(RUN)

bench: .venv/.bench ## run every benchmark and print its ratios (many minutes)
	@set -e; for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name; done

clean: ## remove .venv and caches; runs are left alone
	rm -rf .venv .venv-lowest build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "restaudit needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 demo" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

# Stamps: an install is repeated only when what it depends on has changed.
.venv/.demo: | .venv/bin/python
.venv/.test: | .venv/bin/python
.venv/.bench: | .venv/bin/python
.venv/.docs: | .venv/bin/python
.venv/.demo .venv/.bench .venv/.docs .venv/.test: .venv/.%: pyproject.toml constraints.txt
	@echo "installing restaudit[$(EXTRA)] into .venv (the first time takes a few minutes)"
	$(PIP) install -q -c constraints.txt -e '.[$(EXTRA)]'
	@touch $@

.venv/.demo: EXTRA := demo
.venv/.test: EXTRA := test
.venv/.bench: EXTRA := demo,rlhf
.venv/.docs: EXTRA := docs
