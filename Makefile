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

# Files of tests run side by side, each with one thread: two cores then never wait for each other.
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -lt 4 ] && echo $$n || echo 4)
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test: .venv/installed lint  ## all tests, notebooks included
	OMP_NUM_THREADS=1 $(PYTEST)

# How other processors compute: with older and fewer vector instructions, and other thread counts.
OLD := OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 \
	MKL_CBWR=COMPATIBLE OPENBLAS_CORETYPE=Nehalem
USUAL := OMP_NUM_THREADS=2 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 \
	MKL_CBWR=AVX2 OPENBLAS_CORETYPE=Haswell

.PHONY: test-arithmetic
test-arithmetic: .venv/installed  ## the tests as on other processors; TESTS="notebooks/01*" for some
	$(OLD) $(PYTEST) $(TESTS)
	$(USUAL) $(PYTEST) $(TESTS)

# CompressAI's ports of the members are in a preview only, whose import name is taken here: it gets
# an environment of its own, that finds torch and the rest in .venv.
CLIENT := build/client
PORTS := compressai-temp==1.2.9.dev0 timm==1.0.31 pytorch_wavelets==1.3.0 PyWavelets==1.9.0 \
	"setuptools<81"  # pytorch_wavelets imports pkg_resources, which later ones lack

# An environment beside .venv, for what not everybody's .venv should hold: it finds all the rest
# in .venv, and the library here.
define beside
	$(BIN)/python -m venv --clear $(1)
	@{ $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; echo "$(CURDIR)"; } \
		> "$$(echo $(1)/lib/python*/site-packages)/borrowed.pth"
	$(1)/bin/pip install --quiet --disable-pip-version-check $(2)
	@touch $(1)/installed
endef

.PHONY: client
client: $(CLIENT)/installed  ## what we convert for CompressAI's ports, loaded and run by them
	DICTCO_COMPRESSAI_TEMP=$(CLIENT)/bin/python $(BIN)/python -m pytest tests/test_real_client.py

$(CLIENT)/installed: .venv/installed
	$(call beside,$(CLIENT),$(PORTS))

# What a teacher needs: notebooks/teaching/README.md
.PHONY: slides student teach
slides: .venv/installed  ## a deck of slides for each notebook, as it was saved
	$(BIN)/python notebooks/book/slides.py build/slides

TO ?= build/student
student: .venv/installed  ## copies for a class; TO=FOLDER WITH="--nbgrader --with-solutions"
	$(BIN)/python notebooks/book/student.py "$(TO)" $(WITH)

TEACH := build/teach
teach: $(TEACH)/installed  ## nbgrader in an environment of its own, tried with all solutions
	DICTCO_NBGRADER=$(TEACH)/bin/python DICTCO_NBGRADER_PAGES=all \
		$(BIN)/python -m pytest tests/test_nbgrader.py

$(TEACH)/installed: .venv/installed
	$(call beside,$(TEACH),-c constraints.txt nbgrader)

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
