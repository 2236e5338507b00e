# `make demo` makes a video, `make character` teaches nano a puppet, `make test` runs the tests, `make test-gpu` those that
# need a card, `make check` adds style and types.
# Each builds .venv from pyproject.toml and constraints.txt, and only when one of the two has changed.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
RUN := runs/character
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
export PROMPT ?= A red paper boat sails on the sea

demo: .venv/installed
	$(BIN)/piying generate "$$PROMPT" --seed 7

# A puppet that nano has never seen, learned from 24 clips: eight minutes of two CPU cores. Stopped, it goes on where
# it was. Another try: rm -r $(RUN).
character: .venv/installed $(RUN)/ds/clips.jsonl
	$(BIN)/piying train $(RUN)/ds --model nano --out $(RUN)/run $(if $(wildcard $(RUN)/run/recipe.json),--resume)
	@echo "before and after: $$(ls $(RUN)/run/sheets/*.png | tail -1)"
	@echo "use it: $(BIN)/piying generate 大娃在草地上跳 --adapter $(RUN)/run/adapter"

# Written last: without it the folder is half of one.
$(RUN)/ds/clips.jsonl: | .venv/installed
	rm -rf $(RUN)/ds
	$(BIN)/piying theatre clips dawa --out $(RUN)/ds

test: .venv/installed-dev
	$(BIN)/python -m pytest -n 2

# What needs an NVIDIA card: the kernels on it, and whole models with them.
test-gpu: .venv/installed-dev
	$(BIN)/python -m pytest -m gpu -n 0

check: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(MAKE) test

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: install it, or say make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv .venv

# On Linux without an NVIDIA card the CPU build of torch is a tenth of the download. PyPI's build serves where its index is out of reach.
.venv/torch: constraints.txt | .venv/bin/python
	@if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; then \
		echo "installing torch for the CPU"; \
		$(INSTALL) --no-deps --retries 1 --timeout 30 --extra-index-url https://download.pytorch.org/whl/cpu torch; \
	fi
	@touch $@

.venv/installed: pyproject.toml constraints.txt .venv/torch
	@echo "installing piying into .venv: a few minutes, once"
	@$(INSTALL) --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	@echo "installing what the tests need"
	@$(INSTALL) --editable ".[dev]"
	@touch $@

.PHONY: demo character test test-gpu check
