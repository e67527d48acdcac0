# make quickstart   install, then the whole pipeline on the embedded encoder (CPU, offline)
# make test         install, then every test
# make kernels      install Triton too, test the kernels in its interpreter and build them ahead of time
# make bench        time everything on this CPU; with DATA=FOLDER (the tasks' files) whole commands too
# make bench-gpu    check the kernels on this GPU and time them, under 9 minutes; ARGS="--to FILE" and the like
# make wheels       the libraries that bench-gpu compares with, for a GPU machine that has torch, Triton and no network:
#                   carry the folder there, then make bench-gpu WHEELS=build/wheels PYTHON=python3
# make lint         ruff and pyright

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CARRIED := build/wheels
CARRIED_TO := 3.12
PLATFORMS := $(foreach n,5 12 17 27 28 34 39,--platform manylinux_2_$(n)_x86_64) --platform manylinux2014_x86_64

.PHONY: install quickstart test fast kernels bench bench-gpu wheels lint clean

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

ifdef WHEELS
bench-gpu:
	$(PYTHON) -m pip install -q --no-index --no-deps --no-compile --upgrade --target $(WHEELS)/site $(WHEELS)/*.whl
	PYTHONPATH=$(WHEELS)/site $(PYTHON) -m benchmarks.gpu $(ARGS)
else
bench-gpu: install
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev,kernels]"
	$(BIN)/python -m benchmarks.gpu $(ARGS)
endif

wheels:
	$(PYTHON) -m pip download -q --no-deps --only-binary=:all: --python-version $(CARRIED_TO) --implementation cp \
		$(PLATFORMS) -d $(CARRIED) -c constraints.txt adapters transformers tokenizers huggingface_hub peft accelerate

lint: install
	$(BIN)/ruff check .
	$(BIN)/pyright

clean:
	rm -rf $(VENV) runs
