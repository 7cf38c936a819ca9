# staticwado: `make run` shows it, `make test` proves it. Nothing is written outside this directory,
# except Debian packages that the tests need and only root can install.

PYTHON ?= python3
PORT   ?= 8080

export PIP_CACHE_DIR := $(CURDIR)/.run/cache/pip
export npm_config_cache := $(CURDIR)/.run/cache/npm
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run test lint bench soak clean packages

help: ## list these targets
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: .venv/gateway.stamp ## watch ./dicom and show it in OHIF on http://127.0.0.1:8080/ (PORT=...)
	@.venv/bin/python .ci/demo.py $(PORT)

test: packages lint ## everything: lint, then all tests but the long ones
	.venv/bin/python -m pytest -n 2 --dist loadfile --timeout 300

lint: .venv/dev.stamp ## ruff (rules and format) and mypy
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: packages .venv/dev.stamp ## what it costs on this machine, next to its budgets; into docs/benchmarks.md
	@mkdir -p .run
	.venv/bin/python -m tests.bench --write --scratch .run

soak: packages .venv/dev.stamp ## the long tests, with full counts
	.venv/bin/python -m pytest -m soak

clean: ## remove everything that was made here, but not ./dicom
	rm -rf .venv .run build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

packages: # the programs that the tests start
	@.ci/packages nginx=nginx storescu=dcmtk Orthanc=orthanc chromium=chromium npm=npm openssl=openssl rsync=rsync systemd-analyze=systemd \
	  gcc=gcc pkg-config=pkgconf python3-config=python3-dev /usr/include/systemd/sd-daemon.h=libsystemd-dev

.venv/dev.stamp: | packages # the last four packages are for building systemd-python

.venv/%.stamp: pyproject.toml # a virtual environment with this checkout and one of its extras
	@PYTHON="$(PYTHON)" .ci/venv $*
	@touch $@
