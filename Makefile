# `make` lists the targets; the scripts behind them are in scripts/.

FUZZTIME  ?= 30s
BENCHARGS ?=
FAULTARGS ?=
BROWSERARGS ?=

# The longest first, so that the others run beside them.
PACKAGES = ./proxy ./cmd/l4proxy ./...

.PHONY: help build test race fuzz bench benchmarks peers faults browser lint fmt clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-10s %s\n", $$1, $$2}' Makefile

build: ## build ./l4proxy
	CGO_ENABLED=0 go build -trimpath -o l4proxy ./cmd/l4proxy

test: ## install what the tests need where that is allowed, then run the fast suite
	@scripts/setup-test-tools.sh
	go test -vet=off -timeout 5m $(PACKAGES)
	go test -C bench -vet=off -timeout 3m ./...

race: ## run the fast suite under the race detector
	go test -vet=off -race -timeout 9m $(PACKAGES)
	go test -C bench -vet=off -race -timeout 5m ./...

fuzz: ## fuzz each target for FUZZTIME (30s)
	scripts/fuzz.sh $(FUZZTIME)

# bench is a module of its own; it runs from here, so that paths start here.
bench: build ## compare with HAProxy and nginx; BENCHARGS chooses scenarios and rounds
	go build -C bench -o bin/ . ./plainproxy
	bench/bin/bench -l4proxy ./l4proxy $(BENCHARGS)

benchmarks: build ## run all benchmarks, for hours, and rewrite docs/benchmarks
	go build -C bench -o bin/ . ./plainproxy
	bench/bin/bench -l4proxy ./l4proxy -scenario all -out docs/benchmarks $(BENCHARGS)

peers: ## drive Redis, PostgreSQL, nginx, HAProxy, iperf3 and ssh through the proxy; ask dnsmasq
	L4PROXY_SUITE=peers go test -vet=off -count=1 -timeout 6m -run '^TestPeer' ./...

faults: ## run the fault suite (root: namespaces, packet loss, killed sockets); FAULTARGS=-short repeats less
	L4PROXY_SUITE=faults go test -p 1 -vet=off -count=1 -timeout 9m -run '^TestFault' ./... $(FAULTARGS)

# browser is a module of its own too.
browser: ## drive the dashboard in headless Chromium; BROWSERARGS=-update writes its pictures
	L4PROXY_SUITE=browser go test -C browser -vet=off -count=1 -timeout 5m -run '^TestBrowser' . $(BROWSERARGS)

lint: ## run golangci-lint, built on first use
	scripts/lint.sh

fmt: ## format the Go files
	gofmt -w .

clean: ## remove what builds, tests and benchmarks left
	rm -rf l4proxy bench/bin bench/out coverage.out .tools
