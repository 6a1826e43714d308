# The verbs of a working day. Each makes .venv first if it is missing or out of date.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIPELINE ?= digits
BIN := .venv/bin
READY := .venv/.ready

.PHONY: run test check bench reference docs stop
.DEFAULT_GOAL := run

run: $(READY)          ## bring the pipeline up to date, release it, serve it, ask it once
	@$(BIN)/evergreen run $(PIPELINE)

test: $(READY)         ## FAST=1 leaves out what starts an engine
	@$(BIN)/python -m pytest tests $(if $(FAST),--ignore=tests/slow)

check: $(READY)        ## style, types, import arrows
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY)        ## ratios measured side by side; results in benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks

reference: $(READY)    ## CASE=NAME runs one; scores on real data in benchmarks/REFERENCE.md
	@$(BIN)/python -m benchmarks.reference $(CASE)

docs: $(READY)         ## the site of docs/, into .evergreen/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

stop: $(READY)         ## end everything this clone started
	@$(BIN)/evergreen stop

# torch goes first and pinned: no other package may pull a newer one with gigabytes of CUDA.
$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,dev,docs,graphs,pretrained,sql,delta]'
	@$(BIN)/python -c "import pathlib, evergreen.stages.engines.versions as versions; versions.prepare(pathlib.Path.cwd())"
	@touch $@
