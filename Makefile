# Two commands: `make quickstart` runs the whole study on text and a tiny base LLM that need no download;
# `make test` runs lint, types and the fast tests. Both set up .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: quickstart study-smollm2 test test-slow test-lowest test-newest bench lint types docs setup clean

quickstart: $(VENV)/.installed
	$(BIN)/python run_study.py configs/quickstart.yaml

# The same with a real base LLM, which is downloaded. BASE=DIRECTORY takes a copy of it, ARGS=--plan shows the hours.
study-smollm2: $(VENV)/.installed
	$(BIN)/python run_study.py configs/studies/smollm2-docstrings.yaml $(if $(BASE),--base_model $(BASE)) $(ARGS)

# Two at a time, whole files to each: several make models or start processes that all their tests share.
test: lint types
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Kills, several processes, all model families: run before a release.
test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow

# The lowest versions that pyproject.toml allows, and the newest ones that the index has: does what reads, trains and scores
# still pass? torch has its pinned version in both.
VERSIONS_TESTS ?= tests/pooling tests/triplets tests/trainers/step tests/model_loaders/text tests/model_loaders/vectors \
  tests/model_loaders/test_save_and_load.py tests/evaluation/tasks tests/evaluation/results tests/comparison/stats
LOWEST ?= .venv-lowest
NEWEST ?= .venv-newest

test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python -m pytest -n 2 --dist loadfile $(VERSIONS_TESTS)

test-newest: $(NEWEST)/.installed
	$(NEWEST)/bin/python -m pytest -n 2 --dist loadfile $(VERSIONS_TESTS)

$(LOWEST)/.installed $(NEWEST)/.installed: pyproject.toml tests/versions.py
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python tests/versions.py $(if $(findstring $(LOWEST),$@),lowest,newest) > $(@D)/requirements.txt
	$(@D)/bin/pip install --quiet --disable-pip-version-check --upgrade pip
	$(@D)/bin/pip install --quiet --disable-pip-version-check "$$(grep -m1 '^torch==' constraints.txt)" -r $(@D)/requirements.txt \
	  pytest pytest-xdist hypothesis
	touch $@

# The main ratios of speed against benchmarks/expected.json, in two minutes: a fall beyond noise is named with its commits.
bench: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/guard.py

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

# The documentation as a site, in runs/site: links that lead to nothing are errors.
docs: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/sphinx-build -q -W -c docs . runs/site

setup: $(VENV)/.installed

# torch goes first, at its pinned version: a range lets pip fetch builds for hardware that is not there.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check "$$(grep -m1 '^torch==' constraints.txt)"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) $(NEWEST) runs/site
