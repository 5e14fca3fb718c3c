# make demo    the whole lab on this machine, once
# make test    everything that must hold before a commit; what CI runs
# make help    the rest

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := build

GO          ?= go
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
BUF_VERSION := 1.75.0
DUCKDB_VERSION := 1.5.6-r.1
CLANG_MAJOR := 14
BUF         := $(CURDIR)/.tools/node_modules/.bin/buf
DUCKDB      := $(CURDIR)/.tools/duckdb/node_modules/@duckdb/node-api/package.json
SOURCES     := $(wildcard agent cli controller deploy proto *.go)
PAGE        := controller/web/page
MODULES     := $(PAGE)/node_modules/.package-lock.json
# The versions of Node.js that the engines in the lock file admit, all of them together.
NODE_OLDEST := 20.19 or 22.13, or from 24
FUZZTIME    ?= 30s
# A package that takes longer than this hangs; go test then shows where.
TIMEOUT     ?= 19m
LIBRARY     ?= 20
BENCH       ?= .
DEMO        ?=
CHAOS_TIME  ?= 60m
CHAOS_SEED  ?= 0
CHAOS_RATE  ?= 100000

# What a check lacks is an error in CI and a message elsewhere.
define lacking
	if [ "$${CI:-}" = true ]; then echo "error: $(1)" >&2; exit 1; else echo "skipped: $(1)"; fi
endef

.PHONY: help build demo test tools lint format vet staticcheck contract bpf page web cross unit library chaos mutants bench fuzz generate clean

help:
	@echo 'make build                 bin/syncline, static'
	@echo 'make demo                  build, then the whole lab on this machine; options in DEMO='
	@echo 'make test                  format, vet, staticcheck, contract, cross build, tests, page; as root nothing is skipped'
	@echo 'make unit                  the tests alone'
	@echo 'make lint                  format, vet, staticcheck, contract, bpf'
	@echo 'make generate              rewrite the generated Go of proto/, and the BPF programs of agent/kernel/trace'
	@echo 'make page                  build the page that reports are made of, controller/web/page.html'
	@echo 'make web                   that page as it is committed, and the tests of it, in Chromium too'
	@echo 'make library LIBRARY=20    every scenario of the library so many times, and its deliberate breaks'
	@echo 'make chaos CHAOS_TIME=60m   every kind of fault in a cluster at work, for so long, and the table of what came of it'
	@echo 'make mutants               deliberate bugs, one at a time, and the tests that must find them'
	@echo 'make bench BENCH=Name      benchmarks'
	@echo 'make fuzz FUZZTIME=30s     every fuzz target in turn'
	@echo 'make clean                 remove bin/ and .tools/'

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/syncline ./cli/syncline

demo: build
	bin/syncline demo $(DEMO)

test: tools lint cross unit web

# As root: what the tests need from Debian and npm. Nothing else is downloaded but
# Go modules.
tools: $(if $(shell command -v npm),$(BUF) $(DUCKDB))
	@missing=
	for tool in tshark chromium; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done
	if [ -z "$$missing" ]; then exit 0; fi
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		apt-get update -qq
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing
	else
		$(call lacking,tests that read captures with tshark and look at pages with chromium: not installed are$$missing (Debian: apt-get install$$missing))
	fi

$(BUF):
	@mkdir -p .tools
	npm install --prefix .tools --no-save --no-audit --no-fund --loglevel=error @bufbuild/buf@$(BUF_VERSION)
	@touch $@

# What reads an archive in a test.
$(DUCKDB):
	@mkdir -p .tools/duckdb
	npm install --prefix .tools/duckdb --no-save --no-audit --no-fund --loglevel=error @duckdb/node-api@$(DUCKDB_VERSION)
	@touch $@

lint: format vet staticcheck contract bpf

format:
	@unformatted=$$(gofmt -l $(SOURCES))
	if [ -n "$$unformatted" ]; then echo "not as gofmt writes it: $$unformatted" >&2; exit 1; fi

vet:
	$(GO) vet ./...

