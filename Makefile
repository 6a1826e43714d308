# The verbs of a working day. Each makes .venv first if it is missing or out of date.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
PIPELINE ?= digits
BIN := .venv/bin
READY := .venv/.ready
UNFINISHED := .venv/.unfinished
LOG := .venv/install.log
TORCH := 2.13.0
EXTRAS := audio,delta,demo,dev,docs,excel,graphs,onnx,otel,pretrained,sql
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --root-user-action ignore -c constraints.txt
IN_ORDER := --dist loadfile --no-loadscope-reorder
ON_ALL_CORES := --numprocesses auto --maxprocesses 8 $(IN_ORDER)
NEEDED := not clients and (short or not machines)
TWO_AT_ONCE := --numprocesses 2 $(IN_ORDER)
PREPARE := import pathlib, evergreen.stages.engines.versions as versions; versions.prepare(pathlib.Path.cwd())
FITS := import sys; print(sys.version_info >= (3, 11))
REFUSAL = Evergreen needs Python 3.11 or later, and $(or $(PYTHON),python3) is $(or $(shell $(PYTHON) --version \
  2>/dev/null),not there): make PYTHON=python3.12 takes another

# One line says what is being done; what it prints is shown when it fails.
define step
@echo "$(1)"; { $(2); } >$(LOG) 2>&1 || { cat $(LOG) >&2; exit 1; }
endef

.PHONY: run test clients cluster-test check bench chaos loop year soak reference docs image lock stop
.DEFAULT_GOAL := run

run: $(READY)          ## bring the pipeline up to date, release it, serve it, ask it once
	@$(BIN)/evergreen run $(PIPELINE)

test: $(READY)         ## FAST=1 leaves out what starts an engine, and what takes long
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests --ignore=tests/slow --ignore=tests/cluster $(ON_ALL_CORES) $(if $(FAST),-m "not slow")
	@$(if $(FAST),,OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/slow tests/cluster -m "$(NEEDED)" -rs $(TWO_AT_ONCE))

clients: $(READY)      ## what installs other projects for a minute: kserve's client, and the benchmark beside other servers
	@$(BIN)/python -m pytest tests/slow -m clients

cluster-test: $(READY) ## as root: several machines on this one, by network namespaces; skipped with the reason elsewhere
	@$(BIN)/python -m pytest tests/cluster -rs

check: $(READY)        ## style, types, import arrows
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY)        ## SMALL=1 shows that each runs; ratios measured side by side, in benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks

chaos: $(READY)        ## AGAIN=1 strikes what passed, too; what a kill at each stage leaves, in benchmarks/CHAOS.md
	@$(BIN)/python -m benchmarks.chaos $(if $(AGAIN),--again)

loop: $(READY)         ## one turn of it, told in minutes: drift, late labels, retraining, canary, approval, messages, trace
	@$(BIN)/python -m benchmarks.loop

year: $(READY)         ## a year of one pipeline in minutes, with kills; goes on where it was ended, writes benchmarks/YEAR.md
	@$(BIN)/python -m benchmarks.year

soak: $(READY)         ## MINUTES=30; the endpoint under load of all kinds while versions change and replicas die, in benchmarks/SOAK.md
	@$(BIN)/python -m benchmarks.soak

reference: $(READY)    ## CASE=NAME runs one; scores on real data in benchmarks/REFERENCE.md, of public tables in TABLES.md
	@$(PIP) --no-deps -r benchmarks/requirements.txt
	@$(if $(TABLE),,$(BIN)/python -m benchmarks.reference $(CASE))
	@$(if $(CASE),,$(BIN)/python -m benchmarks.tables $(TABLE))

docs: $(READY)         ## the site of docs/, into .evergreen/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

image: ## a container image of Evergreen, by docker or podman; TORCH_INDEX=URL takes torch from another index
	@tool=$$(command -v docker || command -v podman) || { echo "neither docker nor podman is here" >&2; exit 1; }; \
	  $$tool build --tag evergreen:latest --file docker/Dockerfile --build-arg TORCH_INDEX=$(TORCH_INDEX) .

# torch stays out: which build of it fits depends on the machine, and its own dependencies come with it.
lock: $(READY)         ## requirements.lock and THIRD_PARTY_LICENSES.md, after a change of pyproject.toml or constraints.txt
	@$(PIP) uv
	@echo torch | $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --constraints constraints.txt \
	  --excludes /dev/stdin --generate-hashes --no-annotate --custom-compile-command "make lock" \
	  --output-file requirements.lock --quiet
	@sed -i '2a -c constraints.txt' requirements.lock  # or pip tries newer ones of what is asked for with an extra
	@$(BIN)/python docs/licences.py >.venv/licences && mv .venv/licences THIRD_PARTY_LICENSES.md

stop: $(READY)         ## end everything this clone started
	@$(BIN)/evergreen stop

# Made anew unless it was finished once. torch goes first and pinned: no other package may pull a newer one with
# gigabytes of CUDA.
$(READY): pyproject.toml constraints.txt
	$(if $(filter True,$(shell $(PYTHON) -c "$(FITS)" 2>/dev/null)),,$(error $(REFUSAL)))
	@test ! -e $(UNFINISHED) && $(BIN)/python -m pip --version >/dev/null 2>&1 \
	  || { rm -rf .venv && mkdir .venv && touch $(UNFINISHED); }
	$(call step,making .venv with $(PYTHON),test -x $(BIN)/python || $(PYTHON) -m venv .venv)
	$(call step,installing torch $(TORCH),$(PIP) torch==$(TORCH))
	$(call step,installing Evergreen and what it needs: minutes the first time,$(PIP) --editable '.[$(EXTRAS)]')
	$(call step,preparing DVC,$(BIN)/python -c "$(PREPARE)")
	@rm -f $(UNFINISHED) $(LOG) && touch $@
