# SPDX-License-Identifier: Apache-2.0
# Copyright the Outbox project authors

.DEFAULT_GOAL := help
.PHONY: help setup build demo test simulate storm bench lint format release clean

help: ## Show this
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: ## Install what building and testing needs and is missing (Debian, Ubuntu)
	@scripts/setup.sh

build: setup ## Build everything, for debugging
	swift build

demo: ## See it work: a shop, its relay, and a world that misbehaves
	@scripts/demo.sh

test: setup ## Run all tests on a throw-away Postgres, and check what a service links
	@scripts/test.sh

simulate: setup ## Run the engine through 10,000 seeded storms, against a table in memory
	swift build -c release --product simulate
	.build/release/simulate --seeds 10000

# storm: make storm SEED=7, make storm SCENARIO="kill stop", make storm SCENARIO=backlog
storm: release ## Kill, stop and cut off real processes and Postgres for ten minutes, and audit what became of each task
	swift build -c release --product storm --static-swift-stdlib $(slim)
	.build/release/storm $(if $(SEED),--seed $(SEED)) $(SCENARIO)

bench: release ## Measure relay and enqueue beside their floors, on the database of DATABASE_URL
	.build/release/outbox bench

lint: ## Check the style and count the findings; changes nothing
	@scripts/style.sh lint

format: ## Rewrite the sources in the style that lint checks
	@scripts/style.sh format

# What `outbox run` keeps in memory is mostly pages of programs and libraries. Measured for each:
# lld (the toolchain's own) packs relocations, of which all are read at start: 1 MB less; glibc 2.36 or newer unpacks them
# and equal functions become one, and nothing is kept for programs that might load this one: 0.3 MB less
# of a static libstdc++ there is only what is used: 1 MB less
ifeq ($(shell uname -s),Linux)
slim := -Xswiftc -use-ld=lld -Xlinker -z -Xlinker pack-relative-relocs \
	-Xlinker --icf=safe -Xlinker --no-export-dynamic -Xlinker -L$(CURDIR)/.build/static
endif

release: setup ## Build the command line with the Swift runtime inside: .build/release/outbox
	@mkdir -p .build/static && ln -sf "$$(clang -print-file-name=libstdc++.a)" .build/static/ || true
	swift build -c release --product outbox --static-swift-stdlib $(slim)

clean: ## Remove what was built
	rm -rf .build examples/*/.build
