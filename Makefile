# Two commands on a fresh machine: `make train` and `make test`. Each sets everything up first, once.
# They need Python >= 3.11 with pip. PYTHON=python3.13 picks another Python; ARGS="..." passes overrides on.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
DEBIAN := /usr/share/datasets/fashion-mnist
RAW := data/FashionMNIST/raw

.PHONY: train test test-all bench setup fashion-mnist clean

# Fetches Fashion-MNIST first, unless another data set is typed.
train: setup $(if $(findstring data=,$(ARGS)),$(if $(findstring fashion_mnist,$(ARGS)),fashion-mnist),fashion-mnist)
	@$(BIN)/python -m src.train $(ARGS)

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

# Everything: the whole corpus of attacks beside deaths at every change of a file and long property-based tests.
test-all: test
	rm -f outputs/attack.txt
	@$(BIN)/pytest -m long tests/attack/test_attack.py & corpus=$$!; \
	  $(BIN)/pytest -m long --ignore tests/attack/test_attack.py; others=$$?; \
	  wait $$corpus && cat outputs/attack.txt && exit $$others

bench: setup fashion-mnist
	$(BIN)/python -m benchmarks $(ARGS)

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python >= 3.11 is needed, $(PYTHON) is missing or older. Try make PYTHON=python3.12." >&2; exit 2; }
	@# Debian may lack ensurepip. Then the pip that is installed puts a pip into the environment.
	@echo "setting up .venv, once; this takes some minutes"
	@$(PYTHON) -m venv .venv 2>/dev/null || \
	  { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python $(BIN)/python install -q pip; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Unpacks the four files from Debian's package, if apt-get can download it. This needs no root if apt has package lists;
# root updates them first if needed. If it fails, the run itself downloads the files and reports what it tried.
fashion-mnist:
	@test -e $(RAW)/t10k-labels-idx1-ubyte || test -e $(DEBIAN)/t10k-labels-idx1-ubyte.gz || \
	  ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null || { \
	    folder=$$(mktemp -d) && chmod 755 $$folder && mkdir -p $(RAW) && \
	    { (cd $$folder && apt-get download -q dataset-fashion-mnist) || \
	      (test "$$(id -u)" = 0 && apt-get update -q && cd $$folder && apt-get download -q dataset-fashion-mnist); } \
	      >/dev/null 2>&1 && \
	    dpkg-deb -x $$folder/*.deb $$folder && \
	    for file in $$folder$(DEBIAN)/*.gz; do \
	      name=$$(basename $$file .gz) && gunzip -c $$file > $(RAW)/$$name.part && mv $(RAW)/$$name.part $(RAW)/$$name; \
	    done && echo "Fashion-MNIST from Debian's package dataset-fashion-mnist is in $(RAW)"; \
	    rm -rf $$folder; rmdir -p $(RAW) 2>/dev/null; true; }

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache *.egg-info
