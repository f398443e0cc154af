# One command from a fresh clone to a running program: each target makes its own environment.
#
# uv is used where it is found (NO_UV=1 says no), otherwise venv and pip. Both install exactly the versions in
# requirements/*.txt, checked by hash. A target that finds its requirements installed installs nothing.
#
#   make test PYTHON=python3.13 VENV=.venv-3.13 ARGS="-k hedge -x"
#
# Tests run in JOBS processes; JOBS=0 runs them in one, as a debugger wants it.

PYTHON ?=
VENV   ?= .venv
ARGS   ?=
JOBS   ?= 2
NO_UV  ?=

OLDER := $(if $(filter file,$(origin VENV)),.venv-older,$(VENV))
ENVS  := $(sort $(VENV) $(OLDER))
BIN   := $(VENV)/bin
UV    := $(if $(NO_UV),,$(shell uv --version >/dev/null 2>&1 && echo uv))

ifdef UV
  MAKE_VENV = uv venv --quiet --clear $(if $(PYTHON),--python '$(PYTHON)') '$(@D)'
  INSTALL   = uv pip install --quiet --python '$(@D)/bin/python'
else
  MAKE_VENV = $(or $(PYTHON),python3) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=...")' \
	&& $(or $(PYTHON),python3) -m venv --clear '$(@D)'
  INSTALL   = '$(@D)/bin/python' -m pip install --quiet --disable-pip-version-check
endif

# Benchmarks that are programs of their own; test_*.py and bench_*.py are pytest's.
BENCH_SCRIPTS := $(sort $(filter-out benchmarks/test_% benchmarks/bench_% benchmarks/conftest.py benchmarks/_%,\
	$(wildcard benchmarks/*.py)))

# The libraries that fastclient is compared with, each in an environment of its own.
PEERS := $(patsubst benchmarks/peers/requirements/%.txt,.venv-peers/%/.have,$(sort $(wildcard benchmarks/peers/requirements/*.txt)))

.DEFAULT_GOAL := help
.PHONY: help demo test test-older lint format types bench bench-peers soak lock clean
.DELETE_ON_ERROR:

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.have-run ## show what each lever saves; needs no key and no network
	'$(BIN)/python' -m fastclient demo $(ARGS)

test: $(VENV)/.have-test ## run the tests, e.g. ARGS="-k hedge -x"
	'$(BIN)/python' -m pytest -n $(JOBS) $(ARGS)

test-older: $(OLDER)/.have-older ## run the tests of other people's libraries with their older releases
	'$(OLDER)/bin/python' -m pytest -n $(JOBS) tests/doors $(ARGS)

lint: $(VENV)/.have-lint ## check style and formatting
	'$(BIN)/ruff' check .
	'$(BIN)/ruff' format --check .

format: $(VENV)/.have-lint ## repair what lint can repair
	'$(BIN)/ruff' check --fix .
	'$(BIN)/ruff' format .

types: $(VENV)/.have-test $(VENV)/.have-types ## check types with mypy --strict and pyright
	'$(BIN)/mypy'
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 '$(BIN)/pyright' --pythonpath '$(BIN)/python'

bench: $(VENV)/.have-test $(VENV)/.have-bench ## run the benchmarks
	'$(BIN)/python' -m pytest benchmarks --benchmark-only -p no:randomly --timeout=900 $(ARGS)
	@set -e; for script in $(BENCH_SCRIPTS); do echo "== $$script"; '$(BIN)/python' "$$script"; done

# What can be neither installed nor run is named in the report, with the reason.
bench-peers: $(VENV)/.have-run .venv-peers/fastclient/.have $(PEERS) ## compare with other client libraries (20 minutes), into docs/
	@mkdir -p .benchmarks
	'$(BIN)/python' -m benchmarks.peers --json .benchmarks/peers.json $(ARGS)
	'$(BIN)/python' -m benchmarks.peers.report .benchmarks/peers.json

soak: $(VENV)/.have-test ## run the long tests (hours)
	FASTCLIENT_SOAK=1 '$(BIN)/python' -m pytest -m soak --timeout=0 $(ARGS)

# The resolver's own lock file names where each file was downloaded; what is exported from it holds versions and
# hashes only, and so serves any index. Releases younger than a week are not taken.
lock: ## resolve all dependencies afresh into requirements/*.txt (needs uv)
	uv lock --upgrade --exclude-newer '7 days'
	@set -e; write() { name=$$1; shift; uv export --quiet --frozen --no-emit-project --no-annotate --no-header \
		--format requirements.txt "$$@" --output-file requirements/$$name.txt >/dev/null; }; \
	write run --no-dev --extra cli --group build --group demo; \
	write test --no-dev --extra all --group test; \
	write older --no-dev --extra cli --group older; \
	write lint --only-group lint; \
	write types --only-group types; \
	write bench --only-group bench

clean: ## remove environments, caches and build results
	rm -rf '$(VENV)' .venv .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- environments -----------------------------------------------------------------------------------------------------

$(ENVS:%=%/.have-venv):
	$(MAKE_VENV)
	@touch '$@'

$(ENVS:%=%/.have-run): %/.have-run: requirements/run.txt pyproject.toml %/.have-venv
	$(INSTALL) --require-hashes -r requirements/run.txt
	$(INSTALL) --no-deps --no-build-isolation -e .
	@touch '$@'

$(VENV)/.have-test: requirements/test.txt $(VENV)/.have-run
	$(INSTALL) --no-deps --require-hashes -r requirements/test.txt  # the list is whole; one package asks for more than is used
	@touch '$@'

$(OLDER)/.have-older: requirements/older.txt $(OLDER)/.have-run
	$(INSTALL) --require-hashes -r requirements/older.txt
	@touch '$@'

$(VENV)/.have-lint $(VENV)/.have-types $(VENV)/.have-bench: $(VENV)/.have-%: requirements/%.txt $(VENV)/.have-venv
	$(INSTALL) --require-hashes -r requirements/$*.txt
	@touch '$@'

.venv-peers/fastclient/.have: requirements/run.txt pyproject.toml
	$(MAKE_VENV)
	$(INSTALL) --require-hashes -r requirements/run.txt
	$(INSTALL) --no-deps --no-build-isolation -e .
	@touch '$@'

.venv-peers/%/.have: benchmarks/peers/requirements/%.txt
	$(MAKE_VENV)
	@$(INSTALL) --require-hashes -r '$<' 2>'$(@D)/install.log' && touch '$@' || echo '$* could not be installed: see $(@D)/install.log'
