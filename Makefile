# Two commands do everything: `make demo` restores images, `make test` passes the tests.
# Each sets up its own environment in .venv first.

PYTHON ?= python3
# The version that the figures in this repository were measured with; any torch >= 2.10 works.
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow test-sanitizers check bench clean

# make VARIABLE=... : installs when a build file or a compiled source changed
$(VENV)/.installed: pyproject.toml setup.py CMakeLists.txt $(shell find csrc kernels -type f ! -name '*.pyc' 2>/dev/null)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip "setuptools>=84" wheel cmake ninja
	$(BIN)/pip install --quiet "$(TORCH)" numpy
	$(BIN)/pip install --quiet --no-build-isolation -e ".[all,test,dev]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py --output demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow

test-sanitizers: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow tests/native/test_sanitizers.py

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	find csrc -name '*.c*' -o -name '*.h' | xargs $(BIN)/clang-format --dry-run --Werror

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks.run

clean:
	rm -rf $(VENV) build demo *.egg-info
