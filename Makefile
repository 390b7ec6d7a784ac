# `make demo` runs the main job; `make test` the tests. Both set up .venv when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := .ci/constraints.txt
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
RUNS ?= runs
JOBS ?= 2

.PHONY: demo test lint format docs bench venv distributed clean help

help:
	@echo "make demo          accelerate a real ocean model, kill it, resume it, write the report (minutes)"
	@echo "make test          run the tests, JOBS=2 at a time"
	@echo "make lint          ruff and mypy"
	@echo "make distributed   install MPI, PETSc and what talks to them (minutes)"
	@echo "make docs          build the documentation into site/"
	@echo "make bench         run the benchmarks"
	@echo "make clean         remove .venv and what was built (runs are left alone)"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; choose one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { [ "$$(id -u)" = 0 ] && echo "installing python3-venv" && apt-get update -qq && apt-get install -y -qq python3-venv; } || \
	  { echo "Python's venv module is missing; on Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(STAMP): $(BIN)/python pyproject.toml $(CONSTRAINTS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e .
	@touch $@

$(DEV_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev]'
	@touch $@

venv: $(DEV_STAMP)

distributed: $(STAMP)
	PIP_CONSTRAINT=$(CONSTRAINTS) $(BIN)/python -m spinup.distributed.stack

demo: $(STAMP)
	BIN=$(BIN) RUNS=$(RUNS) bash benchmarks/demo.sh

test: $(DEV_STAMP)
	@$(BIN)/python -c 'from mpi4py import MPI; import petsc4py' 2>/dev/null || \
	  echo "the tests on many ranks are left out: they need MPI and PETSc, make distributed"
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(DEV_STAMP)
	$(BIN)/mkdocs build --strict -f docs/mkdocs.yml -d ../site

bench: $(DEV_STAMP)
	$(BIN)/python benchmarks/anderson_overhead.py
	$(BIN)/python benchmarks/veros_period.py

clean:
	rm -rf $(VENV) site build dist *.egg-info
