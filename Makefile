# make demo: from nothing to a trained detector and its pictures.   make test: everything that must pass.
# make notebooks: run the notebooks of examples/ and write their outputs into them.
# make faults: what real files, habits and accidents do, into docs/faults.md; about ten minutes.
# make docs: the documentation as pages, into docs/_build/html.
# make bench: speed and memory at one and two threads, into benchmarks/RESULTS.md.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := pyg_viglad tests benchmarks examples

.PHONY: demo docs test notebooks faults bench install lint clean

demo: $(VENV)/.installed
	$(BIN)/pyg-viglad demo

test: $(VENV)/.installed-dev
	$(BIN)/ruff check $(wildcard $(SOURCES))
	$(BIN)/ruff format --check $(wildcard $(SOURCES))
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m slipcover --source pyg_viglad --json --out .coverage.json \
		-m pytest -n 2 --dist loadfile -k "not compiled"
	$(BIN)/python -m slipcover --merge .coverage.json --out .coverage.json --skip-covered --fail-under 95
	@# Dynamo cannot trace the probes of slipcover.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -k compiled

notebooks: $(VENV)/.installed-dev
	$(BIN)/python examples/run_notebooks.py

faults: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.faults --output docs/faults.md

docs: $(VENV)/.installed-dev
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.speed.collect --threads 1 2

install: $(VENV)/.installed

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e ".[viewer]"
	@touch $@

# torch-cluster and torch-scatter are compiled against the torch that is installed, hence without isolation.
$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install -c constraints.txt -e ".[dev]"
	$(PIP) install -c constraints.txt --no-build-isolation torch-cluster torch-scatter
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist *.egg-info
