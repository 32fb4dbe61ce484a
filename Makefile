# `make demo` and `make test` are all there is to set up: each creates the environment first, once.
#   STACK=onedl        the maintained forks onedl-*, in an environment of their own
#   PYTHON=python3.X   another interpreter, 3.10 to 3.14
PYTHON ?= python3
STACK ?= default
VENV_default = .venv
VENV_onedl = .venv-onedl
RUN = $(VENV_$(STACK))/bin/python

.PHONY: help install demo docs test test-slow lint

help:
	@sed -n 's/^#   /  /p; s/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

install:  ## create the environment, build mmcv, install everything (a second call does nothing)
	@$(PYTHON) tools/install.py --stack $(STACK)

demo: install  ## a page of photographs as CRATE and a ViT see them; then train a small CRATE and a small ViT
	@$(RUN) tools/demo.py

# -E reads every page again: a page that is only kept would hide its warning
docs: install  ## the documentation site, in docs/_build/html; a warning is an error
	@$(RUN) -m sphinx -q -W -E --keep-going -c docs -d docs/_build/doctrees -b html . docs/_build/html
	@echo 'docs: open docs/_build/html/docs/README.html'

# one thread per test process, since more would wait for each other; one process more than cores, since some tests wait;
# worksteal divides few files among processes, each of which makes the fixtures of a module anew
test: install lint  ## the checks of lint and the test suite
	@OMP_NUM_THREADS=1 $(RUN) -m pytest -n $$(($$(nproc) + 1)) --maxprocesses 8 --dist worksteal

# they train; a thread each, in turn
test-slow: install  ## small detectors and segmentors, trained until they are far above chance
	@OMP_NUM_THREADS=1 $(RUN) -m pytest -m slow --timeout=5400

lint: install  ## style, format, and the types of models/ and maskcut/
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
