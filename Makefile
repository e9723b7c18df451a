# The two commands: `make read` and `make test`. `make help` lists the rest.

PORT ?= 8000
ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := .venv/Scripts
else
PYTHON ?= python3
BIN := .venv/bin
endif
PY := $(BIN)/python

.PHONY: help read test test-fast book lint lab execute front ledger bench avatars lock slug clean .venv
.DEFAULT_GOAL := help

help: ## this list
	@$(PYTHON) -c "import re; [print('  make %-12s %s' % m) for m in re.findall(r'^([a-z0-9.%-]+):.*?## (.*)', open('Makefile', encoding='utf-8').read(), re.M)]"

read: ## set up, build the book and serve it on this machine (PORT=8000)
	@$(PYTHON) tools/serve.py --check $(PORT)
	@$(MAKE) --no-print-directory book
	@$(PY) tools/serve.py $(PORT)

# Two workers on two cores: with two threads each, they would wait for one another most of the time.
test: export OMP_NUM_THREADS = 1
test: .venv ## set up and run everything: lint, types, notebooks, tests, browser
	@$(PY) tools/preflight.py
	$(MAKE) lint
	$(PY) -m pytest -n 2 --durations=25 --nbval book tests

test-fast: export OMP_NUM_THREADS = 1
test-fast: .venv ## the library's core alone, in two minutes
	$(PY) -m pytest -n 2 --durations=5 tests/core

.venv: ## create or update the environment; instant when nothing changed
	@$(PYTHON) tools/setup_env.py

book: .venv ## build the pages into _build/html, warnings as errors
	$(BIN)/jupyter-book build . -W -n --keep-going

lint: .venv ## ruff, mypy in strict mode on the library; tsc and eslint on the pages' JavaScript
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) tools/lint_js.py

front: .venv ## give the chapters' stored widgets the present acgan_lib/widgets/front, without running them
	$(PY) tools/execute.py --front

lab: .venv ## open the chapters in JupyterLab, with live sliders
	$(BIN)/jupyter lab --notebook-dir=book

execute: .venv ## run the chapters again and store their outputs (CHAPTER=ch06_acgan for one)
	$(PY) tools/execute.py $(CHAPTER)

ledger: .venv ## write book/ledger.md from data/ledger.toml and the recorded results
	$(PY) tools/ledger.py

bench: .venv ## images a second of a training step, each lever against the textbook step
	$(PY) tools/bench.py

avatars: .venv ## draw N faces of each kind at SIZE px, 64 or 128 (N=3000 SIZE=64; SPLIT=test, OUT=DIR)
	$(PY) tools/make_avatars.py --n $(or $(N),3000) --size $(or $(SIZE),64) \
	  --split $(or $(SPLIT),train) $(if $(OUT),--out "$(OUT)")

train-%: .venv ## repeat an experiment, as make train-acgan_fashion ARGS="--seed 1"
	$(PY) -m acgan_lib.experiments $* $(ARGS)

train-acgan-cifar10: .venv ## the paper's CIFAR-10 model, 50,000 steps: for a GPU (ARGS=--download)
	$(PY) -m acgan_lib.experiments acgan-cifar10 $(ARGS)

train-acgan-imagenet: .venv ## ten of ImageNet's classes at 128x128 (SPLIT=7, or 0-99; ARGS="--root DIR")
	$(PY) -m acgan_lib.experiments acgan-imagenet --splits $(or $(SPLIT),0) $(ARGS)

slug: ## change the repository's public address everywhere: SLUG=owner/name
	@$(PYTHON) tools/slug.py $(SLUG)

lock: .venv ## pin requirements.in's versions again, with hashes, into requirements.txt
	$(PY) -m uv pip compile requirements.in -o requirements.txt --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet

clean: ## remove the built pages and caches, not the environment
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache
