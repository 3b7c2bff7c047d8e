# Everything runs in .venv, made on first use with python3 -m venv and pip alone.
# CPU-only machines outside a pip set up for CPU wheels: make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PYTHON ?= python3
PIP_ARGS ?=
DEVICE ?= cpu
BIN := .venv/bin

.PHONY: demo test bench docs lint format clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	touch $@

demo: .venv/ready
	$(BIN)/python -m skelssl.train experiment=demo hydra.run.dir=outputs/demo
	$(BIN)/python -m skelssl.report outputs/demo --floor --html report.html

test: .venv/ready lint
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

bench: .venv/ready
	$(BIN)/python -m benchmarks --device $(DEVICE) $(BENCH_ARGS)

docs: .venv/ready
	$(BIN)/python -m sphinx --fail-on-warning --keep-going docs docs/_build/html

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv
