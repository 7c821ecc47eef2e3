# Two commands do everything: `make demo` restores images, `make test` passes the tests.
# Each sets up its own environment in .venv first.

PYTHON ?= python3
# The version that the figures in this repository were measured with; any torch >= 2.10 works.
TORCH ?= torch==2.13.0
# That of TORCH; only deepinv, which the baselines are compared with, needs it.
TORCHVISION ?= torchvision==0.28.0
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
SOURCES := pyproject.toml setup.py CMakeLists.txt $(shell find csrc kernels -type f ! -name '*.pyc' 2>/dev/null)

.PHONY: demo test test-slow test-sanitizers test-peers check bench clean

# make VARIABLE=... : installs when a build file or a compiled source changed
$(VENV)/.installed: $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip "setuptools>=84" wheel cmake ninja
	$(BIN)/pip install --quiet "$(TORCH)" numpy
	$(BIN)/pip install --quiet --no-build-isolation -e ".[all,test,dev]"
	touch $@

# An environment of its own: with torchvision installed, diffusers and torchmetrics import it too.
$(PEERS)/.installed: $(SOURCES)
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --upgrade pip "setuptools>=84" wheel cmake ninja
	$(PEERS)/bin/pip install --quiet "$(TORCH)" numpy
	$(PEERS)/bin/pip install --quiet --no-deps "$(TORCHVISION)"
	$(PEERS)/bin/pip install --quiet --no-build-isolation -e ".[all,test,peers]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py --output demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow

test-sanitizers: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow tests/native/test_sanitizers.py

test-peers: $(PEERS)/.installed
	$(PEERS)/bin/python -m pytest tests/peers tests/solvers/test_deepinv_baselines.py tests/operators/test_deepinv.py tests/benchmarks/test_deepinv_baselines.py

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	find csrc -name '*.c*' -o -name '*.h' | xargs $(BIN)/clang-format --dry-run --Werror

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks.run

clean:
	rm -rf $(VENV) $(PEERS) build demo *.egg-info
