# Everything runs in .venv, which the first target that needs it builds from constraints.txt, with
# the Python that .ci/find_python.sh finds, or with yours: make PYTHON=/path/to/python3.12
BIN := .venv/bin
# Threads that wait sleep (dictco_lib/threads.py says why), whatever a kernel or a test loads first.
ifndef OMP_WAIT_POLICY
export GOMP_SPINCOUNT ?= 1000
endif

.PHONY: workbook test lint lab clean

workbook: .venv/installed  ## execute what changed since the last time; HTML pages in build/workbook
	$(BIN)/python notebooks/book/book.py build/workbook

test: .venv/installed lint  ## all tests, notebooks included
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lab: .venv/installed  ## JupyterLab on the first notebook
	$(BIN)/jupyter lab notebooks/00_quickstart.ipynb

# A .venv of a Python that does not do, or that is gone, is made anew.
.venv/installed: pyproject.toml constraints.txt
	@sh .ci/find_python.sh $(BIN)/python >/dev/null 2>&1 || { \
		python=$$(sh .ci/find_python.sh $(PYTHON)) && "$$python" -m venv --clear .venv; }
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

clean:
	rm -rf .venv build
