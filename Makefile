# Everything runs in .venv, which the first target that needs it makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test quick pythons coverage check fix docs digits fuzz clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/installed ## install the base and classify the bundled digits
	$(BIN)/resnest predict resnest_cli/data/digits/samples --model digits --topk 3 --format table

# A worker takes a file at a time, in the order of tests/helpers/lanes.py. A worker that dies ends the run with the name of
# its test: with another in its place pytest-xdist 3.8 can wait forever (its issue 1378).
PYTEST := $(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

# The shell blocks between cog's marks are written by `show` and its like, in scripts/docs/examples.py.
PAGES := README.md $(wildcard docs/*.md)
COG := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cog -P -I scripts/docs -p "from examples import errors, helps, show"

test: check ## lint, types, and all tests, in minutes; the last lines list what was left out
	$(PYTEST)

quick: $(VENV)/installed-dev ## the quick tests, which load no torch and start no cluster, in about a minute
	$(PYTEST) --quick

# Interpreters are looked for on the search path and among pyenv's.
pythons: $(VENV)/installed-dev ## try every command of the base on each Python from 3.10 to 3.13 that is here
	@for version in 3.10 3.11 3.12 3.13; do \
		for python in python$$version $$HOME/.pyenv/versions/$$version.*/bin/python; do \
			$$python -c '' 2>/dev/null && break; python=; \
		done; \
		if [ -z "$$python" ]; then echo "Python $$version is not here: left out"; continue; fi; \
		echo "Python $$version"; rm -rf build/python build/lib; \
		{ $$python -m venv build/python && build/python/bin/pip install --quiet . && \
			$(BIN)/pytest tests/test_without_torch.py --bare-python build/python/bin/python; } || exit 1; \
	done; rm -rf build/python

coverage: $(VENV)/installed-dev ## the tests, and which lines they reach; it takes a third longer
	$(PYTEST) --cov --cov-report=term

check: $(VENV)/installed-dev ## lint, formatting, types, and the outputs shown in README and docs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(COG) --check --diff --check-fail-msg "The documentation is stale: make docs" $(PAGES)

fix: $(VENV)/installed-dev ## mend what can be mended of lint and formatting
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/installed-dev ## write the outputs and pictures of README and docs anew
	$(COG) -r $(PAGES)
	$(BIN)/python scripts/docs/screenshot.py
	-$(BIN)/python scripts/docs/report_picture.py
	-$(BIN)/python scripts/docs/serve_picture.py
	$(BIN)/python scripts/docs/explain_picture.py

fuzz: $(VENV)/installed-dev ## feed the readers of checkpoints and images odd bytes, ten minutes each
	$(BIN)/pip install --quiet --editable '.[fuzz]'
	$(BIN)/python scripts/faults/fuzz.py checkpoint 600
	$(BIN)/python scripts/faults/fuzz.py image 600

digits: $(VENV)/installed-dev ## train the embedded digits model with resnest train (about 90 s)
	$(BIN)/python scripts/data/digits_folders.py build/digits/images
	OMP_NUM_THREADS=1 $(BIN)/resnest train build/digits/images -o build/digits/model -m resnest14d \
		--arch channels=16,32,64,128 --arch stem_width=8 --arch base_width=32 \
		--img-size 32 --interpolation bilinear --crop-pct 1 --mean .5 .5 .5 --std .5 .5 .5 \
		--epochs 30 --batch 64 --optimizer adamw --lr 4e-3 --weight-decay 0.01 --warmup-epochs 1 \
		--augment rand-m9-n2 --hflip 0 --crop-scale 0.5 --mixup 0 --drop-block 0
	$(BIN)/python scripts/data/digits_model.py build/digits/model

clean: ## remove .venv and what builds and tests leave
	rm -rf $(VENV) build dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml
	@echo 'Installing the base into $(VENV): 18 packages, 87 MB to download.'
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/created pyproject.toml
	@echo 'Installing everything into $(VENV): with torch several GB on Linux, so this takes some minutes.'
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@
