# Each target makes .venv and installs what it needs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test reliability fuzz ecosystem check docs screenshots clean

demo: $(VENV)/.demo
	$(BIN)/python examples/quickstart.py --output-dir runs/quickstart

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadgroup

reliability: $(VENV)/.dev
	$(BIN)/python -m benchmarks.reliability

# Seconds for each of the readers.
FUZZ_SECONDS ?= 60
fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.reliability.fuzz --seconds $(FUZZ_SECONDS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Other libraries on every id, with the newest gymnasium and with the one that Ray pins. Their environments are large.
ecosystem: $(VENV)-newest/.ready $(VENV)-ray/.ready
	$(VENV)-newest/bin/python -m pytest -W default -m ecosystem tests/ecosystem
	$(VENV)-ray/bin/python -m pytest -W default -m ecosystem tests/ecosystem

docs: $(VENV)/.docs
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

# Of the site, by Chromium, to be looked at.
screenshots: docs
	$(BIN)/python docs/screenshots.py --output-dir runs/screenshots

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[agents,plots]"
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	touch $@ $(VENV)/.demo

$(VENV)/.fuzz: $(VENV)/.dev
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[fuzz]"
	touch $@

$(VENV)/.docs: $(VENV)/.dev
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[docs]"
	touch $@

$(VENV)-newest/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-newest
	$(VENV)-newest/bin/python -m pip install -q -c constraints.txt -e ".[dev,ecosystem]"
	touch $@

$(VENV)-ray/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-ray
	grep -v '^gymnasium==' constraints.txt > $(VENV)-ray/constraints.txt
	$(VENV)-ray/bin/python -m pip install -q -c $(VENV)-ray/constraints.txt -e ".[dev,ecosystem,ray]" gymnasium==1.2.2
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-newest $(VENV)-ray site runs
