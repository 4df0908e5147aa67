# `make help` lists what there is. Everything runs in .venv, which the first command makes.

# Python 3.11 to 3.13, the first one found that can make an environment; name another with PYTHON=...
SUITABLE := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
CANDIDATES := python3 python python3.13 python3.12 python3.11
PYTHON ?= $(shell for p in $(CANDIDATES); do "$$p" -c '$(SUITABLE)' 2>/dev/null && echo "$$p" && break; done)

BIN := .venv/bin
# Installed anew when the contents of these files change, whatever their dates.
READY := .venv/installed-$(shell cat requirements.txt pyproject.toml | cksum | cut -d ' ' -f 1)
NOTEBOOKS := $(wildcard chapters/*.ipynb)

.PHONY: help install book test lint format bench site-test clean distclean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(READY) ## make .venv and install the pinned requirements and the package (the others do it by themselves)

$(READY):
	@"$(PYTHON)" -c '$(SUITABLE)' 2>/dev/null || { echo "\
	This needs Python 3.11, 3.12 or 3.13 with its venv module (on Debian: apt install python3-venv).\
	Found: $$(python3 --version 2>&1). Another one can be named: make book PYTHON=/path/to/python" >&2; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@rm -f .venv/installed-* && touch $@

book: $(READY) ## execute every chapter, build _build/html, check it
	$(BIN)/python -m tools.build_book

test: $(READY) ## unit, property and notebook tests (under five minutes on two cores)
	$(BIN)/python -m pytest -n 2 -q

lint: $(READY) ## ruff on code and notebooks; notebooks stripped; the repository's own rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(if $(NOTEBOOKS),$(BIN)/nbstripout --verify --keep-id $(NOTEBOOKS))
	$(BIN)/python -m tools.check_repo

format: $(READY) ## put code and notebooks in the form that `make lint` asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(if $(NOTEBOOKS),$(BIN)/nbstripout --keep-id $(NOTEBOOKS))

bench: $(READY) ## speed and accuracy, as ratios within one run (some forty minutes; benchmarks/trace_norm.py --quick takes seconds)
	@for name in joint_unfoldings renderer trace_norm training_step; do echo "== $$name"; $(BIN)/python "benchmarks/$$name.py" || exit 1; done

site-test: book ## open every built page in headless Chromium, all outside requests blocked
	$(BIN)/python -m pytest -o addopts= -q -n 2 tests/site

clean: ## remove what was built, results of the chapters included
	rm -rf _build

distclean: clean ## remove .venv as well
	rm -rf .venv *.egg-info