staticcheck:
	$(GO) run $(STATICCHECK) ./...

# The contract keeps its rules, breaks no older agent, and its generated Go is what the
# pinned plugins make of it.
contract: $(if $(shell command -v npm),$(BUF))
	@if [ ! -x $(BUF) ]; then $(call lacking,checks of proto/: neither buf nor npm (which brings it) is there); exit 0; fi
	echo buf lint
	$(BUF) lint
	work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT
	mkdir "$$work/base" "$$work/committed" "$$work/generated"
	if ! git rev-parse --verify -q HEAD >/dev/null; then $(call lacking,buf breaking: there is no git history here that git will read); fi
	# Against main; on main itself, against the commit before.
	base=$$(git merge-base HEAD main 2>/dev/null || git merge-base HEAD origin/main 2>/dev/null || true)
	if [ "$$base" = "$$(git rev-parse -q --verify HEAD || true)" ]; then base=$$(git rev-parse -q --verify HEAD~1 || true); fi
	if [ -n "$$base" ]; then
		echo "buf breaking against $$base"
		git archive "$$base" buf.yaml proto | tar -x -C "$$work/base"
		$(BUF) breaking --against "$$work/base"
	else
		echo 'skipped: buf breaking: there is no older commit to compare with'
	fi
	echo 'generated code'
	(cd proto && find . -name '*.pb.go' | tar -c -T - | tar -x -C "$$work/committed")
	(cd proto && $(BUF) generate --output "$$work/generated")
	if ! diff -r "$$work/committed" "$$work/generated"; then
		echo 'proto/: the generated Go is not what the .proto files say: make generate' >&2; exit 1
	fi

# The BPF programs that are committed are what the pinned compiler makes of their source,
# byte for byte. Another major version makes other, equally good code.
bpf:
	@dir=agent/kernel/trace
	for tool in clang llvm-strip; do
		if ! command -v $$tool >/dev/null; then $(call lacking,checks of $$dir: $$tool is not there (Debian: apt-get install clang llvm)); exit 0; fi
	done
	if [ ! -e /usr/include/bpf/bpf_helpers.h ]; then $(call lacking,checks of $$dir: the headers of libbpf are not there (Debian: apt-get install libbpf-dev)); exit 0; fi
	major=$$(clang -dumpversion | cut -d. -f1)
	if [ "$$major" != $(CLANG_MAJOR) ]; then $(call lacking,checks of $$dir: clang $$major is there and the programs are made with clang $(CLANG_MAJOR)); exit 0; fi
	echo 'BPF programs'
	work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT
	(cd "$$dir" && $(GO) run github.com/cilium/ebpf/cmd/bpf2go -output-dir "$$work" $$(sed -n 's/^\/\/go:generate go run [^ ]* //p' generate.go | sed 's/ programs bpf/ -go-package trace programs bpf/'))
	for file in programs_bpfel.go programs_bpfel.o; do
		if ! cmp "$$dir/$$file" "$$work/$$file"; then
			echo "$$dir: $$file is not what bpf/trace.bpf.c says: make generate" >&2; exit 1
		fi
	done

# Exactly what the lock file says. It names no place to get it from: that is the user's own
# setting.
$(MODULES): $(PAGE)/package-lock.json $(PAGE)/package.json
	(cd $(PAGE) && npm ci --no-audit --no-fund --loglevel=error)
	@touch $@

page: $(MODULES)
	cd $(PAGE) && npm run --silent build

# The page that is committed is what its source makes, byte for byte; what is pure in it is
# tested alone, and pages of recorded runs in Chromium.
web: $(if $(shell command -v npm),$(MODULES))
	@if ! command -v npm >/dev/null; then $(call lacking,checks of $(PAGE): npm is not there (Debian: apt-get install npm)); exit 0; fi
	if ! node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a === 20 && b >= 19 || a === 22 && b >= 13 || a >= 24 ? 0 : 1)'; then
		$(call lacking,checks of $(PAGE): Node.js is $$(node --version) and it takes $(NODE_OLDEST)); exit 0
	fi
	work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT
	cd $(PAGE)
	echo 'the page as it is committed'
	npm run --silent build -- --outDir "$$work" --logLevel warn
	if ! cmp "$$work/page.html" ../page.html; then echo 'controller/web/page.html is not what $(PAGE) says: make page' >&2; exit 1; fi
	npm test --silent
	if ! command -v chromium >/dev/null; then $(call lacking,tests of pages in a browser: chromium is not there (Debian: apt-get install chromium)); exit 0; fi
	npm run --silent browser

