# make quickstart   set up, train a small model on real text on the CPU, print samples   (SEED=1, STEPS=40)
# make test         set up, then the whole suite without the slow tests
# make test-all     set up, then everything
# make gpu          on a machine with a GPU: set up, the tests that need it, then the benchmarks, with their results file
# make docs         the documentation site, .docs/html/index.html
# make lint         formatting, lint, types

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 0
STEPS ?=
export OMP_NUM_THREADS ?= $(shell getconf _NPROCESSORS_ONLN)
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: quickstart test test-all gpu docs lint set-up

quickstart: set-up
	$(BIN)/python launch.py --fdl_config=experiments/quickstart.py --fdl_set=seed=$(SEED) \
		$(if $(STEPS),--fdl_set=training.steps=$(STEPS))

test: set-up
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto

test-all: set-up
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto -m "not gpu"

gpu: set-up
	$(BIN)/python -m pytest -q -rs -m gpu; tests=$$?; $(BIN)/python -m benchmarks --device cuda && exit $$tests

docs: set-up
	$(BIN)/python scripts/build_docs.py

lint: set-up
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

set-up: $(VENV)/.set-up

# Again only when a list of what to install has changed.
$(VENV)/.set-up: requirements.txt constraints.txt pyproject.toml $(wildcard plugins/*/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is `$(PYTHON) -V 2>&1`. Name another: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Setting up $(VENV) (once; 2.3 GB, a few minutes)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -r requirements.txt
	@touch $@
