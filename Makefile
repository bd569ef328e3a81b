# `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
CACHE ?= runs/cache
RECIPE ?= shared
# Folder of weights for a warm start of the training
INITIAL_WEIGHTS ?=
RUN ?= runs/$(RECIPE)
WEIGHTS ?= service/weights/default
DATA ?= build/brats
# Zip of the case for the load test
CASE ?=
# JSON file with the lists train, validation and test
SPLIT ?=
# docker build, podman build or buildah build
BUILDER ?= docker build
FLAVOUR ?=
TAG ?= glioserve
BUILD_ARGUMENTS := BASE FLAVOUR PIP_EXTRA_INDEX_URL PIP_INDEX_URL PIP_FIND_LINKS PIP_NO_INDEX
ADVISORIES ?= pypi
MINUTES ?= 12
PROTOCOL ?= dicom
PAGE := service/viewer/dist/page.js

.PHONY: help setup viewer serve check test train evaluate accuracy preparation bench performance load fuzz openapi packages archive lock vulnerabilities sbom image image-test
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## */\t/' | expand -t 17

setup: .venv/.installed $(PAGE)  ## create .venv with the tested version of every package; build the page

viewer:  ## build the page in service/viewer/dist, with npm or with Node.js from PyPI
	service/viewer/build.sh $(PYTHON)

# Without npm's registry the service has no page, but everything else works.
$(PAGE): $(wildcard service/viewer/*.* service/viewer/src/*)
	@service/viewer/build.sh $(PYTHON) || echo "The page was not built, see above. The service works without it." >&2

.venv/.installed: pyproject.toml .ci/constraints.txt
	@echo "Installing into .venv. This takes several minutes."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint .ci/constraints.txt --editable '.[serve,client,bridge,int8,image,train,dev]'
	touch $@

.venv/.supplied: .venv/.installed
	$(BIN)/pip install --quiet --constraint .ci/constraints.txt --editable '.[supply]'
	touch $@

.venv/.fuzzing: .venv/.installed
	$(BIN)/pip install --quiet --constraint .ci/constraints.txt --editable '.[fuzz]'
	touch $@

# In a network namespace of its own, because Orthanc listens on every address.
archive: setup  ## send a synthetic study through Orthanc and the bridge; PROTOCOL=dicom or dicomweb
	rm -rf build/archive && mkdir -p build/archive
	PYTHONPATH=tests unshare --map-root-user --net $(BIN)/python -m support.archive_network \
		build/archive service/weights/default $(PROTOCOL) 1

serve: setup  ## start the service with the bundled weights on http://127.0.0.1:8000
	$(BIN)/glioserve serve

# The Compose schema does not know the YAML tag `!reset`; the value after the tag must match the schema.
check: setup  ## check lint, formatting, types, import layers and container files
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

train: setup  ## train RECIPE on the BraTS cases in DATA, write to RUN; optional: SPLIT, INITIAL_WEIGHTS
	$(BIN)/python -m model_training prepare $(DATA) --cache $(CACHE) $(if $(SPLIT),--split $(SPLIT))
	$(BIN)/python -m model_training train $(RECIPE) --cache $(CACHE) --out $(RUN) $(if $(INITIAL_WEIGHTS),--initial-weights $(INITIAL_WEIGHTS))

evaluate: setup $(DATA)  ## evaluate WEIGHTS on the validation and test cases of DATA; optional: SPLIT=file.json
	$(BIN)/python -m model_training evaluate $(DATA) --weights $(WEIGHTS) --split $(or $(SPLIT),$(DATA)/split.json)

preparation: setup $(DATA)  ## compare raw versions of real cases with the cases themselves; DATA needs a split.json
	PYTHONPATH=tests $(BIN)/python -m benchmarks.preparation $(DATA)

accuracy: setup $(DATA)  ## compare crops, cascade and precisions with whole float32 slices; DATA needs a split.json
	PYTHONPATH=tests $(BIN)/python -m benchmarks.accuracy $(DATA)

performance: setup  ## plot docs/performance.png: memory over 100 requests, time against number of slices
	$(BIN)/python docs/performance.py

load: setup  ## run the load test and write docs/load.md and docs/load.png; optional: CASE=case.zip
	$(BIN)/python docs/load.py $(CASE)

fuzz: .venv/.fuzzing  ## fuzz the file decoders and the HTTP server for MINUTES minutes
	PYTHONPATH=tests $(BIN)/python -m fuzz --minutes $(MINUTES)

build/brats: | setup
	PYTHONPATH=tests $(BIN)/python -m support.real_cases $@

bench: setup  ## benchmark a case, malicious uploads, augmentation and the page; fail if a limit is exceeded
	mkdir -p build
	PYTHONPATH=tests $(BIN)/python -m benchmarks.service build/bench.json
	PYTHONPATH=tests $(BIN)/python -m benchmarks.malicious_uploads
	PYTHONPATH=tests $(BIN)/python -m benchmarks.augmentation
	PYTHONPATH=tests $(BIN)/python -m benchmarks.page

openapi: setup  ## write openapi/openapi.json
	$(BIN)/glioserve openapi openapi/openapi.json

packages: setup  ## draw docs/packages.png: the packages and their imports
	$(BIN)/python docs/packages.py

lock: .venv/.supplied  ## write the lock files docker/requirements*.txt of the image, for each FLAVOUR
	$(BIN)/python docker/lock.py $(or $(FLAVOUR),cpu cu130)

vulnerabilities: .venv/.supplied  ## check the locked packages for known vulnerabilities; ADVISORIES=pypi or osv
	@$(BIN)/pip-audit --strict --disable-pip --vulnerability-service $(ADVISORIES) \
		--requirement docker/requirements.txt --requirement docker/requirements-cu130.txt || { \
		echo "Failed: vulnerabilities are listed above, or ADVISORIES=$(ADVISORIES) did not respond and the check is incomplete." >&2; \
		exit 1; }

sbom: .venv/.supplied  ## write the software bill of materials of the cpu image (CycloneDX) to build/sbom.json
	mkdir -p build
	cat docker/requirements.txt docker/requirements-cpu.txt | $(BIN)/cyclonedx-py requirements \
		--pyproject pyproject.toml --output-reproducible --output-file build/sbom.json -

image: $(PAGE)  ## build the container image TAG of FLAVOUR (cpu, cu130, cu126) with BUILDER (docker build)
	$(BUILDER) --build-arg VERSION=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) \
		--build-arg COMMIT=$$(git rev-parse HEAD) --build-arg SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) \
		$(foreach name,$(BUILD_ARGUMENTS),$(if $($(name)),--build-arg $(name)=$($(name)))) \
		--tag $(TAG) --file docker/Dockerfile .

image-test: setup  ## build, run and test the cpu image; needs root, buildah, debootstrap and runc
	$(BIN)/pytest tests/image/checks.py
	@cat build/image/figures.json
