# Everything happens in .venv; nothing outside this folder is touched.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2
QUICK := tests/test_rooms.py tests/test_docs.py tests/system tests/methods tests/text \
	tests/model/stored/test_stored_names.py tests/pruning/folder/test_card.py tests/cli/test_options.py \
	tests/pruned/test_mask_overlap.py tests/evaluation/test_gate.py tests/study/test_document.py \
	tests/study/test_sharing.py tests/study/report tests/pruning/recipe \
	tests/cli/test_commands.py::test_ls_names_every_method \
	--ignore tests/methods/reconstruction/test_memory.py

# Per cent of the lines that make quick reaches: a little below what was measured, 54.
FLOOR := 52

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup quick test coverage check format lists docs demo release constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with the pinned versions of every package

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no python3.11 or python3 found; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "mwanda needs Python 3.11 or newer, found " + sys.version.split()[0] + "; set PYTHON")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[all]'
	touch $@

quick: $(READY) ## a test of every room; under a minute on two idle cores
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n $(WORKERS) $(QUICK)

test: $(READY) ## run the tests, offline
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

coverage: $(READY) ## run the tests half as fast again, and count the lines they reach
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=
	$(BIN)/python -m coverage report

check: $(READY) ## lint, formatting, types; what make quick reaches, of all lines
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n $(WORKERS) $(QUICK) --cov --cov-report= --cov-fail-under=$(FLOOR)

format: $(READY) ## mend formatting, and what lint can mend
	$(BIN)/python -m ruff check --fix-only --quiet
	$(BIN)/python -m ruff format

lists: $(READY) ## write what is made from the code: methods, files, the schema of a recipe
	$(BIN)/python -m mwanda ls methods > docs/methods.md
	$(BIN)/python -m mwanda ls recipes --schema > src/mwanda/pruning/recipe/named/recipe.schema.json
	$(BIN)/python tools/file_list.py

docs: $(VENV)/.docs ## build the site of the docs, build/site, offline; broken links are errors
	$(BIN)/python tools/docs_pages.py
	$(BIN)/python -m zensical build --strict
	@echo "look at it: $(BIN)/python -m http.server --directory build/site"

$(VENV)/.docs: $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[docs]'
	touch $@

demo: $(READY) ## prune a small model and show what each language loses
	$(BIN)/python -m mwanda.cli.demo

release: $(READY) ## build wheel and sdist, and try the wheel alone
	tools/release.sh

constraints: $(READY) ## write constraints.txt from what is in .venv
	@{ sed -n '/^#/p' constraints.txt; \
	   $(BIN)/python -m pip freeze --exclude mwanda | grep -v -e '^#' -e '^-e' \
	   | sed -E 's/\+[A-Za-z0-9.]+$$//' | LC_ALL=C sort -f; } > constraints.txt.new
	@mv constraints.txt.new constraints.txt
	@touch $(READY)

clean: ## remove .venv, caches and build leftovers
	rm -rf $(VENV) build dist .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
