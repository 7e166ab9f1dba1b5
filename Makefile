# prefork: everything a developer types. `make help` lists the targets.

PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin
# Most tests wait for processes: two at a time take half as long. A file's tests stay together, and in order.
PYTEST = $(RUN)/python -m pytest -n 2 --dist loadfile
INSTALLED = $(VENV)/.installed
DEVELOPED = $(VENV)/.developed

.DEFAULT_GOAL := help
.PHONY: help demo pictures example-db example-db-stop test test-fast test-processes test-all check fmt docs bench bench-respawn bench-offload bench-children clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## install into .venv and serve examples/hello.py on 127.0.0.1:8000, a worker per core
	$(RUN)/prefork serve hello:app --app-dir examples

example-db:  ## start a PostgreSQL in .example-db for examples/fastapi_postgres.py (Debian's; root installs it)
	@dsn=$$(examples/example-db.sh start .example-db) && \
	  echo "$$dsn" && \
	  echo "DATABASE='$$dsn' $(RUN)/prefork serve fastapi_postgres:app --app-dir examples"

example-db-stop:  ## stop it; its data stay
	@examples/example-db.sh stop .example-db

test: $(DEVELOPED)  ## install with the development tools and run every test
	$(PYTEST)

test-fast: $(DEVELOPED)  ## run the tests that start no server
	$(PYTEST) -m "not processes"

test-processes: $(DEVELOPED)  ## run the tests that start real server trees
	$(PYTEST) -m processes

test-all:  ## run every test on each Python from 3.11 that this machine has
	@for version in 3.11 3.12 3.13 3.14; do \
	  python=$$(command -v python$$version || ls -d $$HOME/.pyenv/versions/$$version.*/bin/python$$version 2>/dev/null | tail -n 1); \
	  if [ -z "$$python" ]; then echo "python$$version: not on this machine"; continue; fi; \
	  echo "python$$version: $$python"; \
	  $(MAKE) test PYTHON="$$python" VENV=".venv-$$version" || exit 1; \
	done

check: $(DEVELOPED)  ## format, lint, types, layers, fresh docs
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/python -m pytest -q tests/test_layers.py
	$(RUN)/python -m prefork.cli.docs --check

fmt: $(DEVELOPED)  ## format the code and mend what lint can mend
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

docs: $(DEVELOPED)  ## generate docs/settings.md
	$(RUN)/python -m prefork.cli.docs

bench: $(INSTALLED)  ## measure against other servers and pools (needs wrk; see docs/benchmarks.md)
	$(RUN)/python benchmarks/run.py
	$(RUN)/python benchmarks/respawn.py
	$(RUN)/python benchmarks/offload.py
	$(RUN)/python benchmarks/children.py
	$(RUN)/python benchmarks/threads_and_processes.py

bench-offload: $(INSTALLED)  ## measure offload against other pools of processes only
	$(RUN)/python benchmarks/offload.py

bench-children: $(INSTALLED)  ## measure children against asyncio, multiprocessing and Node only
	$(RUN)/python benchmarks/children.py
	$(RUN)/python benchmarks/threads_and_processes.py

pictures: $(DEVELOPED)  ## take the pictures of the dashboard and of `prefork top` (needs Chromium; four minutes)
	$(RUN)/python docs/pictures.py

clean:  ## remove virtual environments, caches and installed peers
	rm -rf .venv .venv-* benchmarks/.peers build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[standard]"
	@touch $@

$(DEVELOPED): $(INSTALLED)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@
