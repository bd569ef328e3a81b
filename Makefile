# Few words; `make help` tells what they do.
PYTHON ?= python3
BIN := .venv/bin
CACHE ?= runs/cache
RECIPE ?= shared
FROM ?=
RUN ?= runs/$(RECIPE)
WEIGHTS ?= service/weights/default
DATA ?= build/brats
CASE ?=
SPLIT ?=
BUILDER ?= docker build
FLAVOUR ?=
TAG ?= glioserve
BUILD_ARGUMENTS := BASE FLAVOUR PIP_EXTRA_INDEX_URL PIP_INDEX_URL PIP_FIND_LINKS PIP_NO_INDEX
ADVISORIES ?= pypi
MINUTES ?= 12

.PHONY: help setup serve check test train evaluate accuracy bench performance load fuzz openapi lock vulnerabilities sbom image image-test
.DEFAULT_GOAL := help

help:  ## tell what the words do
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## */\t/' | expand -t 17

setup: .venv/.installed  ## make .venv with the tested versions of everything

.venv/.installed: pyproject.toml .ci/constraints.txt
	@echo "Setting up .venv; this takes some minutes."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint .ci/constraints.txt --editable '.[serve,int8,image,train,dev]'
	touch $@

.venv/.supplied: .venv/.installed
	$(BIN)/pip install --quiet --constraint .ci/constraints.txt --editable '.[supply]'
	touch $@

.venv/.fuzzing: .venv/.installed
	$(BIN)/pip install --quiet --constraint .ci/constraints.txt --editable '.[fuzz]'
	touch $@

serve: setup  ## serve the bundled weights on 127.0.0.1:8000
	$(BIN)/glioserve serve

# `!reset` is a word of Compose's alone; what comes after it has to fit the schema.
check: setup  ## lint, format, types, import directions, container files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint docker/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml
	sed 's/!reset //' docker/compose.cpu.yaml | \
		$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec --default-filetype yaml -

test: setup  ## run the tests
	$(BIN)/pytest

train: setup  ## train the networks of RECIPE on the BraTS cases below DATA, into RUN; SPLIT=json, FROM=weights
	$(BIN)/python -m model_training prepare $(DATA) --cache $(CACHE) $(if $(SPLIT),--split $(SPLIT))
	$(BIN)/python -m model_training train $(RECIPE) --cache $(CACHE) --out $(RUN) $(if $(FROM),--from $(FROM))

evaluate: setup $(DATA)  ## score WEIGHTS on the validation and test cases of DATA by SPLIT
	$(BIN)/python -m model_training evaluate $(DATA) --weights $(WEIGHTS) --split $(or $(SPLIT),$(DATA)/split.json)

accuracy: setup $(DATA)  ## score shortcuts and precisions against whole slices in float32, on the cases of DATA
	PYTHONPATH=tests $(BIN)/python -m benchmarks.accuracy $(DATA)

performance: setup  ## draw docs/performance.png: memory over 100 requests, time against slices
	$(BIN)/python docs/performance.py

load: setup  ## flood a server with a case, or CASE=zip, and write docs/load.md and docs/load.png
	$(BIN)/python docs/load.py $(CASE)

fuzz: .venv/.fuzzing  ## throw MINUTES of made-up inputs at readers and server
	PYTHONPATH=tests $(BIN)/python -m fuzz --minutes $(MINUTES)

build/brats: | setup
	PYTHONPATH=tests $(BIN)/python -m support.real_cases $@

bench: setup  ## measure a case, hostile uploads and augmentation against stated limits
	mkdir -p build
	PYTHONPATH=tests $(BIN)/python -m benchmarks.service build/bench.json
	PYTHONPATH=tests $(BIN)/python -m benchmarks.malicious_uploads
	PYTHONPATH=tests $(BIN)/python -m benchmarks.augmentation

openapi: setup  ## write openapi/openapi.json from the app
	$(BIN)/glioserve openapi openapi/openapi.json

lock: .venv/.supplied  ## write docker/requirements*.txt, hashes of what the image of each FLAVOUR installs
	$(BIN)/python docker/lock.py $(or $(FLAVOUR),cpu cu130)

vulnerabilities: .venv/.supplied  ## look for known vulnerabilities of what is locked, by ADVISORIES (pypi, osv)
	@$(BIN)/pip-audit --strict --disable-pip --vulnerability-service $(ADVISORIES) \
		--requirement docker/requirements.txt --requirement docker/requirements-cu130.txt || { \
		echo "Not passed: vulnerabilities stand above, or else ADVISORIES=$(ADVISORIES) gave no answer, which clears nothing." >&2; \
		exit 1; }

sbom: .venv/.supplied  ## list what the image for CPUs installs, as CycloneDX in build/sbom.json
	mkdir -p build
	cat docker/requirements.txt docker/requirements-cpu.txt | $(BIN)/cyclonedx-py requirements \
		--pyproject pyproject.toml --output-reproducible --output-file build/sbom.json -

image:  ## build the container image TAG of FLAVOUR with BUILDER (docker build, podman build, buildah build)
	$(BUILDER) --build-arg VERSION=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) \
		--build-arg COMMIT=$$(git rev-parse HEAD) --build-arg SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) \
		$(foreach name,$(BUILD_ARGUMENTS),$(if $($(name)),--build-arg $(name)=$($(name)))) \
		--tag $(TAG) --file docker/Dockerfile .

image-test: setup  ## build the image for CPUs, run it as a service, examine it; needs root, buildah, debootstrap, runc
	$(BIN)/pytest tests/image/checks.py
	@cat build/image/figures.json
