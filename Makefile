# Two commands do all the set-up: `make run` shows the sidecar at work, `make test` runs every test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
RUNS := $(VENV)/.runs
STAMP := $(VENV)/.installed
RELEASE := $(VENV)/release/bin
PYTHONS := 3.12 3.13

.PHONY: help unit run test test-faults test-nightly image-test lock lint format docs bench test-pythons release-check clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## +/\t/' | expand -t 16

run: $(RUNS)  ## the demo: a token in, an admitted request through, a revoked one refused; ARGS="--check" and the like go on
	@echo "starting the demo"
	@$(BIN)/sidecar demo $(ARGS)

unit: $(STAMP)  ## the unit tests alone: no service, no download
	@# Two halves side by side, the first one's output after the second's.
	@export HYPOTHESIS_PROFILE=quick; out=$$(mktemp); \
	$(BIN)/pytest -q tests/unit/core tests/unit/config >$$out 2>&1 & first=$$!; \
	$(BIN)/pytest -q tests/unit --ignore tests/unit/core --ignore tests/unit/config; rest=$$?; \
	wait $$first; core=$$?; cat $$out; rm -f $$out; test $$core = 0 && test $$rest = 0

test: $(STAMP) system  ## every test but the slow faults, with the coverage gate
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-faults: $(STAMP) system  ## the slow ones: processes that are killed, frozen and restarted again and again
	$(BIN)/pytest -m faults

test-nightly: $(STAMP) system  ## the property tests and the fuzzers, for longer
	HYPOTHESIS_PROFILE=nightly $(BIN)/pytest tests/e2e/test_fidelity.py tests/fuzz tests/unit

image-test: $(STAMP)  ## the container image, built and run without a container engine; needs root, see tests/support/container.py
	@missing=""; \
	for tool in buildah podman runc debootstrap; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	test -z "$$missing" || ! command -v apt-get >/dev/null || test "$$(id -u)" != 0 || { \
	  echo "installing$$missing"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	}
	$(BIN)/pytest -m image tests/image

lint: $(STAMP)  ## ruff, mypy and hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile

format: $(STAMP)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(STAMP)  ## write what is generated: references, schema, dashboard, alerts for the Prometheus operator
	$(BIN)/python -m tests.support.references

test-pythons: $(STAMP)  ## the unit tests and the demo on each other supported Python that is installed
	@for version in $(PYTHONS); do \
	  python=; \
	  for each in python$$version "$$HOME"/.pyenv/versions/$$version.*/bin/python; do \
	    "$$each" -c "" 2>/dev/null && python=$$each && break; \
	  done; \
	  test -n "$$python" || { echo "no Python $$version is installed: skipped"; continue; }; \
	  venv=$(VENV)/python$$version; \
	  echo "installing for Python $$version"; \
	  test -x $$venv/bin/pip || "$$python" -m venv $$venv || exit 1; \
	  $$venv/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]' || exit 1; \
	  HYPOTHESIS_PROFILE=quick $$venv/bin/python -m pytest -q tests/unit || exit 1; \
	  $$venv/bin/sidecar demo --check || exit 1; \
	done

release-check: $(RUNS)  ## build what would be published, install it into an empty environment, try it, list and audit what is in it
	@echo "installing the tools of a release"
	@test -x $(RELEASE)/pip || $(PYTHON) -m venv $(VENV)/release
	@$(RELEASE)/pip install --quiet --disable-pip-version-check '.[release]'
	rm -rf dist $(VENV)/empty
	$(RELEASE)/python -m build --outdir dist
	$(RELEASE)/twine check --strict dist/*
	$(RELEASE)/check-wheel-contents dist/*.whl
	@echo "installing the wheel into an empty environment"
	@$(PYTHON) -m venv $(VENV)/empty
	@$(VENV)/empty/bin/pip install --quiet --disable-pip-version-check dist/*.whl
	cd / && $(CURDIR)/$(VENV)/empty/bin/sidecar demo --check
	$(RELEASE)/cyclonedx-py environment $(VENV)/empty/bin/python --output-reproducible --of JSON --output-file dist/auth-sidecar.cdx.json
	$(RELEASE)/python -m tests.support.audit $$($(VENV)/empty/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
	@ls -l dist

# Hashes of the wheels of every platform. `uv` is needed for nothing else, so it has an environment of its own.
LOCKED := deploy/image
UV = $(VENV)/.uv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.13 --generate-hashes --no-annotate \
  --custom-compile-command "make lock"
lock: $(STAMP)  ## the versions and hashes of what the image contains, anew
	@test -x $(VENV)/.uv/bin/uv || { $(PYTHON) -m venv $(VENV)/.uv && $(VENV)/.uv/bin/pip install --quiet uv; }
	$(UV) pyproject.toml --output-file $(LOCKED)/requirements.txt
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' | \
	  $(UV) - --output-file $(LOCKED)/build-requirements.txt

bench: $(STAMP) system  ## what it costs, beside nginx, njs, HAProxy and Envoy as far as they are installed
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) .coverage .coverage.* .hypothesis .mypy_cache .ruff_cache dist

# Each step says what it does before it does it, and pip names each package as it comes: nobody waits before a silent screen.
$(BIN)/pip:
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { $(MAKE) --no-print-directory python-venv && $(PYTHON) -m venv $(VENV); }

$(RUNS): pyproject.toml | $(BIN)/pip
	@echo "installing the sidecar and what it needs; this takes half a minute"
	@$(PIP) install --editable .
	@touch $@

$(STAMP): pyproject.toml | $(BIN)/pip
	@echo "installing the sidecar and what its tests need; this takes a minute or two"
	@$(PIP) install --editable '.[dev]'
	@# Apart from the others, since on Python 3.11 it asks for a greenlet that Playwright cannot have; it imports none.
	@$(PIP) install --no-deps 'httpbin>=0.10.4'
	@touch $(RUNS) $@

# What the tests start besides Python: redis-server, chromium, promtool, Node for oauth4webapi, and faketime to step clocks. Installed
# where apt-get and root are at hand.
.PHONY: system python-venv
system:
	@missing=""; \
	command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v promtool >/dev/null || missing="$$missing prometheus"; \
	command -v node >/dev/null || missing="$$missing nodejs"; \
	command -v npm >/dev/null || missing="$$missing npm"; \
	ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || missing="$$missing faketime"; \
	test -z "$$missing" || { \
	  command -v apt-get >/dev/null && test "$$(id -u)" = 0 || { echo "install:$$missing" >&2; exit 1; }; \
	  echo "installing$$missing"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	}

python-venv:
	@command -v apt-get >/dev/null && test "$$(id -u)" = 0 || { echo "install: python3-venv" >&2; exit 1; }
	@echo "installing python3-venv"
	@apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
