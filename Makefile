# Few words; `make help` tells what they do.
PYTHON ?= python3
BIN := .venv/bin
RUN ?= runs/default
RECIPE ?= model_training/recipes/default.toml
WEIGHTS ?= service/weights/default
DATA ?= build/brats
SPLIT ?= $(DATA)/split.json
BUILDER ?= docker build
REGIONS := WT TC ET

.PHONY: help setup serve check test train evaluate bench openapi image
.DEFAULT_GOAL := help

help:  ## tell what the words do
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*## */\t/' | expand -t 12

setup: .venv/.installed  ## make .venv with the tested versions of everything

.venv/.installed: pyproject.toml .ci/constraints.txt
	@echo "Setting up .venv; this takes some minutes."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint .ci/constraints.txt --editable '.[serve,train,dev]'
	touch $@

serve: setup  ## serve the bundled weights on 127.0.0.1:8000
	$(BIN)/glioserve serve

check: setup  ## lint, format, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup  ## run the tests
	$(BIN)/pytest

train: setup  ## train the three networks: DATA=folder of BraTS cases, SPLIT=json, RECIPE=toml, RUN=folder
	$(BIN)/python -m model_training prepare $(DATA) --split $(SPLIT) --cache $(RUN)/cache
	for region in $(REGIONS); do \
	    $(BIN)/python -m model_training train $(RECIPE) --region $$region --split $(SPLIT) \
	        --cache $(RUN)/cache --run $(RUN)/$$region || exit 1; \
	done
	mkdir -p $(RUN)/weights
	cp $(foreach region,$(REGIONS),$(RUN)/$(region)/*.json $(RUN)/$(region)/*.safetensors) $(RUN)/weights

evaluate: setup $(DATA)  ## score WEIGHTS on the validation and test cases of DATA by SPLIT
	$(BIN)/python -m model_training evaluate $(DATA) --split $(SPLIT) --weights $(WEIGHTS)

build/brats: | setup
	$(BIN)/python tests/real_cases.py $@

bench: setup  ## time a case and measure its peak memory, against stated limits
	$(BIN)/python tests/benchmark.py

openapi: setup  ## write openapi/openapi.json from the app
	$(BIN)/glioserve openapi openapi/openapi.json

image:  ## build the container image glioserve with BUILDER (docker build, podman build, buildah build)
	$(BUILDER) --tag glioserve --file docker/Dockerfile .
