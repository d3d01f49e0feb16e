SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# The interpreter that .venv is built from: the first that is new enough and can make a virtual environment.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	"$$p" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { echo "$$p"; break; }; done)
JOB ?= examples/cartpole-ppo.yaml
# More options for pytest: make test ARGS="-k gae -x". A debugger needs one process: make test ARGS="-n0 --pdb"
ARGS ?=
# Of worker, learner, operator and example; all when empty.
IMAGES ?=

VENV := .venv
BENCH_VENV := .venv-bench
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS_VENV := .venv-docs
DOCS_READY := $(DOCS_VENV)/.ready
PEERS := sb3 rllib sample_factory tianshou cleanrl reverb
PEERS_READY := $(PEERS:%=$(BENCH_VENV)/%/.ready)
GENERATED := docs/reference/metrics.md docs/reference/operator-metrics.md crds/rljobs.rljob.dev.yaml \
	$(addprefix charts/rljob-operator/dashboards/,fleet.json job.json data-path.json) \
	$(addprefix docs/reference/algorithms/,a2c.md appo.md c51.md ddpg.md dqn.md dyna-q.md impala.md iqn.md ppo.md q-learning.md ql-agent57.md qr-dqn.md r2d2.md reinforce.md sac.md search-dyna-q.md td3.md trpo.md vanilla-policy.md) \
	docs/reference/networks.md docs/reference/algorithms/index.md $(patsubst %.json,%.svg,$(wildcard docs/runs/*.json)) \
	charts/rljob-operator/README.md charts/rljob-operator/definitions/rljobs.rljob.dev.yaml

# Every version and its hash come from a lock file. $(call environment,VENV,LOCK)
define environment
	@"$(PYTHON)" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "rljob needs Python 3.11 or newer with venv and pip; found: '$(PYTHON)'." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
		-r requirements-bootstrap.lock
	$(1)/bin/python -m uv pip sync --compile-bytecode --python $(1)/bin/python --require-hashes $(2)
endef

# With the project itself in it, built by the locked hatchling. $(call install,VENV,LOCK)
define install
	$(call environment,$(1),$(2))
	$(1)/bin/python -m uv pip install --python $(1)/bin/python --quiet --offline --no-deps \
		--no-build-isolation --editable .
endef

##@ Use

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(READY) ## Train an example on this machine (JOB=examples/cartpole-ppo.yaml)
	$(BIN)/rljob run $(JOB)

.PHONY: install
install: $(READY) ## Build .venv from requirements.lock (the other targets do it when they need it)

$(READY): requirements.lock requirements-bootstrap.lock pyproject.toml
	$(call install,$(VENV),requirements.lock)
	@touch $@

##@ Test (ARGS="-n0 --pdb" debugs in one process)

# Tests side by side, one for each core. At most four, as some of them start the four processes of a job.
PARALLEL := -n auto --maxprocesses=4 --dist=worksteal
# Three processes on any machine, for tests that mostly wait for pods, probes and scrapes.
WAITING := -n 3

.PHONY: test
test: $(READY) ## Run the unit and integration tests
	$(BIN)/python -m pytest tests/unit tests/integration $(PARALLEL) $(ARGS)

# Every Python process then looks to rljob as one on macOS.
AS_MACOS := PYTHONPATH="$(CURDIR)/tests/portable$${PYTHONPATH:+:$$PYTHONPATH}"

.PHONY: test-portable
test-portable: $(READY) ## Run the integration tests without what Linux alone has, as on macOS
	$(AS_MACOS) $(BIN)/python -m pytest tests/integration tests/portable $(PARALLEL) $(ARGS)

.PHONY: test-portable-part
test-portable-part: $(READY) ## The part of it that shows most (a minute)
	$(AS_MACOS) $(BIN)/python -m pytest tests/integration/test_run.py tests/portable $(PARALLEL) $(ARGS)

.PHONY: test-learning
test-learning: $(READY) ## Train every algorithm on a short task to a known return (minutes)
	$(BIN)/python -m pytest tests/learning --timeout=1200 $(PARALLEL) -m "not full" $(ARGS)

.PHONY: test-learning-full
test-learning-full: $(READY) ## The same, with every task, seed and scale (half an hour)
	$(BIN)/python -m pytest tests/learning --timeout=1200 $(PARALLEL) $(ARGS)

.PHONY: test-faults
test-faults: $(READY) ## Kill and stop roles of a running job and check that nothing is lost (minutes)
	$(BIN)/python -m pytest tests/faults --timeout=600 $(PARALLEL) -m "not full" $(ARGS)

.PHONY: test-faults-full
test-faults-full: $(READY) ## The same, with partitions of a minute, lossy networks and half an hour of watching memory (hours)
	$(BIN)/python -m pytest tests/faults $(ARGS)

.PHONY: test-controlplane
test-controlplane: $(READY) ## Test against a real API server (needs what cluster-tools gets)
	@tests/cluster/programs.sh kube-apiserver etcd kubectl helm
	$(BIN)/python -m pytest tests/controlplane --timeout=300 $(WAITING) --dist=worksteal $(ARGS)

.PHONY: test-browser
test-browser: $(READY) docs ## Look at reports and the documentation site in a headless Chromium (cluster-tools installs it)
	$(BIN)/python -m pytest tests/browser $(ARGS)

.PHONY: test-monitoring
test-monitoring: $(READY) ## Prove dashboards and alerts with a real Prometheus (needs what cluster-tools gets)
	@tests/cluster/programs.sh kube-apiserver etcd kubectl
	$(BIN)/python -m pytest tests/monitoring --timeout=600 $(WAITING) --dist=loadfile --no-loadscope-reorder $(ARGS)

.PHONY: bench
bench: peers ## Measure against the aims, peers beside us (20 minutes; peers' environments in .venv-bench)
	$(BIN)/python -m tests.bench $(ARGS)

.PHONY: bench-full
bench-full: peers ## Measure with all seeds and all peers (hours)
	$(BIN)/python -m tests.bench --full $(ARGS)

.PHONY: bench-check
bench-check: $(READY) ## Say what moved since the figures in docs/benchmarks.md
	$(BIN)/python -m tests.bench check

# A peer that has no wheels for this Python is left out, and the table says so.
.PHONY: peers
peers: $(READY)
	-@$(MAKE) --no-print-directory --keep-going $(PEERS_READY)

$(BENCH_VENV)/%/.ready: tests/bench/peers/%.lock requirements-bootstrap.lock
	$(call environment,$(BENCH_VENV)/$*,$<)
	@touch $@

##@ Cluster

.PHONY: cluster
cluster: ## Bring up a kind cluster (control plane and worker), unless it is up
	@tests/cluster/up.sh

.PHONY: cluster-down
cluster-down: ## Remove it
	@tests/cluster/down.sh

.PHONY: cluster-tools
cluster-tools: ## Install and start what it needs: Docker, Go … (Debian or Ubuntu, as root)
	@tests/cluster/tools.sh

.PHONY: images
images: ## Build the images and bring them to the cluster if it is up (IMAGES="worker operator")
	@images/build.sh $(IMAGES)

.PHONY: monitoring-images
monitoring-images: ## Bring the Prometheus Operator and Prometheus to the cluster, for the end-to-end tests
	@tests/cluster/monitoring.sh

.PHONY: policies
policies: ## Enforce NetworkPolicies on the cluster
	@tests/cluster/policies.sh

.PHONY: e2e
e2e: $(READY) ## Run the end-to-end tests, on a cluster of their own when none is up
	@tests/cluster/with.sh $(MAKE) --no-print-directory in-cluster

.PHONY: e2e-full
e2e-full: $(READY) ## The same, with NetworkPolicies enforced, and nodes that restart (an hour)
	@tests/cluster/with.sh $(MAKE) --no-print-directory policies in-cluster WHICH=

WHICH := -m "not full"
# What both do with the cluster that they were given.
.PHONY: in-cluster
in-cluster: images monitoring-images
	@tests/cluster/programs.sh helm
	$(BIN)/python -m pytest tests/e2e --timeout=900 -n 2 --maxschedchunk=1 $(WHICH) $(ARGS)

##@ Check

.PHONY: lint
lint: $(READY) ## Check style, formatting, types and import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.lint.class_names

.PHONY: format
format: $(READY) ## Fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: generate
generate: $(READY) ## Write the generated files again
	$(BIN)/python -m rljob.telemetry.metrics > docs/reference/metrics.md.tmp
	mv docs/reference/metrics.md.tmp docs/reference/metrics.md
	$(BIN)/python -m rljob_operator.telemetry.metrics > docs/reference/operator-metrics.md.tmp
	mv docs/reference/operator-metrics.md.tmp docs/reference/operator-metrics.md
	$(BIN)/python -m rljob.kube.crd > crds/rljobs.rljob.dev.yaml.tmp
	mv crds/rljobs.rljob.dev.yaml.tmp crds/rljobs.rljob.dev.yaml
	$(BIN)/python -m website.settings
	$(BIN)/python -m website.learned
	$(BIN)/python -m dashboards charts/rljob-operator/dashboards
	cp crds/rljobs.rljob.dev.yaml charts/rljob-operator/definitions/
	$(BIN)/python charts/values_table.py charts/rljob-operator

.PHONY: render
render: $(READY) ## Write what the chart renders to again: operator/manifests, golden files (builds helm)
	@tests/cluster/programs.sh helm
	$(BIN)/python -m tests.controlplane.charts

.PHONY: verify
verify: generate ## Check that the generated files are the committed ones
	git ls-files --error-unmatch -- $(GENERATED) >/dev/null
	git diff --exit-code -- $(GENERATED)

##@ Document

.PHONY: docs
docs: $(DOCS_READY) ## Build the documentation site in build/site; fails on a dead link
	PYTHONPATH=.:runtime:operator NO_MKDOCS_2_WARNING=1 \
		$(DOCS_VENV)/bin/python -m mkdocs build --strict --config-file website/mkdocs.yml

$(DOCS_READY): website/requirements.lock requirements-bootstrap.lock
	$(call environment,$(DOCS_VENV),website/requirements.lock)
	@touch $@

##@ Maintain

UV_COMPILE := $(BIN)/python -m uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command "make lock"
ALL_EXTRAS := $(addprefix --extra ,box2d learner atari operator dev export report video tensorboard mlflow wandb)
# The releases of .venv, in the images too.
AS_HERE := --constraint requirements.lock --constraint requirements-bootstrap.lock

.PHONY: lock
lock: ## Resolve requirements*.lock again (UPGRADE=--upgrade takes newer releases)
	test -x $(BIN)/uv || $(MAKE) --no-print-directory install
	$(UV_COMPILE) $(UPGRADE) requirements-bootstrap.in --output-file requirements-bootstrap.lock
	$(UV_COMPILE) $(UPGRADE) pyproject.toml $(ALL_EXTRAS) --output-file requirements.lock
	for peer in $(PEERS); do \
		in=tests/bench/peers/$$peer.in; override=$${in%.in}.override; \
		$(UV_COMPILE) $(UPGRADE) $$in $$(test ! -f $$override || echo --override $$override) \
			--output-file $${in%.in}.lock; done
	$(UV_COMPILE) $(UPGRADE) pyproject.toml --extra docs $(AS_HERE) --output-file website/requirements.lock
	$(UV_COMPILE) $(UPGRADE) images/build.in $(AS_HERE) --output-file images/build.lock
	$(UV_COMPILE) $(UPGRADE) pyproject.toml --extra runtime --extra atari images/runtime/pip.in $(AS_HERE) --output-file images/runtime/worker.lock
	$(UV_COMPILE) $(UPGRADE) pyproject.toml --extra learner --extra atari images/runtime/pip.in $(AS_HERE) --output-file images/runtime/learner.lock
	$(UV_COMPILE) $(UPGRADE) pyproject.toml --extra operator $(AS_HERE) --output-file images/operator/requirements.lock

.PHONY: clean
clean: ## Remove environments, caches and the output of runs
	rm -rf $(VENV) $(BENCH_VENV) $(DOCS_VENV) runs build dist .hypothesis .import_linter_cache .mypy_cache \
		.pytest_cache .ruff_cache
	find runtime tests -name __pycache__ -type d -prune -exec rm -rf {} +
