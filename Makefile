# `make` lists the commands. Each one sets up what it needs in .venv; Python 3.11+ and make are enough.

VENV   ?= .venv
# The first of these that is new enough; `make PYTHON=...` chooses another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# PyPI's torch for Linux is the CUDA build. For the CPU build (200 MB instead of 3 GB), where that index can be
# reached: make TORCH_INDEX=https://download.pytorch.org/whl/cpu ...
TORCH_INDEX ?=
SMOKE  ?=
BUDGET ?=
FOLDER ?=
# More options for the fuzzer: make fuzz FUZZ='--family shards'
FUZZ   ?=
# More options for pytest: make test PYTEST='-k resume'
PYTEST ?=
# Of the tests: one more than there are cores, since some wait for processes and for time.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# The versions of development.lock in place of the newest: make venv LOCKED=1
LOCKED ?=

# Many containers tell Python to keep no bytecode: then every process compiles torch anew, for a second and more.
export PYTHONDONTWRITEBYTECODE :=

BIN   := $(VENV)/bin
HASH  := $(shell cksum < pyproject.toml | tr -d ' ')
DEV   := $(VENV)/.dev-$(HASH)
RUN   := $(VENV)/.quickstart-$(HASH)
# The development set-up has all that a quickstart needs.
READY := $(if $(wildcard $(DEV)),$(DEV),$(RUN))

.DEFAULT_GOAL := help
.PHONY: help venv lock libraries services quickstart check test thorough hostile faults gpu fuzz lint types format map tables docs wheel clean
.DELETE_ON_ERROR:

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  variables: SMOKE=1 BUDGET=minutes FOLDER=run-folder PYTHON=python3.12 TORCH_INDEX=url PYTEST=options WORKERS=n LOCKED=1'

quickstart: $(READY) ## data, pre-training, evaluation and report in one go (SMOKE=1: the same in minutes)
	$(BIN)/xfm quickstart $(if $(SMOKE),--smoke) $(if $(BUDGET),--budget $(BUDGET)) $(if $(FOLDER),--out $(FOLDER))

check: lint types ## style and types

# What the tests of a file share is made once, so that one worker runs all of them. tests/conftest.py orders files.
SPREAD = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
test: $(DEV) ## the tests, on all cores; of those that are alike and take long some
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SPREAD) $(PYTEST)

thorough: $(DEV) ## every test, with coverage: an hour or more on two cores
	OMP_NUM_THREADS=1 XFM_THOROUGH=1 XFM_TEST_FRESH=1 $(BIN)/python -m pytest $(SPREAD) --cov \
		--cov-report=term:skip-covered --cov-fail-under=85 $(PYTEST)

hostile: $(DEV) ## mistakes and attacks against the real commands, an hour or more (PYTEST='-k parquet')
	OMP_NUM_THREADS=1 XFM_SCHEMA_EXAMPLES=10000 XFM_KILLS=50 XFM_THOROUGH=1 XFM_TEST_FRESH=1 \
		$(BIN)/python -m pytest -q -n 2 --durations=0 \
		--durations-min=60 --no-header tests/hostile tests/serving tests/index/test_killed.py tests/runtimes \
		--hostile-all=build/hostile.json $(PYTEST)

faults: $(DEV) ## kills, full disks, damaged shards, failing stores against real trainings, an hour or more (PYTEST='-k kills')
	OMP_NUM_THREADS=1 XFM_KILLS=$${XFM_KILLS:-50} XFM_THOROUGH=1 XFM_TEST_FRESH=1 $(BIN)/python -m pytest -q --durations=0 --durations-min=60 \
		--no-header tests/training/test_kills.py tests/training/test_faults.py tests/training/test_faults_folder.py \
		tests/training/test_sample_accounting.py tests/training/test_remote_corpora.py $(PYTEST)

gpu: $(DEV) ## what needs an NVIDIA GPU: its tests, and the step of `base` beside the published one (results/gpu.csv)
	$(BIN)/python -m pytest -q -m gpu $(PYTEST)
	$(BIN)/python -m benchmarks.step --device cuda --batch 96 --only step --csv results/gpu.csv

fuzz: $(DEV) ## damaged files for every reader, 200,000 of each kind: hours (XFM_FUZZ=5000, FUZZ='--family tables --guided')
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --inputs $${XFM_FUZZ:-200000} $(FUZZ)

lint: $(DEV) ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV) ## static types
	$(BIN)/pyright

format: $(DEV) ## rewrite the files in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DEV) ## the documentation as a site, build/site: broken links and anchors end it
	$(BIN)/python docs/make_site.py
	$(BIN)/zensical build --clean --strict

map: $(DEV) ## write the table of rooms of docs/architecture.md anew, from the imports
	$(BIN)/python -m tests.rooms

tables: $(DEV) ## write the tables of results in README.md and docs anew, from results/*.csv
	$(BIN)/python -m benchmarks.results tables

wheel: $(DEV) ## build dist/*.whl and check that the data files are in it
	rm -rf build/lib build/bdist.* dist  # not build/postgres, which the services use
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@for file in xfm/py.typed xfm/recipes/nano.yaml xfm/recipes/finetune/published/vqa.yaml xfm/models/shipped/small/model.safetensors xfm/models/shipped/photos/model.safetensors xfm/serving/page/index.html \
		xfm/inference/web/index.html xfm/serving/page/tabs/search.js LICENSE; do \
		$(BIN)/python -m zipfile -l dist/xfm-*.whl | grep "$$file" > /dev/null || { echo "$$file is not in the wheel"; exit 1; }; \
	done

venv: $(DEV) ## set up .venv for development (LOCKED=1: with the versions of development.lock)

lock: $(DEV) ## write development.lock: what .venv has, for a set-up that is the same again
	$(BIN)/python -m pip list --exclude-editable --format freeze | sed 's/+cpu//' > development.lock

libraries: $(DEV) ## install mteb, LangChain and LlamaIndex, which some tests need: 450 MB
	$(BIN)/python -m pip install --quiet --editable '.[libraries]'

services: ## install and start the servers that some tests need, and a browser (Debian, as root)
	sh tests/services.sh

clean: ## delete .venv and what tools left behind (runs/ and worlds/ stay)
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .coverage src/*.egg-info

$(DEV): EXTRA := dev
$(RUN): EXTRA := quickstart
$(DEV) $(RUN): | $(BIN)/python
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --index-url $(TORCH_INDEX) torch torchvision)
	$(BIN)/python -m pip install --quiet --no-compile $(if $(LOCKED),--constraint development.lock) --editable '.[$(EXTRA)]'
	@rm -f $(VENV)/.$(EXTRA)-*
	@touch $@

$(BIN)/python:
	@test -n '$(PYTHON)' || { echo 'xfm needs Python 3.11 or newer: install it, or name it with make PYTHON=...'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) has no venv module: install it (Debian and Ubuntu: apt install python3-venv) and run make again"; \
		exit 1; }
	@echo 'Setting up $(VENV) and installing; this takes some minutes the first time.'
	$(PYTHON) -m venv $(VENV)
	@# the pip that comes with older versions of Python takes six minutes over which versions fit together
	@$(BIN)/python -m pip install --quiet --upgrade pip
