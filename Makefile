# Tasks of a developer; `make` alone lists them. Every target stops at the first failure.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# The main branch as this clone knows it. The wire contract must stay compatible with it.
MAIN := $(firstword $(shell git for-each-ref --format='%(refname)' refs/heads/main refs/remotes/origin/main))
# Path of a part. Fails if there is none, so that a missing part cannot look like a passed check.
part = $$(tests/real-parts install | sed -n 's/^$(1) //p' | grep .)
comma := ,
# Runs a command and prints its duration, so that slow ones show.
timed = @echo "== $(1)"; started=$$SECONDS; $(2); echo "== $(1): $$((SECONDS - started)) s"

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r target what; do printf '  make %-12s %s\n' "$$target" "$$what"; done

.PHONY: demo
demo: ## Start everything and watch campaigns run, until Ctrl-C or for DEMO_SECONDS; with DASHBOARDS=1 in the browser too
	@tests/real-parts >/dev/null
	@echo "== building (the first time this takes some minutes)"
	@cargo build --workspace --bins --examples
	@exec "$${CARGO_TARGET_DIR:-target}/debug/examples/demo"

.PHONY: cluster
cluster: ## Start a Kubernetes API server of your own, without nodes, until Ctrl-C, and print its KUBECONFIG
	@tests/real-parts >/dev/null
	@cargo build --quiet --workspace --bins --examples
	@exec "$${CARGO_TARGET_DIR:-target}/debug/examples/demo" --only-cluster

.PHONY: test
test: ## Run every test and check, installing what is missing: what CI runs
	@started=$$SECONDS; tests/real-parts install >/dev/null; $(MAKE) checks; \
	  echo "PASSED in $$((SECONDS - started)) s: format, clippy, dependencies, generated files, contract, build, tests"

.PHONY: checks
checks:
	$(call timed,format,cargo fmt --all --check)
	$(call timed,clippy,cargo clippy --workspace --all-targets --locked -- -D warnings)
	$(call timed,dependencies,$(call part,cargo-deny) --log-level error check bans licenses sources)
	$(call timed,generated files,tests/generated check)
	@$(MAKE) contract
	$(call timed,build,cargo build --workspace --all-targets --locked)
	$(call timed,tests,cargo test --workspace --locked)

.PHONY: check
check: ## The quick inner loop: format, lint, unit tests; under a minute when warm
	$(call timed,format,cargo fmt --all --check)
	$(call timed,clippy,cargo clippy --workspace --all-targets -- -D warnings)
	$(call timed,unit tests,cargo test --workspace --lib --bins --quiet)

.PHONY: contract
contract:
	$(call timed,lint of the contract,$(call part,buf) lint)
ifneq ($(MAIN),)
	$(call timed,contract against $(MAIN),\
	  if git ls-tree -r --name-only $(MAIN) -- proto | grep -q '\.proto$$'; then \
	    $(call part,buf) breaking --against '.git#ref=$(MAIN)$(comma)subdir=proto'; \
	  else echo 'nothing to break: $(MAIN) has no .proto file yet'; fi)
else
	@echo "== contract: there is no main branch here to compare with"
endif

ROUNDS ?= 500
.PHONY: crash
crash: ## Kill processes under load for ROUNDS rounds (500), with a new seed or CRASH_SEED=...
	@tests/real-parts >/dev/null
	@cargo build --workspace --locked
	@CRASH_ROUNDS=$(ROUNDS) cargo test --locked --test integration -- crash:: --nocapture

.PHONY: mutants
mutants: ## Put mistakes into the code and list the ones no test notices; see docs/testing.md
	@tests/real-parts >/dev/null
	@cargo build --quiet --locked --example mutants
	@exec "$${CARGO_TARGET_DIR:-target}/debug/examples/mutants"

.PHONY: simulate
simulate: ## Simulate campaigns and print how often each rule of comparison is wrong; SEED=..., PAIRS=...; ten minutes
	@cargo build --quiet --locked --example simulate
	@"$${CARGO_TARGET_DIR:-target}/debug/examples/simulate"

CASE ?=
.PHONY: bench
bench: ## Measure against the baselines, all or CASE=..., into target/bench.json; forty minutes
	@tests/real-parts >/dev/null
	@cargo build --release --locked -p campaign-metrics-service
	@cargo bench --locked --bench bench -- --case "$(CASE)"

.PHONY: audit
audit: ## Check the dependencies for known vulnerabilities (fetches the advisory database)
	@$(call part,cargo-deny) check advisories

.PHONY: image
image: ## Build the images of all programs into target/image, without a daemon; six minutes or more
	@services/build-images

.PHONY: image-test
image-test: image ## Install the chart, upgrade it under load and remove it, with these images
	@tests/real-parts >/dev/null
	@cargo build --workspace --bins --locked
	@IMAGES="$${CARGO_TARGET_DIR:-$(CURDIR)/target}/image/rootfs" cargo test --locked --test integration -- chart::lifecycle

.PHONY: update
update: ## Rewrite the golden files that tests compare with; read the diff
	@cargo build --workspace --bins
	@tests/generated write
	@UPDATE_GOLDEN=1 cargo test --workspace

.PHONY: parts
parts: ## Install the real parts that tests and the demo start, and print where they are
	@tests/real-parts

.PHONY: clean-cache
clean-cache: ## Remove all real parts that were built, of every version
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/campaign-metrics"
