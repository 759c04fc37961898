# Two commands for a fresh machine with Python 3.11 (or newer) and make: `make demo` and `make test`.
# Both make the environment in .venv first, with the versions that constraints.txt pins.

.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# A Python that is new enough and can make environments; `make PYTHON=/path/to/python demo` names another.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.14 python; do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; \
	  then echo $$python; break; fi; done)
BIN := .venv/bin
READY := .venv/.ready

# Cores that this process may use, not counting the second thread of a core: more threads make training slower.
# A value that is set already is kept. `accelerate launch` prints a notice where it is not set.
THREADS = $${OMP_NUM_THREADS:-$$($(BIN)/python -c 'import os, psutil; \
	allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1; \
	print(min(allowed, psutil.cpu_count(logical=False) or allowed))')}

# Processes that the tests are dealt to, file by file; `make WORKERS=0 test` runs them in one.
WORKERS ?= auto

CODE := model_foundry tests $(wildcard benchmarks)

.PHONY: help demo test faults benchmark check format formatted lint types layers coverage

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	@if ! $(BIN)/python -c 'import pip, ssl, sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then \
	  if [ -z '$(PYTHON)' ]; then \
	    echo 'No Python of version 3.11 or newer that can make environments (modules venv and ensurepip).' \
	      'Install python3.11 and python3.11-venv, or say where it is: make PYTHON=/path/to/python' >&2; exit 1; fi; \
	  echo 'Making the environment in .venv with $(PYTHON); a few minutes, most of it PyTorch.'; \
	  $(PYTHON) -m venv --clear .venv; \
	fi
	@$(BIN)/python -m pip install --disable-pip-version-check $$([ -t 1 ] || echo --quiet) \
	  --editable '.[dev]' --constraint constraints.txt
	@touch $@

demo: $(READY) ## Train the demo model on the CPU, in a run folder of its own
	@run=runs/demo; number=1; \
	while [ -e "$$run" ]; do number=$$((number + 1)); run=runs/demo-$$number; done; \
	if [ $$number -gt 1 ]; then echo "runs/demo is there already and stays as it is; this run is $$run."; fi; \
	OMP_NUM_THREADS=$(THREADS) $(BIN)/accelerate launch --quiet --config_file accelerate_configs/cpu.yaml \
	  -m model_foundry.train recipes/demo.yaml --run-dir "$$run"

test: $(READY) ## Run all tests
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

faults: $(READY) ## Run every fault and every resume, the long ones too: a thousand kills, two processes
	@$(BIN)/python -m pytest tests/faults tests/e2e -m "nightly or not nightly" -rP

# In an environment of its own: what it compares with is not needed by anything else. QUICK=1 takes some minutes;
# ARGUMENTS are those of `python -m benchmarks`, such as ARGUMENTS="--nanogpt FOLDER --blimp FOLDER".
benchmark: .venv-benchmark/.ready ## Measure speed and memory beside other systems, and write docs/benchmarks.md
	@.venv-benchmark/bin/python -m benchmarks $(if $(QUICK),--quick) $(ARGUMENTS)

.venv-benchmark/.ready: pyproject.toml constraints.txt benchmarks/requirements.txt
	@if [ -z '$(PYTHON)' ]; then echo 'No Python of version 3.11 or newer was found; say where it is:' \
	  'make PYTHON=/path/to/python benchmark' >&2; exit 1; fi
	@echo 'Making the environment in .venv-benchmark; a few minutes.'
	@$(PYTHON) -m venv --clear .venv-benchmark
	@.venv-benchmark/bin/python -m pip install --disable-pip-version-check $$([ -t 1 ] || echo --quiet) \
	  --editable '.[fast]' --requirement benchmarks/requirements.txt --constraint constraints.txt
	@touch $@

check: formatted lint types layers test ## Everything that must hold before a change lands

formatted: $(READY)
	@$(BIN)/ruff format --check $(CODE)

lint: $(READY)
	@$(BIN)/ruff check $(CODE)

types: $(READY)
	@$(BIN)/mypy

layers: $(READY)
	@$(BIN)/python -m pytest --quiet tests/test_layers.py

format: $(READY) ## Format the code and mend what the linter can
	@$(BIN)/ruff check --fix --quiet $(CODE) || true
	@$(BIN)/ruff format $(CODE)

coverage: $(READY) ## Run all tests and show which lines they never reach
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report
