# Everything starts here; each target sets up what it needs in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo test frameworks conformance differential check lint gen bench simulate chaos soak clean
.DEFAULT_GOAL := help

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[demo,operators,models,gpu]' --group dev
	touch $@

setup: .venv/.ready  ## Make .venv with everything in it

demo: setup  ## Bring up a yard with two agents and run real work on it
	$(BIN)/yard demo

test: setup  ## Run every test: first those that share nothing, side by side, then those with processes of their own
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/unit tests/contract tests/property tests/simulation
	$(BIN)/python -m pytest tests/integration tests/e2e

frameworks: setup  ## Train with the real PyTorch, TensorFlow, JAX, XGBoost … on agents; installs them once, outside of the checkout
	python="$$($(BIN)/python tests/frameworks/environment.py)" && PYTHONPATH=. "$$python" -m pytest tests/frameworks

conformance: setup  ## Ask a server whether it speaks the Open Inference Protocol (HOST=host:port TOKEN_FILE=… MODEL=… CA_FILE=…)
	CONFORMANCE_HOST="$(HOST)" CONFORMANCE_TOKEN_FILE="$(TOKEN_FILE)" CONFORMANCE_MODEL="$(MODEL)" \
	CONFORMANCE_CA_FILE="$(CA_FILE)" $(BIN)/python -m pytest -q -rs tests/conformance

differential: setup  ## Ask this project, Triton and MLServer the same, and compare; installs the others once, outside of the checkout
	DIFFERENTIAL=1 $(BIN)/python -m pytest -q tests/differential

check: lint  ## What lint does, and the unit and contract tests
	$(BIN)/python -m pytest -q -n 2 --dist worksteal tests/unit tests/contract

lint: setup  ## Format, lint, types, import contracts, protos
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python protos/generate.py --check

gen: setup  ## Regenerate the stubs in modelyard/{v1,oip/v2} from protos/
	$(BIN)/python protos/generate.py

bench: setup  ## Measure, and print the table of docs/performance.md
	$(BIN)/python -m bench

simulate: setup  ## The simulators of tasks, runs and jobs with many seeds (SEEDS=20000 RUN_SEEDS=500 JOB_SEEDS=1000)
	$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),20000)
	$(BIN)/python -m tests.simulation.runs --seeds $(or $(RUN_SEEDS),500)
	$(BIN)/python -m tests.simulation.jobs --seeds $(or $(JOB_SEEDS),1000)

chaos: setup  ## Kill processes at random, cut the power, everything at once; nothing may be lost (SECONDS=600 SEED=7 ROUNDS=20)
	CHAOS_SECONDS=$(or $(SECONDS),120) CHAOS_SEED=$(or $(SEED),20) POWER_ROUNDS=$(or $(ROUNDS),5) \
	$(BIN)/python -m pytest -q -s tests/e2e/test_e2e_chaos.py tests/e2e/test_e2e_training_chaos.py \
	tests/e2e/test_e2e_power_loss.py
	$(BIN)/python -m tests.chaos --seconds $(or $(SECONDS),120) --seed $(or $(SEED),20)

soak: setup  ## One hour of a light load on a whole yard; memory, descriptors, files and rows may not grow (SECONDS=3600)
	$(BIN)/python -m tests.soak --seconds $(or $(SECONDS),3600)

clean:  ## Remove .venv and caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist *.egg-info
