# make quickstart   install, then the whole pipeline on the embedded encoder (CPU, offline)
# make test         install, then every test
# make kernels      install Triton too, test the kernels in its interpreter and build them ahead of time
# make bench        time everything on this CPU; with DATA=FOLDER (the tasks' files) whole commands too
# make bench-gpu    check the kernels on this GPU and time them, under 9 minutes
# make lint         ruff and pyright

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install quickstart test fast kernels bench bench-gpu lint clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit('Python 3.11 or newer is needed, found ' + sys.version.split()[0]) if sys.version_info < (3, 11) else None"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	touch $@

quickstart: install
	$(BIN)/adaptxfer quickstart

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

fast: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not e2e"

kernels: install
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev,kernels]"
	$(BIN)/python -m pytest tests/kernels

bench: install
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.startup
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.mining --sentences 10000 --threads 1
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.engine_cpu
ifdef DATA
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.features $(DATA) adaptxfer/embedded/mini
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.end_to_end $(DATA)
endif
	$(BIN)/python -m benchmarks.readme --show

bench-gpu: install
	$(BIN)/python -m benchmarks.gpu

lint: install
	$(BIN)/ruff check .
	$(BIN)/pyright

clean:
	rm -rf $(VENV) runs
