# make demo   the whole thing, running: Label Studio, the backend, a worker, the embedded Valkey
# make test   every test, on real collaborators
# Both do all the set-up on a machine with Python >= 3.11 and npm; nothing is installed outside this folder.
PYTHON ?= python3
BIN := .venv/bin
# One more than the cores: while a test waits for a process or a page, another works.
WORKERS ?= 3
PIP_FLAGS := --quiet --disable-pip-version-check --no-input
export HF_HUB_OFFLINE ?= $(if $(CI),1,)
# Some containers forbid it, and every process of the tests and of the demo would then compile modules again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup develop label-studio label-studio-ml demo test check docs results quality notebook bench chaos stores clean

# What it takes to run samloop.
setup: .venv/.ready
.venv/.ready: pyproject.toml docker/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "samloop needs Python >= 3.11; this is %d.%d: make PYTHON=/path/to/python3.11" % sys.version_info[:2])'
	@echo "samloop: making .venv, and installing PyTorch in it (the largest part: some hundred MB)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install $(PIP_FLAGS) -c docker/constraints.txt torch
	@echo "samloop: installing samloop and the other packages"
	@$(BIN)/pip install $(PIP_FLAGS) -c docker/constraints.txt -e .
	@echo "samloop: .venv is ready: .venv/bin/samloop --help"
	@touch $@

# What it takes to change samloop: the tests' packages and the checkers too.
develop: .venv/.develop
.venv/.develop: .venv/.ready
	@echo "samloop: installing what tests and checks need"
	@$(BIN)/pip install $(PIP_FLAGS) -c docker/constraints.txt -e '.[test,check]'
	@$(BIN)/pip install $(PIP_FLAGS) -c docker/constraints.txt --no-deps label-studio-sdk
	@touch $@

# A virtual environment of its own: Label Studio's pins do not fit ours.
label-studio: .venv-label-studio/.ready
.venv-label-studio/.ready: docker/constraints-label-studio.txt
	@echo "samloop: installing Label Studio in .venv-label-studio (a minute or two)"
	@$(PYTHON) -m venv .venv-label-studio
	@.venv-label-studio/bin/pip install $(PIP_FLAGS) -c docker/constraints-label-studio.txt label-studio
	@touch $@

# label-studio-ml 1.0.9 pins Flask 1.1.2, Werkzeug 2.0.2 and Jinja2 3.0.3. So it has an environment of its own, which
# finds everything else (torch too) in ours. --no-deps: the file lists every package that is installed.
label-studio-ml: .venv-label-studio-ml/.ready
.venv-label-studio-ml/.ready: docker/constraints-label-studio-ml.txt .venv/.ready
	$(PYTHON) -m venv --clear .venv-label-studio-ml
	.venv-label-studio-ml/bin/pip install $(PIP_FLAGS) --no-deps -r docker/constraints-label-studio-ml.txt
	.venv-label-studio-ml/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > .venv-label-studio-ml/own
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$(cat .venv-label-studio-ml/own)/samloop.pth"
	@touch $@

demo: setup label-studio
	$(BIN)/samloop demo $(ARGS)

test: develop label-studio label-studio-ml
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: develop
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Writes docs/settings.md from the program, and from docs/results.md README's summary and the capacity in
# docs/operation.md.
docs: develop
	$(BIN)/python tests/benchmarks/pages.py
	$(BIN)/python tests/benchmarks/capacity.py --parts

# Measures quality and writes docs/results.md. NUCLEI holds export.json and images/ (tests/benchmarks/exports.py).
NUCLEI ?= ../shared/data/nuclei
results: develop
	$(BIN)/python tests/benchmarks/results.py $(NUCLEI) $(ARGS)

# Measures masks before any training on public sets of several kinds, and writes docs/results.md. CLONES holds clones of
# the repositories that tests/benchmarks/sets.py names.
CLONES ?= ../clones
quality: develop
	$(BIN)/python tests/benchmarks/quality.py $(CLONES) $(ARGS)

# Compares with the public notebook's way of fine-tuning, in ten minutes, and writes docs/results.md.
notebook: develop
	$(BIN)/python tests/benchmarks/notebook.py $(NUCLEI) $(ARGS)

# Measures a click, beside the official backend's too, and a step of a training; writes docs/results.md, and what follows
# from it for docs/operation.md.
bench: develop label-studio-ml
	$(BIN)/python tests/benchmarks/official.py
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python tests/benchmarks/official.py
	$(BIN)/python tests/benchmarks/serving.py
	$(BIN)/python tests/benchmarks/step.py
	$(BIN)/python tests/benchmarks/families.py
	$(BIN)/python tests/benchmarks/capacity.py --parts

# Kills whatever can be killed under load for five minutes, swaps 200 versions in, cuts hosts off, counts what was lost,
# and writes docs/results.md. It takes a quarter of an hour.
chaos: develop
	$(BIN)/python tests/benchmarks/chaos.py $(ARGS)

# The registry's contract over Google's and Azure's stores too: installs their clients and emulators, and runs it.
stores: develop
	$(BIN)/pip install $(PIP_FLAGS) -c docker/constraints.txt -e '.[stores]'
	npm install --silent --no-save --prefix .stores azurite@3.37.0
	$(BIN)/pytest tests/contracts/test_registry.py tests/backend/registry/objects/test_store.py -k "gs_url or az_url" $(ARGS)

clean:
	rm -rf .stores .venv .venv-label-studio .venv-label-studio-ml .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
