# Every target does its own set-up: Python 3.11 or newer with venv and a package index are enough.
#
#   make setup   only the set-up: .venv/bin/lanspread is there afterwards
#   make demo    three peers on this machine: find, fetch, verify, compare
#   make test    all tests
#   make soak    the same tests in their long versions
#   make bench   the benchmarks of our peers, on each of their paths
#   make bench-peers   the same folder through us, Syncthing, rsync, libtorrent and nginx
#   make check   formatting, lints, types
#   make screenshots   the pictures of the page in docs/screenshots
#   make generate      the API's schema and types, the settings' reference, from the code
#   make clean   remove what the others made

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Peers and the command line are started hundreds of times: each loads what is compiled already.
unexport PYTHONDONTWRITEBYTECODE
# Standard places that only root has in its PATH; `ip` lives there.
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: setup demo test soak bench bench-peers check generate screenshots clean

setup: $(READY)

demo: $(READY)
	@$(BIN)/lanspread demo

test: $(READY)
	@scripts/system-packages
	$(BIN)/pytest -q -n auto --dist worksteal -m 'not alone' --durations=10
	$(BIN)/pytest -q -m alone --durations=5

soak: $(READY)
	@scripts/system-packages
	LANSPREAD_SOAK=1 $(BIN)/pytest -q -n auto --dist worksteal -m 'not alone' --durations=20
	LANSPREAD_SOAK=1 $(BIN)/pytest -q -m alone --durations=5

bench: $(READY)
	@$(BIN)/python -m benchmarks all --keep $(BENCH)

bench-peers: $(READY)
	@PYTHON=$(PYTHON) scripts/bench-tools
	@$(BIN)/python -m benchmarks peers --keep $(BENCH)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

generate: $(READY)
	@$(BIN)/python -m scripts.generate

screenshots: $(READY)
	@scripts/system-packages
	@$(BIN)/python -m tests.browser.screenshots

clean:
	rm -rf $(VENV) .venv-bench build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find lanspread tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "lanspread needs Python 3.11 or newer; give one as PYTHON=..." >&2; exit 1; }
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q -c constraints.txt -e '.[dev,rar]'
	@touch $@
