.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
# Two figures for one reason: the versions of torch and torchvision that every check here ran on.
TORCH := torch==2.11.0 torchvision==0.26.0

.PHONY: help install demo web test test-all test-slow test-full test-gpu matrix upstream audit lint typecheck format coverage configs docs dist bench clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "Python 3.10 or newer is needed; name one with: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip

$(VENV)/.installed: $(BIN)/python setup.py requirements/runtime.txt requirements/mminstall.txt requirements/optional.txt
	$(PIP) $(TORCH)
	$(PIP) -e '.[openmmlab,hf]'
	@touch $@

$(VENV)/.tested: $(VENV)/.installed requirements/tests.txt
	$(PIP) -r requirements/tests.txt
	@touch $@

$(VENV)/.linted: $(BIN)/python requirements/dev.txt
	$(PIP) -r requirements/dev.txt
	@touch $@

install: $(VENV)/.installed  ## make .venv and install the package with everything it needs

demo: $(VENV)/.installed  ## train, evaluate and picture a toy Mask R-CNN on a Mamba backbone (minutes)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python demo/toy_demo.py

web: $(VENV)/.installed  ## open a web page with the model that `make demo` trained
	@test -f work_dirs/toy_demo/last_checkpoint || { echo "run make demo first, which trains the model"; exit 1; }
	$(PIP) -e '.[web]'
	$(BIN)/mmvmamba web --model configs/toy/det_plain_mamba_maskrcnn.py --weights "$$(cat work_dirs/toy_demo/last_checkpoint)"

test: $(VENV)/.tested  ## run the fast tests (under 10 minutes on 2 cores)
	$(BIN)/python -m pytest -n 2 -m "not slow and not full and not gpu"

test-slow: $(VENV)/.tested  ## run only what `make test` leaves out and needs no GPU
	PATH="$(abspath $(BIN)):$$PATH" OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest -n 2 --dist loadfile -m "slow and not full and not gpu"

test-all: test test-slow  ## run the fast and the slow tests (under 45 minutes on 2 cores)

test-full: export MMVMAMBA_FUZZ = 10000
test-full: export MMVMAMBA_KILLS = 20
test-full: test-all audit upstream matrix  ## everything without a GPU, with ten times as many damaged files and more kills
	PATH="$(abspath $(BIN)):$$PATH" OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest -n 2 --dist loadfile -m "full and not gpu"

matrix: $(VENV)/.installed  ## run the fast tests with other versions (hours, 40 GB); TESTS="tests/compat" for some
	$(PIP) 'nox>=2024.4' uv
	$(BIN)/nox $(if $(TESTS),-- $(TESTS))

upstream: $(VENV)/.tested  ## run the tests in the folders MMCV_SOURCE, MMDET_SOURCE, MMSEG_SOURCE, MMPRETRAIN_SOURCE
	$(BIN)/python tools/misc/upstream_tests.py

audit: $(VENV)/.installed  ## ask for known weaknesses of what is installed (needs a network, or says so)
	-@$(PIP) 'pip-audit>=2.7'
	$(BIN)/python tools/misc/audit.py

test-gpu: $(VENV)/.tested  ## run the tests that need a CUDA or ROCm device
	$(BIN)/python -m pytest -m gpu

lint: $(VENV)/.linted  ## check style and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

typecheck: $(VENV)/.tested $(VENV)/.linted  ## check the types of the whole package
	$(BIN)/mypy

format: $(VENV)/.linted  ## fix style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: $(VENV)/.tested  ## measure which lines the fast and the slow tests run (an hour)
	rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -n 2 -m "not full and not gpu" --dist loadfile --cov=mmvmamba --cov-report=term-missing:skip-covered

configs: $(VENV)/.tested  ## check that every config loads and builds
	$(BIN)/python -m pytest tests/configs

$(VENV)/.documented: $(VENV)/.installed requirements/docs.txt
	$(PIP) -r requirements/docs.txt
	@touch $@

docs: $(VENV)/.documented  ## build the documentation into site/
	PATH="$(abspath $(BIN)):$$PATH" NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "open site/index.html; to search in it: python3 -m http.server --directory site"

dist: $(VENV)/.installed  ## build wheel and sdist, check them, list the licences of what they need
	$(PIP) build 'twine>=6'
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	@test $$(stat -c %s dist/*.whl) -lt 2000000 || { echo "the wheel has 2 MB or more"; exit 1; }
	$(BIN)/python tools/misc/list_licences.py --out dist/licences.md
	$(BIN)/pip check

bench: $(VENV)/.tested  ## measure the selective scan on this machine
	$(BIN)/python benchmarks/selective_scan.py

clean:  ## remove the environment and everything that was built
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache
