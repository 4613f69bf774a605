# make demo, make test, make lint: each sets up .venv by itself. PYTHON=... chooses the interpreter (3.11 to 3.13).

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := pyproject.toml $(wildcard layers/*/requirements.txt) models/requirements.txt local/requirements.txt
TEMPLATES := template.yaml models/template.yaml models/build.yaml $(wildcard functions/*/template.yaml)
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

.PHONY: help setup demo demo-triage test test-scale test-opensearch test-sam-local lint format test-permissions evaluate bench push-models clean script docs

help:  ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: $(VENV)/.ready  ## .venv with the `watchfloor` command (the others do this by themselves)

$(VENV)/.python:
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
		echo "Watchfloor needs Python 3.11, 3.12 or 3.13 on PATH; or say make PYTHON=/path/to/python3"; exit 1; }
	@if [ -e $(VENV) ] && ! grep -q "prompt = 'watchfloor'" $(VENV)/pyvenv.cfg 2>/dev/null; then \
		echo "$(VENV) was not made by this Makefile: remove it, or say make VENV=another-folder"; exit 1; fi
	@echo "Setting up $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear --prompt watchfloor $(VENV)
	@touch $@

$(VENV)/.ready: $(VENV)/.python $(REQUIREMENTS)
	@echo "Installing what it needs (a minute or two, the first time)"
	@$(BIN)/pip install -qq --disable-pip-version-check -e . || { \
		echo "Could not install it; above is why. Once, this needs PyPI, or the index and proxy that pip is set up for."; exit 1; }
	@$(BIN)/watchfloor --help >/dev/null
	@touch $@

$(VENV)/.test-ready: $(VENV)/.ready tests/requirements.txt
	@$(BIN)/pip install -qq --disable-pip-version-check -e '.[test]'
	@touch $@

demo: $(VENV)/.ready  ## Build, deploy to a cloud on this machine, run alerts through it: make demo [ALERTS=file]
	@$(BIN)/watchfloor demo $(if $(ALERTS),"$(ALERTS)")

demo-triage: $(VENV)/.ready  ## A broken function on that cloud, its errors explained in a sandbox Slack
	@$(BIN)/watchfloor triage demo

test: $(VENV)/.test-ready  ## All tests that need neither Docker nor a real OpenSearch
	@$(BIN)/pytest -n 2 --dist loadgroup -m "not docker and not opensearch and not slow" $(PYTEST_ARGS)

lint: $(VENV)/.test-ready  ## ruff, mypy, cfn-lint, sam validate, state machine and script rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy layers/watchfloor/watchfloor local models bench tests
	@for f in functions/*/; do $(BIN)/mypy $$f; done
	@$(BIN)/cfn-lint $(TEMPLATES)
	@for t in $(TEMPLATES); do SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 $(BIN)/sam validate --lint --template $$t; done
	@$(BIN)/python -m local.asl statemachines/*.asl.yaml
	@$(BIN)/python -m local.scripts.check

format: $(VENV)/.test-ready  ## Format the code
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

script: $(VENV)/.test-ready  ## A new ops script: make script NAME=oncall-... OWNER=team [FROM=snippet.sh]
	@$(BIN)/python -m local.scripts.scaffold "$(NAME)" --owner "$(OWNER)" $(if $(FROM),--from "$(FROM)")

docs: $(VENV)/.test-ready  ## Documentation of the ops scripts, from their modules, documents, template and events
	@$(BIN)/python -m local.scripts.pages

test-scale: $(VENV)/.test-ready  ## 1,000 batches, 200,000 alerts killed and restarted (about ten minutes)
	@$(BIN)/pytest -m slow tests/e2e

test-opensearch: $(VENV)/.test-ready  ## Cases against a real OpenSearch (needs Java 17, and npm the first time)
	@$(BIN)/pytest -m opensearch tests/integration

test-sam-local: $(VENV)/.test-ready  ## Every function by `sam local invoke` (needs Docker)
	@$(BIN)/pytest -m docker tests/docker

test-permissions: $(VENV)/.test-ready  ## Take each permission away in turn and see something fail [PERMISSIONS_ARGS=--parts]
	@$(BIN)/python -m tests.permissions $(PERMISSIONS_ARGS)

evaluate: $(VENV)/.test-ready  ## Score the models on labelled data
	@$(BIN)/pip install -qq --disable-pip-version-check -r models/train-requirements.txt
	@$(BIN)/python -m models.evaluate

bench: $(VENV)/.ready  ## Alerts per second, memory: make bench [ALERTS=n]
	@$(BIN)/watchfloor bench $(if $(ALERTS),--alerts $(ALERTS))

push-models: $(VENV)/.ready  ## Model image into ECR, by Docker or else by CodeBuild; before the first `sam deploy`
	@$(BIN)/python -m models.push $(PUSH_ARGS)

clean:  ## Remove what was built here
	rm -rf .watchfloor .aws-sam build *.egg-info
