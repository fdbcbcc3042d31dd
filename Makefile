# Everything runs in .venv, which the first target that needs it builds from constraints.txt.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: workbook test lint lab clean

workbook: .venv/installed  ## execute every notebook in order; a book of HTML pages in build/workbook
	$(BIN)/python notebooks/book/book.py build/workbook

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
