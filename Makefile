# `make run` and `make test` need Python 3.11+ and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
OUT := out

.PHONY: run test slow check bench build clean

run: models/default/manifest.json
	@rm -rf $(OUT) && mkdir -p $(OUT)
	$(BIN)/tipnlp predict examples/luxembourg-2020 -o $(OUT)/predictions.jsonl
	$(BIN)/tipnlp tally $(OUT)/predictions.jsonl --list --default-year 2020

test: $(READY)
	$(BIN)/python -m pytest

slow: $(READY)
	$(BIN)/python -m pytest -m slow

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(READY) models/default/manifest.json
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[bench]"
	$(BIN)/python bench/accuracy.py
	$(BIN)/python bench/ablation.py
	$(BIN)/python bench/speed.py
	$(BIN)/python bench/growth.py

build: $(READY)
	$(BIN)/python -m build --wheel --outdir dist

clean:
	rm -rf $(VENV) $(OUT) build dist models/default

# Trained again when the corpus, the lexicon or the code that reads them changed.
models/default/manifest.json: $(READY) train.py $(wildcard corpus/*.jsonl) $(wildcard src/tipnlp/*.py) $(wildcard src/tipnlp/lexicon/*.toml)
	$(BIN)/python train.py

# The environment, made when it is missing or when what it holds has changed.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'tipnlp needs Python 3.11 or newer: make PYTHON=python3.11')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
