# `make help` lists what can be asked for.
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ../shared/data
CLIPS ?= $(wildcard ../shared/video)
RUN ?= runs/atpn
MODEL ?= models/artifacts/atpn/1
PEERS := .venv-race
SUPPLY := .venv-supply
MODULES := $(if $(shell command -v npm),clients/js/node_modules/.made)
.PHONY: help serve test test-long conformance test-engine test-engine-gpu fuzz lint format measure race overload soak train export evaluate lock pin sbom audit rehearse clean

help: ## this list
	@echo 'The first that needs a Python environment makes one in $(VENV): 1 minute for serve, 6 for all.'
	@echo 'Times are those of two cores; what names no time depends on its options or on what it finds.'
	@sed -nE 's/^([a-z-]+):.* ## (.*)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

serve: $(VENV)/.cpu ## the service on the CPU
	$(BIN)/atpn serve

test: $(VENV)/.cpu,test,train $(MODULES) ## all tests but those that take minutes each: 7 to 9 minutes
	$(BIN)/python -m pytest

test-long: $(VENV)/.cpu,test,train ## those: processes killed, Redis lost, an hour of frames
	$(BIN)/python -m pytest -m long --timeout 1800

# Against programs that are not ours, in environments of their own. Nothing may be skipped.
conformance: $(VENV)/.cpu,test .venv-mlserver/.made .venv-kserve/.made ## against Autobahn, MLServer and KServe, which it installs
	CI=true $(BIN)/python -m pytest -m 'long or not long' --timeout 900 tests/conformance

.venv-mlserver/.made: VERSIONS := 3.12 3.11 3.10 3.9
.venv-kserve/.made: VERSIONS := 3.13 3.12 3.11 3.10
.venv-%/.made: tests/conformance/%.txt .ci/peer
	.ci/peer $(@D) $< $(VERSIONS)
	touch $@

# On the Docker engine that `docker` reaches; skipped, with the reason, where there is none. What
# the image for GPUs needs besides is large: test-engine-gpu builds as far as it gets.
test-engine: $(VENV)/.cpu,test ## the image and Compose on a Docker engine, on its worst day
	$(BIN)/python -m pytest -s -m engine --timeout 1800 tests/engine --ignore tests/engine/test_gpu.py

test-engine-gpu: $(VENV)/.cpu,test ## the image for GPUs, as far as it can be built there
	$(BIN)/python -m pytest -s -m engine --timeout 3600 tests/engine/test_gpu.py

# Coverage-guided, all targets in turn; what is found lies in runs/fuzz. KEEP=--keep then renews
# the corpus that `make test` replays.
SECONDS ?= 600
fuzz: $(VENV)/.cpu,test,fuzz ## 10 minutes (SECONDS=600) of coverage-guided fuzzing
	$(BIN)/python -m tests.fuzz.run --seconds $(SECONDS) $(KEEP)

lint: $(VENV)/.cpu,test,train,lint,deploy ## ruff, mypy and the checks of images and manifests: 1 minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint docker/Dockerfile
	$(BIN)/yamllint --strict .
	.ci/promtool $(BIN)
	$(BIN)/python -m pytest -q -m tools tests/deploy

format: $(VENV)/.cpu,test,train,lint,deploy ## ruff repairs and formats: seconds
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What the JavaScript client's tests need, where there is npm; they are skipped without.
clients/js/node_modules/.made: clients/js/package-lock.json
	cd clients/js && npm ci --no-fund --no-audit && touch node_modules/.made \
	|| echo 'npm ci failed: tests of the JavaScript client will be skipped'

measure: $(VENV)/.cpu,test ## the service beside its own parts
	$(BIN)/python -m loadtests.measure

# Against other servers, which live in an environment of their own. RACE="--seconds 2 --rounds 1
# --only atpn,script" is a quick look; with --write the result is kept.
race: $(VENV)/.cpu $(PEERS)/.made ## the service beside other servers, which it installs
	$(BIN)/python -m loadtests.race $(RACE)

# The system's Python: pytriton's Triton loads its library.
$(PEERS)/.made: loadtests/peers/requirements.txt
	$(firstword $(wildcard /usr/bin/python3) python3) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

# Half to four times the capacity, drawn; OVERLOAD=--write keeps the result.
overload: $(VENV)/.cpu,test $(PEERS)/.made ## what is answered in time under half to four times the capacity
	$(BIN)/python -m loadtests.overload $(OVERLOAD)

# The service with Redis under a mixed load for so long; fails if it grows. SOAK=--write keeps it.
HOURS ?= 1
soak: $(VENV)/.cpu,test ## an hour (HOURS=1) of mixed load on a service that must not grow
	$(BIN)/python -m loadtests.soak --hours $(HOURS) $(SOAK)

# Training keeps both cores busy for hours and goes on where it stopped.
# glibc gives memory back to the kernel after every layer; kept, a step takes a tenth less time.
train: $(VENV)/.cpu,train ## trains the network, for hours; goes on where it stopped
	MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=-1 \
	$(BIN)/python -m atpn_training.train --data $(DATA) --out $(RUN) --profiles 2000 --as-rotations

export: $(VENV)/.cpu,train ## the trained weights to the ONNX file that is served
	$(BIN)/python -m atpn_training.artefacts.export --weights $(RUN)/pose.done.pt --out $(MODEL)

evaluate: $(VENV)/.cpu,train ## scores that file, writes the model card's tables
	$(BIN)/python -m atpn_training.score.evaluate --data $(DATA) --model $(MODEL) $(CLIPS:%=--clips %) --write

# The images' packages, with hashes.
lock: $(VENV)/.cpu,test,train,lint,deploy ## renews the images' locked packages
	UV=$(BIN)/uv docker/lock --upgrade

# Base images by digest: looks their tags up in their registries. PIN=--check writes nothing.
pin: $(VENV)/.cpu ## writes the base images' digests, or compares them (PIN=--check)
	$(BIN)/python docker/pin.py $(PIN)

# What an image holds, and what is known to be wrong with it; IMAGE is cpu or gpu.
IMAGE ?= cpu
sbom: $(SUPPLY)/.made ## what an image holds (IMAGE=gpu for the other): an SBOM and licences: half a minute
	TOOLS=$(SUPPLY)/bin docker/sbom $(IMAGE)

audit: $(SUPPLY)/.made ## known vulnerabilities of the locked packages: half a minute
	$(SUPPLY)/bin/python docker/audit.py

$(SUPPLY)/.made: docker/requirements-supply.txt | $(VENV)/.cpu
	$(BIN)/python -m venv $(SUPPLY)
	$(SUPPLY)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

# The Dockerfile's steps where there is no Docker engine.
rehearse: ## the Dockerfile's steps without a Docker engine: half a minute
	python3 docker/rehearse.py

# One stamp per set of extras; the project's metadata makes it stale.
$(VENV)/.%: pyproject.toml .ci/venv
	.ci/venv $(VENV) $*
	touch $@

clean: ## removes what these made
	rm -rf $(VENV) $(PEERS) $(SUPPLY) .venv-mlserver .venv-kserve clients/js/node_modules build dist .pytest_cache .mypy_cache .ruff_cache
