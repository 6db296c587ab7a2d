# Pantau. `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unversioned)
LDFLAGS := -s -w -X main.version=$(VERSION)
# The gateway speaks HTTP/1.1 only: leaving HTTP/2 out saves half a megabyte of memory.
GATEWAY := -tags nethttpomithttp2 -trimpath -ldflags '$(LDFLAGS)'
export CGO_ENABLED ?= 0
# What runs in one process runs under the race detector; the drills with real
# binaries and the simulation, which has one goroutine, do not.
IN_PROCESS = $(shell go list ./... | grep -v -e /internal/e2e -e /internal/simulation)
FUZZ = internal/sparkplug:FuzzDecode internal/envelope:FuzzPackets broker:FuzzFrameChecker \
	gateway/spool:FuzzSegment firmware-sim/chip:FuzzRTULine firmware-sim/chip:FuzzI2CParts

.PHONY: help
help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Starts everything on this machine, with simulated sensors; Ctrl-C stops it.
	@./setup.sh run
	@$(MAKE) --no-print-directory host
	@go build -o .setup/bin/demo ./internal/demo
	@exec .setup/bin/demo

.PHONY: host
host: ## Builds the three programs for this machine into bin/.
	@mkdir -p bin
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/pantau ./cmd/server
	go build $(GATEWAY) -o bin/pantau-gateway ./cmd/gateway
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/firmware-sim ./cmd/firmware-sim

.PHONY: build
build: host ## As host, and the server for amd64 and arm64, the gateway for arm64, armv7 and armv6.
	GOARCH=amd64 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/linux-amd64/pantau ./cmd/server
	GOARCH=arm64 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/linux-arm64/pantau ./cmd/server
	GOARCH=arm64 go build $(GATEWAY) -o bin/linux-arm64/pantau-gateway ./cmd/gateway
	GOARCH=arm GOARM=7 go build $(GATEWAY) -o bin/linux-armv7/pantau-gateway ./cmd/gateway
	GOARCH=arm GOARM=6 go build $(GATEWAY) -o bin/linux-armv6/pantau-gateway ./cmd/gateway

.PHONY: test
test: ## Runs all tests, shuffled, against a real InfluxDB, broker and browser; 30 s of fuzzing.
	@./setup.sh test
	CGO_ENABLED=1 go test -race -shuffle=on $(IN_PROCESS)
	go test -shuffle=on ./internal/simulation ./internal/e2e
	@for f in $(FUZZ); do go test "./$${f%%:*}" -run '^$$' -fuzz "^$${f##*:}$$" -fuzztime 5s || exit 1; done
	@if [ "$$(id -u)" = 0 ]; then go test -tags root -run 'TestE2|TestDiskReallyFull' ./ingest/journal; else echo "not run: needs root (a disk that is really full; power cuts)"; fi

.PHONY: check
check: ## Format, vet, lint, rules of the tree, compose file, generated and tidy files.
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt -w on these"; exit 1; }
	go vet ./...
	go tool -modfile=tools/go.mod golangci-lint run ./...
	go test -count=1 .
	cd tools && go run ./composecheck ../docker-compose.yml
	go mod tidy -diff
	cd tools && go mod tidy -diff

.PHONY: bench
bench: ## Prints the benchmarks, with the peer beside, side by side in one run.
	@./setup.sh bench
	go test -tags bench -run TestBench -count=1 -timeout 60m -v ./internal/e2e | grep -v -E '^(=== |--- | *--- )'
	go test -run '^$$' -bench . -benchtime 1s ./gateway/spool ./internal/sparkplug

.PHONY: drill
drill: ## The long experiments (hours): thousands of seeds, power cuts, full disks.
	@./setup.sh test
	@$(MAKE) --no-print-directory host
	PANTAU_SEEDS=5000 go test -count=1 -timeout 2h ./internal/simulation ./gateway/spool
	go test -tags 'drill root' -count=1 -timeout 6h ./gateway/spool ./ingest/journal ./internal/e2e

.PHONY: fuzz
fuzz: ## Fuzzes every target for five minutes each.
	@for f in $(FUZZ); do go test "./$${f%%:*}" -run '^$$' -fuzz "^$${f##*:}$$" -fuzztime 5m || exit 1; done

.PHONY: clean
clean: ## Removes what was built; keeps the demo's data.
	rm -rf bin .setup
