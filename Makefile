# Pantau. `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unversioned)
LDFLAGS := -s -w -X main.version=$(VERSION)
# The gateway speaks HTTP/1.1 only: leaving HTTP/2 out saves half a megabyte of memory.
GATEWAY := -tags nethttpomithttp2 -trimpath -ldflags '$(LDFLAGS)'
export CGO_ENABLED ?= 0
# What runs in one process runs under the race detector. Not under it, as it is many
# times slower there and would see nothing more: drills with real binaries, and files
# tagged !race: simulations and sweeps (over grants, pages, hostile texts), which do
# one thing after the other; what kills processes of its own; and what a browser
# looks at: the tests without one call the same handlers under the race detector.
# What waits most, or has one thread, begins first: the rest runs beside it.
DRILLS = internal/simulation internal/e2e
WAITS = internal/server gateway firmware-sim/fleet
IN_PROCESS = $(addprefix ./,$(WAITS)) $(shell go list ./... | grep -v $(patsubst %,-e pantau/%$$,$(DRILLS) $(WAITS)))
NOT_RACED = $(wildcard $(addsuffix /*_test.go,$(DRILLS))) $(shell git grep --untracked -lE '^//go:build (!race|root)' -- '*_test.go')
NOT_RACED_IN = $(addprefix ./,$(DRILLS) $(filter-out $(DRILLS),$(sort $(patsubst %/,%,$(dir $(NOT_RACED))))))
TAGGED_IN = $(addprefix ./,$(sort $(patsubst %/,%,$(dir $(shell git grep --untracked -lE '^//go:build (bench|drill|pages|root|shots)' -- '*.go')))))
ROOT := $(if $(filter 0,$(shell id -u)),-tags root)
NOT_RACED_TESTS = $(shell grep -ohE '^func (Test|Fuzz)[A-Za-z0-9_]+' $(NOT_RACED) | cut -c6- | paste -sd '|')
# Each target with the executions that take about a second; rules_test.go knows one
# that is missing. Counted, not timed: up to Go 1.26 a time that ends may be reported
# as a failure (golang.org/issue/75804). make test takes what strangers' bytes reach
# first, make fuzz all.
FUZZ = internal/sparkplug:FuzzDecode:50000 internal/envelope:FuzzPackets:80000 \
	broker:FuzzFrameChecker:8000 gateway/spool:FuzzSegment:25000 \
	firmware-sim/chip:FuzzRTULine:30000 firmware-sim/chip:FuzzI2CParts:40000
FUZZ_ALL = $(FUZZ) ingest:FuzzStore:2500 ingest/influx:FuzzAnswer:15000 ingest/influx:FuzzParseExact:20000 \
	ingest/journal:FuzzMend:6000 internal/places:FuzzMap:8000 internal/places:FuzzImport:5000 \
	internal/registry:FuzzImport:6000 gateway:FuzzTheMeanLiesBetweenItsSamples:3000 dashboards/photo:FuzzOrientation:70000
# fuzz,TARGETS,SECONDS runs each of them for about so long.
fuzz = for f in $(1); do IFS=: read -r package target second <<<"$$f"; \
	go test "./$$package" -run '^$$' -fuzz "^$$target$$" -fuzztime "$$(($(2) * second))x" || exit 1; done

.PHONY: help
help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Starts everything on this machine, with simulated sensors; Ctrl-C stops it.
	@./setup.sh run
	@$(MAKE) --no-print-directory host
	@go build -trimpath -o .setup/bin/demo ./internal/demo
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
	CGO_ENABLED=1 go test -race -p 4 -shuffle=on -timeout 30m $(IN_PROCESS)
	go test $(ROOT) -shuffle=on -parallel 6 -timeout 30m -run '^($(NOT_RACED_TESTS))$$' $(NOT_RACED_IN)
	@$(call fuzz,$(FUZZ),5)
	@$(if $(ROOT),,echo "not run: needs root (a disk that is really full; power cuts)")

.PHONY: pages
pages: ## Looks at every page in all sixteen variants (language, size, colours, scripts); screenshots land in .screenshots/.
	@./setup.sh test
	go test -tags pages -count=1 -timeout 30m -run 'Browser|Script|Page' ./dashboards/...

.PHONY: shots
shots: ## Makes the pictures of the guides (docs/img) from a server with the simulated province; look at each.
	@./setup.sh test
	go test -tags shots -count=1 -run '^TestPictures$$' -timeout 30m -v ./internal/e2e

.PHONY: check
check: ## Format, vet, lint, rules of the tree, compose file, generated and tidy files.
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt -w on these"; exit 1; }
	go vet ./...
	go vet -tags 'bench drill pages root shots' $(TAGGED_IN)
	GOARCH=arm go vet ./cmd/gateway
	go tool -modfile=tools/go.mod golangci-lint run ./...
	go test -count=1 .
	cd tools && go run ./composecheck ../docker-compose.yml
	go mod tidy -diff
	cd tools && go mod tidy -diff

.PHONY: bench
bench: ## Prints the benchmarks, with the peer beside, side by side in one run.
	@./setup.sh bench
	cd internal/e2e && go test -tags bench -run '^TestSpeed$$' -count=1 -timeout 90m
	go test -p 1 -tags bench -run '^TestSpeed$$' -count=1 -timeout 60m -v ./dashboards/public ./dashboards
	go test -run '^$$' -bench . -benchtime 1s ./gateway/spool ./internal/sparkplug ./dashboards/public ./ingest/publication

.PHONY: drill
drill: ## The long experiments (hours): thousands of seeds, power cuts, full disks, testssl.sh.
	@./setup.sh drill
	@$(MAKE) --no-print-directory host
	PANTAU_SEEDS=5000 go test -count=1 -timeout 2h ./internal/simulation ./gateway/spool
	go test -tags 'drill root' -count=1 -timeout 6h ./gateway/spool ./ingest/archive ./ingest/journal ./internal/e2e

.PHONY: fuzz
fuzz: ## Fuzzes every target for about five minutes each.
	@$(call fuzz,$(FUZZ_ALL),300)

.PHONY: clean
clean: ## Removes what was built; keeps the demo's data.
	rm -rf bin .setup
