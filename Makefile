# make demo: photographs and a video, annotated by a real detector through Prefect flows
# make check: lint, types, import layers and the tests of pure code, in less than 90 seconds
# make test: all checks and tests
# All set up .venv when it is missing or pyproject.toml has changed; after that they need no network.

PYTHON ?= python3
# `make test PYTHON=python3.13` has an environment of its own, .venv-python3.13
VENV := .venv$(if $(filter command line,$(origin PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
WHEEL := build/wheel
SOURCES := src/prefect_cvat flows tasks deployments functions
# most of what tests do is waiting for servers; each process has its own Prefect server.
# files in their order: xdist would keep those with few tests for the end, and these take longest
BY_FILE := --dist loadfile --no-loadscope-reorder --max-worker-restart 0
TWO_AT_A_TIME := --numprocesses 2 $(BY_FILE)
FIVE_AT_A_TIME := --numprocesses 5 $(BY_FILE)
# modules are compiled once, not in each of the processes that tests start
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo check test lint types pure pytest docs wheel dist e2e workers soak hostile gpu clean

demo: $(VENV)/.installed
	$(BIN)/prefect-cvat demo

check: $(VENV)/.installed-dev
	$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint types pure

test: lint types pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy and import-linter cannot follow an editable install whose folders lie apart: they look at a wheel
types: wheel
	MYPYPATH=$(WHEEL) $(BIN)/mypy -p prefect_cvat
	PYTHONPATH=$(WHEEL) $(BIN)/lint-imports

wheel: $(WHEEL)/.built

# folders are among the sources, so that a module that is gone is noticed
$(WHEEL)/.built: $(VENV)/.installed-dev pyproject.toml setup.py $(shell find $(SOURCES) -name __pycache__ -prune -o -print)
	rm -rf $(WHEEL) build/lib build/bdist.*
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --no-index --target $(WHEEL) .
	touch $@

# what is uploaded to the package index, in build/dist. REPOSITORY is the address that its links get
dist: $(VENV)/.installed-dev
	@test -n "$(REPOSITORY)" || { echo "name the repository: make dist REPOSITORY=https://HOST/OWNER/NAME"; exit 2; }
	PREFECT_CVAT_REPOSITORY="$(REPOSITORY)" $(BIN)/python -m build --no-isolation --outdir build/dist
	$(BIN)/twine check --strict build/dist/*

# tests/pure_tests.py says which these are
pure: $(VENV)/.installed-dev
	$(BIN)/pytest -m pure

# the documentation as a site, in build/site, with a link to REPOSITORY if that is given; its code blocks are run by `make pytest`, those of operations by `make e2e`
docs: wheel $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 REPOSITORY="$(REPOSITORY)" $(BIN)/mkdocs build --quiet --strict

pytest: $(VENV)/.installed-dev
	$(BIN)/pytest $(FIVE_AT_A_TIME) -m "not ctrl_c"
	$(BIN)/pytest -m ctrl_c tests/export/test_export_folder.py tests/runs/test_parallel_chunks.py tests/upload/test_interrupted_writing.py

# on a real Prefect server: the form in a browser, new tasks by webhook, runs that die or are cancelled;
# with DATABASE=postgresql, on one whose database is that of the system's PostgreSQL
e2e: $(VENV)/.installed-dev
	DATABASE=$(DATABASE) $(BIN)/pytest $(TWO_AT_A_TIME) -o faulthandler_timeout=900 $(or $(TESTS),tests/e2e --ignore tests/e2e/test_workers.py)

# a task in shards on two workers, and on clusters of Dask and Ray; one worker of each is killed
workers: $(VENV)/.installed-dev
	DATABASE=$(DATABASE) $(BIN)/pytest -o faulthandler_timeout=900 tests/e2e/test_workers.py

# runs of every kind under faults and kills, beside other machines and people, until 1,000 schedules are played or
# twenty minutes are over; SEED=2 plays others. `soak.py --mutations` sees that it notices what is broken
soak: $(VENV)/.installed-dev
	$(BIN)/python tests/soak/soak.py --schedules 1000 --minutes 20 --seed $(or $(SEED),1)

# on a machine with a GPU: the built-in functions on it, and how busy a run keeps it
gpu: $(VENV)/.installed-dev
	$(BIN)/pytest -rs tests/gpu
	$(BIN)/python benchmarks/gpu.py --json build/gpu.json

# tasks annotated and exported under hostile inputs: chunks, JSON, heads of answers, names, outputs of functions
hostile: $(VENV)/.installed-dev
	$(BIN)/python tests/hostile/hostile.py

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[pytorch,video]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[dev,video]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml | $(VENV)/.installed-dev
	$(BIN)/pip install --quiet --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