cross:
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) build ./...
	GOOS=linux GOARCH=arm64 CGO_ENABLED=0 $(GO) build ./...

# The race detector needs a C compiler. Tests behind the build constraint !race
# (allocations, timing) run without it, and so do those of packages that compute alone and
# start no goroutine: of those the tests with AtOnce in their names run with it as well. So does
# TestLibrary: it holds the kernel to what the scenarios say, as make library does, and takes both processors
# for ten minutes with the race detector. TestUnprivilegedLibrary runs with it those that take no privilege.
PURE := controller/experiment controller/statistics controller/table controller/timeline controller/web

unit:
	@if [ "$$(id -u)" != 0 ]; then echo 'not root: tests that need network namespaces or packet sockets skip themselves, as listed below'; fi
	race=-race
	if ! command -v "$$($(GO) env CC)" >/dev/null; then race=; $(call lacking,the race detector: there is no C compiler $$($(GO) env CC)); fi
	pure=$$(printf './%s\n' $(PURE))
	quiet=$$({ grep -rlE --include='*_test.go' '^//go:build .*!race' $(SOURCES) || true; } | xargs -r -n1 dirname | sed 's|^|./|'; echo "$$pure")
	quiet=$$(sort -u <<<"$$quiet")
	raced=$$($(GO) list ./... | grep -vxF "$$(printf 'syncline/%s\n' $(PURE))")
	if [ -z "$$race" ]; then raced=./...; quiet=; fi
	if [ -n "$$quiet" ]; then
		echo go test $$quiet
		$(GO) test -v -timeout $(TIMEOUT) $$quiet 2>&1 | awk -f .ci/summary.awk
		$(GO) test -v -race -run AtOnce $$pure 2>&1 | awk -f .ci/summary.awk
	fi
	echo "go test $$race, the others"
	$(GO) test -v -timeout $(TIMEOUT) $$race -skip '^TestLibrary$$' $$raced 2>&1 | awk -f .ci/summary.awk
	echo go test -run '^TestLibrary$$' ./cli
	$(GO) test -v -timeout $(TIMEOUT) -run '^TestLibrary$$' ./cli 2>&1 | awk -f .ci/summary.awk

# Takes an hour: some scenarios wait for timers of a minute. `make test` runs each a few times.
library:
	$(GO) test -count=1 -timeout 3h -v -run '^TestLibrary$$' ./cli -args -library.repeat $(LIBRARY) 2>&1 | grep -E '^ *(---|ok|FAIL|panic)|linux_test.go'

# Longer than its name says by what brings the cluster up, and waits for it to be whole again. CHAOS_SEED=0
# takes another schedule each time, and says which.
chaos:
	$(GO) test -count=1 -timeout 6h -v -run '^TestChaos$$' ./cli -args -chaos.time $(CHAOS_TIME) -chaos.seed $(CHAOS_SEED) -chaos.rate $(CHAOS_RATE) -chaos.faults all

mutants:
	.ci/mutants

bench:
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...

fuzz:
	@grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' $(SOURCES) | sed 's/:func / /' | while read -r file target; do
		echo "$$target in $$(dirname $$file)"
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s "./$$(dirname $$file)" </dev/null
	done

generate: $(BUF)
	PATH="$(dir $(BUF)):$$PATH" $(GO) generate ./proto
	$(GO) generate ./agent/kernel/trace

clean:
	rm -rf bin .tools $(PAGE)/node_modules

.ONESHELL:
