# Everything runs in .venv, which the first target that needs it builds from constraints.txt.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))

.PHONY: workbook test lint lab clean

workbook: .venv/installed  ## execute every notebook in order; HTML under build/workbook
	@mkdir -p build/workbook
	$(BIN)/jupyter nbconvert --execute --to html --output-dir build/workbook $(NOTEBOOKS)
	@echo "open build/workbook/*.html"

test: .venv/installed lint  ## all tests, notebooks included
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lab: .venv/installed  ## JupyterLab on the first notebook
	$(BIN)/jupyter lab notebooks/00_quickstart.ipynb

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

clean:
	rm -rf .venv build
