# The two commands of the README, and what a developer needs. `make help` lists them.
# Nothing but Python 3.11 or newer has to be there; everything else is installed into .venv.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
PYTEST := OMP_NUM_THREADS=2 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest
SPREAD := -n auto --maxprocesses 4 --dist loadfile  # a file's tests share what they prepared
WEB := $(shell find web -type f -not -path '*/node_modules/*' -not -path '*/dist/*' 2>/dev/null)
KERNEL := $(wildcard src/localgpt/compute/native/source/*)
BUILD_INPUTS := pyproject.toml $(wildcard hatch_build.py) $(WEB) $(KERNEL)
CHECK_PAGE = test -f src/localgpt/server/static/index.html \
	|| echo "The page could not be built (npm needs its registry once). The API works; make page tries again."

.DEFAULT_GOAL := help
.PHONY: help serve install install-dev chromium opencl agents test prove lint format types bench page clean distclean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

serve: install ## install if needed, then serve the page and the API on http://127.0.0.1:8000
	@$(BIN)/localgpt serve $(ARGS)

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "LocalGPT needs Python 3.11 or newer, and none was found on the PATH."; \
		echo "Install one, or name it: make serve PYTHON=/path/to/python3.12"; exit 1; fi
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "LocalGPT needs Python 3.11 or newer; $(PYTHON) is not. Name another: make serve PYTHON=python3.12"; \
		exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "Python could not make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv"; \
		exit 1; }

$(VENV)/.installed: $(BUILD_INPUTS) | $(BIN)/python
	@echo "Installing LocalGPT into $(VENV) (the first time takes some minutes)"
	@$(PIP) install --editable .
	@$(CHECK_PAGE)
	@touch $@

$(VENV)/.installed-dev: $(BUILD_INPUTS) | $(BIN)/python
	@echo "Installing LocalGPT and its test tools into $(VENV) (the first time takes some minutes)"
	@$(PIP) install --editable '.[dev]'
	@$(CHECK_PAGE)
	@touch $(VENV)/.installed $@

# Browser tests drive a real Chromium. Without one they are skipped, and say so.
chromium:
	@if { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null; then :; \
	elif command -v apt-get >/dev/null 2>&1 && [ "$$(id -u)" = 0 ]; then \
		echo "Installing Chromium for the browser tests"; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
			chromium fonts-noto-cjk; } >/dev/null 2>&1 \
		|| echo "Chromium could not be installed: the browser tests will be skipped"; \
	else echo "No Chromium on the PATH: the browser tests will be skipped (install chromium and fonts-noto-cjk)"; fi

# Tests of the OpenCL backend run on PoCL, an OpenCL driver for CPUs. Without a driver they are skipped, and say so.
opencl:
	@if ls /etc/OpenCL/vendors/*.icd >/dev/null 2>&1; then :; \
	elif command -v apt-get >/dev/null 2>&1 && [ "$$(id -u)" = 0 ]; then \
		echo "Installing PoCL for the OpenCL tests"; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
			pocl-opencl-icd; } >/dev/null 2>&1 \
		|| echo "PoCL could not be installed: the OpenCL tests will be skipped"; \
	else echo "No OpenCL driver here: its tests will be skipped (install pocl-opencl-icd)"; fi

# One test speaks through the stock JavaScript client. Without npm it is skipped, and says so.
agents: tests/realtime/agents/node_modules/.package-lock.json
tests/realtime/agents/node_modules/.package-lock.json: tests/realtime/agents/package-lock.json
	@command -v npm >/dev/null && npm ci --prefix tests/realtime/agents --ignore-scripts --no-audit --no-fund \
		--loglevel=error >/dev/null \
	|| echo "The stock JavaScript client could not be installed: its test will be skipped"

test: install-dev chromium opencl agents ## run every test but the long ones
	@$(PYTEST) $(SPREAD) $(ARGS)

prove: install-dev chromium opencl agents ## run the long tests: full counts, one-minute recipes, the shipped weights
	@$(PYTEST) -m prove $(ARGS)

lint: install-dev ## check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: install-dev ## put files into the house format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: install-dev ## check types
	@$(BIN)/mypy

bench: install-dev ## measure decoding speed here, beside the same network in transformers
	@$(BIN)/localgpt bench decode $(ARGS)

page: | $(BIN)/python ## build the web page again
	@$(PIP) install --no-deps --editable .
	@$(CHECK_PAGE)

clean: ## remove what was built, but keep .venv
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis web/dist src/localgpt/server/static
	rm -rf src/localgpt/compute/native/built
	rm -f $(VENV)/.installed $(VENV)/.installed-dev
	find src tests recipes benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove .venv and node_modules too
	rm -rf $(VENV) web/node_modules
