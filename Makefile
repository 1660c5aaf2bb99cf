PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
JS := $(wildcard static/js/*.js)
export PYTHONDONTWRITEBYTECODE = # containers often set it; a start then compiles everything anew

help: ## List these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | sed -E 's/:.*## /\t/' | expand -t 14

demo: .venv/runtime ## From nothing to a dashboard with moving charts (PORT=8000)
	@LANEWAY_REQUIRE_MFA=$${LANEWAY_REQUIRE_MFA:-no} $(BIN)/python manage.py up --demo

up: .venv/runtime ## The same without demo traffic (VLLM_URL=http://host:8000 make up)
	@$(BIN)/python manage.py up

test: .venv/dev ## All tests that pass on this machine
	$(BIN)/python -m pytest -m "not vllm and not bench and not deep and not e2e" -n 2 --dist loadfile
	$(BIN)/python -m pytest -m "e2e and not vllm and not bench" -n 2 --dist loadfile

test-deep: .venv/dev ## A million random steps of the scheduler against its reference, minutes
	$(BIN)/python -m pytest -m deep

test-fast: .venv/dev ## Without started processes, browsers and long random runs
	$(BIN)/python -m pytest -m "not vllm and not bench and not deep and not long and not e2e and not browser" -n 2 --dist loadfile

test-vllm: .venv/dev ## Against a real vLLM for CPU, installed beside ~/.cache (5 minutes, 2.5 GB, once)
	@tests/vllm/install.sh || echo "vLLM could not be installed."
	$(BIN)/python -m pytest -m vllm tests/vllm

load: .venv/dev ## Locust on a running Laneway for a minute: make load KEY=lw_live_… URL=http://localhost:8000
	$(BIN)/locust -f tests/load/locustfile.py --host $(or $(URL),http://localhost:8000) --key $(KEY) \
		--headless --only-summary --users $(or $(USERS),40) --spawn-rate 10 --run-time $(or $(TIME),60s)

lint: .venv/dev ## ruff, types, import rules, migrations, JavaScript's syntax
	$(BIN)/ruff format --check . && $(BIN)/ruff check .
	$(BIN)/mypy && $(BIN)/lint-imports --no-logo
	@LANEWAY_HOME=$$(mktemp -d) $(BIN)/python manage.py makemigrations --check --dry-run
	@if command -v node >/dev/null; then $(foreach js,$(JS),node --input-type=module --check < $(js) &&) true; fi

format: .venv/dev ## Let ruff lay out the Python
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: .venv/dev ## Measure on this machine; judges nothing
	$(BIN)/python -m tests.bench.bench_scheduler
	$(BIN)/python tests/bench/gateway.py

soak: .venv/dev ## An hour under load: does any process grow, is a slot lost? docs/bench/soak.md (TIME=3600)
	$(BIN)/python tests/bench/soak.py --seconds $(or $(TIME),3600)

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/runtime: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing what Laneway needs into .venv (a minute the first time)…"
	$(PIP) -e '.[redis,postgres]'
	@touch $@

.venv/dev: .venv/runtime
	$(PIP) -e '.[dev]'
	@touch $@

.PHONY: help demo up test test-deep test-fast test-vllm load lint format bench soak
