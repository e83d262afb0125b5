# Everything that people and CI run. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO ?= go
NATIVE := deploy/native
STAMP := $(NATIVE)/node_modules/.millrace-installed
KAFKA := deploy/kafka
KAFKA_STAMP := $(KAFKA)/lib/.millrace-fetched
GOLANGCI := $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
BENCHSTAT := $(GO) run golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
# Counts, not durations: Go reports a fuzzing run that its deadline ends as failed, now and then.
FUZZTIME ?= 5000000x
# Race-instrumented child processes would otherwise wait a second at each exit.
export GORACE ?= atexit_sleep_ms=0
# Lint vets. Most of the long packages wait: one more runs than there are cores.
TEST := $(GO) test -vet=off -p $(shell echo $$(( $$(nproc) + 1 )))
# Under the race detector, collecting costs more than what is collected. Nobody debugs these
# binaries, and without what debuggers read a seventh of their building is saved.
RACE := GOGC=400 $(TEST) -race -gcflags=all=-dwarf=false

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: demo
demo: build ## predict three million real flights, end to end; ARGS="--once --json --requests N"
	./bin/millrace demo $(ARGS)

.PHONY: test
test: native ## all tests; with the race detector they are make race
	@# The packages that take longest begin first: they wait more than they work.
	$(TEST) -timeout 15m -skip ClickHouseAwayUnderLoad $(LONGEST) ./...

LONGEST := ./pipeline ./drift ./sinks/clickhouse ./sinks/clickhouse/store ./consumers

.PHONY: test-killed
test-killed: native ## the monitor killed at each of its calls, and long simulations of reasons: what test does at some
	MILLRACE_TEST_LONG=1 $(GO) test -count=1 -timeout 60m -v -run 'Killed|ReasonIsRight|NothingIsDated|MattersAsOften' ./drift ./drift/reason ./pipeline

.PHONY: test-memory
test-memory: native ## what is held in memory while ClickHouse is away, which the race detector and others' work distort
	$(TEST) -timeout 10m -run ClickHouseAwayUnderLoad ./pipeline

.PHONY: slowest
slowest: native ## the ten tests that take longest: seconds, package, test, passed or failed; PKG=./...
	@$(TEST) -timeout 25m -count=1 -json -skip ClickHouseAwayUnderLoad $(or $(PKG),$(LONGEST) ./...) \
	  | sed -nE 's/.*"Action":"(pass|fail)","Package":"([^"]+)","Test":"([^"/]+)","Elapsed":([0-9.]+).*/\4\t\2\t\3\t\1/p' \
	  | sort -rn | awk 'NR <= 10'

.PHONY: race
race: native ## the tests with the race detector, but those of memory, and packages of one goroutine
	@# Packages of one goroutine are left out: the detector has nothing to find there.
	$(RACE) -timeout 25m $(filter-out ./drift,$(LONGEST)) $$($(GO) list ./... | grep -vE '/drift(/(detect|estimate|profile|quality|reason|reference|stattest))?$$')

.PHONY: native
native: $(STAMP) ## install the native libraries and the demo's data (866 MB, by npm)
$(STAMP): $(NATIVE)/package.json $(NATIVE)/package-lock.json
	@if [ "$$(uname -sm)" != "Linux x86_64" ]; then \
	  echo "make native: libchdb and ONNX Runtime are pinned for Linux x86_64 only; this is $$(uname -sm)" >&2; exit 1; fi
	@command -v npm >/dev/null || { echo "make native: npm is needed; install Node.js 20 or newer" >&2; exit 1; }
	cd $(NATIVE) && npm ci --no-progress --loglevel=error && sha256sum --quiet -c SHA256SUMS
	@touch $@

.PHONY: native-digests
native-digests: ## write deploy/native/SHA256SUMS for the versions that are installed
	@cd $(NATIVE) && for p in @chdb/lib-linux-x64-gnu/libchdb.so onnxruntime-node/bin/napi-v6/linux/x64/libonnxruntime.so.1; do \
	  name=$$(sed -E 's,^((@[^/]+/)?[^/]+)/.*,\1,' <<<"$$p"); \
	  echo "# node_modules/$$name $$(sed -nE 's/.*"version": "([^"]+)".*/\1/p' node_modules/$$name/package.json)"; \
	  sha256sum node_modules/$$p; done > SHA256SUMS

.PHONY: kafka
kafka: $(KAFKA_STAMP) ## fetch Apache Kafka, for test-kafka and test-clients (46 MB, by mvn)
$(KAFKA_STAMP): $(KAFKA)/pom.xml
	@command -v mvn >/dev/null || { echo "make kafka: mvn is needed; install Maven 3.6 or newer" >&2; exit 1; }
	@java=$$(java -version 2>&1 | sed -nE 's/.*version "([0-9]+).*/\1/p' || true); if [ "$${java:-0}" -lt 17 ]; then \
	  echo "make kafka: Java 17 or newer is needed, $${java:-none} was found" >&2; exit 1; fi
	rm -rf $(KAFKA)/lib
	cd $(KAFKA) && mvn -q -B dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=lib
	@touch $@

.PHONY: build
build: native ## build bin/millrace
	@command -v gcc >/dev/null || { echo "make build: gcc is needed, for the binding of ONNX Runtime" >&2; exit 1; }
	$(GO) build -buildvcs=auto -o bin/millrace ./cmd/millrace

.PHONY: dev
dev: build ## run an embedded Kafka and ClickHouse; ARGS="--reset"
	./bin/millrace dev $(ARGS)

.PHONY: lint
lint: ## golangci-lint, which also enforces who may import whom
	$(GOLANGCI) config verify
	$(GOLANGCI) run ./...

.PHONY: fmt
fmt: ## format
	$(GOLANGCI) fmt ./...

.PHONY: tidy
tidy: ## fail when go.mod or go.sum would change
	$(GO) mod tidy -diff

.PHONY: vuln
vuln: ## known vulnerabilities, where the database can be reached
	@out=$$($(GO) run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./... 2>&1) && { echo "$$out"; exit 0; }; \
	if grep -qE 'fetching vulnerabilities' <<<"$$out"; then \
	  echo "vuln: SKIPPED, the vulnerability database cannot be reached from here"; else echo "$$out"; exit 1; fi

.PHONY: fuzz
fuzz: ## fuzz every parser for long; FUZZTIME=5000000x each
	@for target in $$(grep -rlE '^func Fuzz' --include='*_test.go' --exclude-dir=node_modules .); do \
	  for name in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]+).*/\1/p' $$target); do \
	    echo "fuzz $$name in $$(dirname $$target)"; \
	    $(GO) test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$(dirname $$target); \
	  done; done

.PHONY: bench
bench: native $(if $(findstring real,$(ARGS)),kafka) ## the whole, its parts, latency and the recorder; ARGS="--quick --json --kafka real --tls --only json_*,recorder"
	$(GO) build -o bin/bench ./cmd/bench
	./bin/bench $(ARGS)

.PHONY: bench-monitor
bench-monitor: native ## a day's drift over all columns, from profiles and from rows, of 100 million observations, and the simulation of alarms; ARGS=--quick for ten million
	$(GO) build -o bin/bench ./cmd/bench
	$(GO) build -o bin/alarms ./drift/internal/alarms
	./bin/bench --monitor $(ARGS)

.PHONY: bench-models
bench-models: ## train the models of make bench again
	python3 -m venv cmd/bench/testdata/.venv
	cmd/bench/testdata/.venv/bin/pip install -q -r cmd/bench/testdata/requirements.txt
	cmd/bench/testdata/.venv/bin/python cmd/bench/testdata/make_models.py

.PHONY: microbench
microbench: native ## Go's benchmarks, six runs each; BENCH=regexp PKG=./...
	$(GO) test -run '^$$' -bench '$(or $(BENCH),.)' -benchmem -count=6 $(or $(PKG),./...)

.PHONY: benchstat
benchstat: ## compare two outputs of make microbench: OLD=file NEW=file
	$(BENCHSTAT) $(OLD) $(NEW)

.PHONY: test-million
test-million: native ## a million good and bad requests mixed, none lost and none twice
	MILLRACE_TEST_MIXED=1000000 $(GO) test -timeout 20m -count=1 -run '^TestMillionMixed' -v ./pipeline

.PHONY: test-python
test-python: native ## what the page for Python users shows, run as it stands (clients by pip)
	@test -x data/python-venv/bin/python || python3 -m venv data/python-venv
	@data/python-venv/bin/python -m pip install --quiet --disable-pip-version-check -r deploy/examples/python/requirements.txt
	MILLRACE_TEST_PYTHON=$(CURDIR)/data/python-venv/bin/python $(GO) test -count=1 -run '^TestPythonPage$$' ./pipeline

CLIENTS := consumers/embedded/testdata/clients
.PHONY: test-clients
test-clients: kafka ## Kafka's other clients and Apache's tools with the embedded Kafka (by pip, npm and mvn; needs Java 17; kcat where it is installed)
	@test -x data/clients/venv/bin/python || python3 -m venv data/clients/venv
	@data/clients/venv/bin/python -m pip install --quiet --disable-pip-version-check -r $(CLIENTS)/requirements.txt
	@mkdir -p data/clients/js && cp $(CLIENTS)/package.json data/clients/js/
	@cd data/clients/js && npm install --no-package-lock --ignore-scripts --no-audit --no-fund --no-progress --loglevel=error
	MILLRACE_TEST_CLIENTS=$(CURDIR)/data/clients $(GO) test -count=1 -timeout 10m -run '^(TestOtherClients|TestKcat|TestKafkaStreams|TestApacheTools)$$' ./consumers/embedded

CLICKHOUSE_CLIENTS := $(CURDIR)/data/clickhouse-clients
.PHONY: test-clickhouse-clients
test-clickhouse-clients: native ## clients of ClickHouse with their defaults, against the embedded engine (by pip, mvn and npm; needs Java 17)
	@command -v mvn >/dev/null || { echo "make test-clickhouse-clients: mvn is needed; install Maven 3.6 or newer, and Java 17" >&2; exit 1; }
	@mkdir -p $(CLICKHOUSE_CLIENTS)/node
	@test -x $(CLICKHOUSE_CLIENTS)/python/bin/python || python3 -m venv $(CLICKHOUSE_CLIENTS)/python
	@cd sinks/clickhouse/embedded/testdata/clients && \
	  $(CLICKHOUSE_CLIENTS)/python/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt && \
	  mvn -q -B dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=$(CLICKHOUSE_CLIENTS)/jdbc
	@npm install --silent --no-save --ignore-scripts --prefix $(CLICKHOUSE_CLIENTS)/node @clickhouse/client@1.23.1
	MILLRACE_TEST_CLICKHOUSE_CLIENTS=$(CLICKHOUSE_CLIENTS) $(GO) test -count=1 -v -run '^TestForeignClients$$' ./sinks/clickhouse/embedded

# What does not differ from the embedded Kafka, or by the number of brokers, is left out; each
# package starts its own.
NOT_KAFKA := ^TestMillionMixed|^TestBreak|^TestOversized|^TestClickHouse|^TestSignals|^TestAdmin|^TestProfiles|^TestConfig|^TestCompare|^TestHostileGraphs|^TestVersionsAre|^TestWeights|^TestPassword|^TestOtherServers|^TestPromises|^TestEmbedded|^TestReset|^TestRepeatsFollow|^TestRepeatsAre|^TestStart|^TestNewModel|^TestRefusal|^TestControlRecords|^TestRequestsReach|^TestVerifyFindsWhat|^TestVerifyRestores|^TestRunUsage|^TestRunFails
# Of three brokers, what is about leaders and replicas.
NOT_THREE := ^TestWhatever|^TestDestinations|^TestADestination|^TestRequestsThat|^TestWaitingPartitions|^TestLag|^TestUntimed|^TestModelsDestination|^TestSecured|^TestTimesOutOfRange|^TestLaneHasBegun|^TestRecorderHasBegun|^TestRecorderReplaced|^TestInsertComes|^TestRepeat|^TestArrow|^TestRegistry|^TestVerify|^TestWebhook|^TestRefused|^TestReplay|^TestLabels|^TestWrongClock|^TestConflict|^TestSecondRecorder|^TestRecorderThatIsRewound|^TestFuture|^TestRowLetters|^TestMany|^TestALostRange|^TestARole|^TestClaim|^TestCommits|^TestLaneCommits|^TestLaneGoesOn|^TestLaneTakesUp|^TestLaneThatMay|^TestLostRange|^TestMarker|^TestProducerGoesOn|^TestReading|^TestRecorderForgets|^TestRecorderOutlives|^TestRecorderStores|^TestRecorderTakes|^TestRecorderWaits|^TestRequestsTopic|^TestSecondGroup|^TestStopped|^TestUnreadable|^TestWorkerGroup
.PHONY: test-kafka
test-kafka: native kafka ## the tests, and a short chaos, against Apache Kafka, one broker and then three
	MILLRACE_TEST_KAFKA=1 $(TEST) -count=1 -p 2 -timeout 20m -skip '$(NOT_KAFKA)' ./pipeline ./consumers ./consumers/kafkatest ./sinks/kafka ./cmd/chaos
	MILLRACE_TEST_KAFKA=3 $(RACE) -count=1 -p 2 -timeout 20m -skip '$(NOT_KAFKA)|$(NOT_THREE)' ./pipeline ./consumers ./consumers/kafkatest ./cmd/chaos

.PHONY: chaos
chaos: native $(if $(findstring real,$(ARGS)),kafka) ## kill, freeze and cut off everything under load, do what operators do, then look for what is lost or doubled; ARGS="--seed S --faults N --incidents N --only KIND,KIND --kafka real --brokers 3 --tls"
	@$(GO) build -o bin/chaos ./cmd/chaos
	@./bin/chaos $(ARGS)

REGISTRY_VERSION := 3.0.9
REGISTRY := deploy/registry/$(REGISTRY_VERSION)

.PHONY: test-registry
test-registry: $(REGISTRY)/.unpacked ## Avro and Protobuf with a real Schema Registry (109 MB, by mvn; needs Java 17)
	MILLRACE_TEST_REGISTRY_DIR=$(CURDIR)/$(REGISTRY) $(GO) test -race -count=1 -v -run Apicurio ./consumers/registry
$(REGISTRY)/.unpacked:
	@command -v mvn >/dev/null || { echo "make test-registry: mvn is needed; install Maven and Java 17" >&2; exit 1; }
	@# 2.10, since later ones insist on the parent POM, which is not published; it litters the working directory.
	@mkdir -p $(REGISTRY)
	cd $(REGISTRY) && mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:2.10:unpack \
	  -Dartifact=io.apicurio:apicurio-registry-app:$(REGISTRY_VERSION):zip:all -DoutputDirectory=$(CURDIR)/$(REGISTRY)
	@touch $@

GOLDEN := drift/internal/golden/reference
GOLDEN_PYTHON := data/golden-venv/bin/python
.PHONY: golden-venv
golden-venv:
	@test -x $(GOLDEN_PYTHON) || python3 -m venv data/golden-venv
	@$(GOLDEN_PYTHON) -m pip install --quiet --disable-pip-version-check -r $(GOLDEN)/requirements.txt

.PHONY: golden
golden: golden-venv ## make the golden values of drift again from SciPy, scikit-learn, River, ruptures, Evidently and NannyML (by pip)
	for script in $(GOLDEN)/make_*.py; do PYTHONHASHSEED=0 $(GOLDEN_PYTHON) $$script || exit 1; done

.PHONY: picture
picture: native ## draw the picture of the README again, by a comparison of real flights
	$(GO) test -count=1 -run '^TestPicture$$' ./drift/compare -update

.PHONY: bench-compare
bench-compare: build golden-venv ## drift compare and Evidently on the same files: time, memory, verdicts; ARGS=--quick
	$(GOLDEN_PYTHON) $(GOLDEN)/side_by_side.py bin/millrace $(NATIVE)/node_modules/vega-datasets/data/flights-3m.parquet data/compare $(ARGS)

.PHONY: bench-rates
bench-rates: golden-venv ## how often drift compare, Evidently and NannyML see drift where there is none; ARGS=--quick
	@$(GO) build -o bin/rates ./drift/internal/rates
	@./bin/rates -python $(GOLDEN_PYTHON) -script $(GOLDEN)/rates_beside.py -folder data/rates $(ARGS)

.PHONY: bench-alarms
bench-alarms: ## how rare alarms of drift are where nothing drifts, and how late where it does; ARGS=-quick
	@$(GO) build -o bin/alarms ./drift/internal/alarms
	@./bin/alarms $(ARGS)

.PHONY: same-bytes
same-bytes: ## drift compare makes the same bytes in 100 runs with 1, 2 and 8 processors, in all forms; RUNS=100
	MILLRACE_SAME_BYTES=$(or $(RUNS),100) $(GO) test -count=1 -timeout 60m -run '^TestSameBytes$$' ./drift/compare

.PHONY: golden-report
golden-report: ## the largest relative error of each function against its reference, and how often it was compared
	@rm -f data/golden-report.tsv; mkdir -p data
	@GOLDEN_REPORT=$(CURDIR)/data/golden-report.tsv $(TEST) -count=1 -run Golden ./drift/... >/dev/null || { $(TEST) -run Golden ./drift/...; exit 1; }
	@$(GO) run ./drift/internal/golden/report data/golden-report.tsv

.PHONY: bench-flights
bench-flights: native ## alarms of drift on the demo's flights as they are, and with their days shuffled, where nothing drifts
	MILLRACE_FLIGHTS_ALARMS=1 $(GO) test -count=1 -timeout 20m -run '^TestAlarmsOfFlights$$' -v ./pipeline/demo/flights

.PHONY: bench-breaks
bench-breaks: native ## values between false alarms of the online detectors, against the stated run length, and their delays, and the time to the event; VALUES=2000000
	MILLRACE_RUN_LENGTH=$(or $(VALUES),2000000) $(GO) test -count=1 -timeout 60m -run '^(TestRunLength|TestDelay)$$' -v ./drift/detect
	MILLRACE_BREAK_DELAY=1 $(GO) test -count=1 -run '^TestBreakDelay$$' -v ./pipeline

.PHONY: bench-coverage
bench-coverage: ## how often every interval of drift holds the true figure, by simulation (half an hour); DRAWS=2000
	@rm -f data/coverage.tsv; mkdir -p data
	@MILLRACE_COVERAGE=$(or $(DRAWS),2000) MILLRACE_COVERAGE_FILE=$(CURDIR)/data/coverage.tsv $(GO) test -count=1 -timeout 180m -run '^TestCoverage' ./drift/quality ./drift/estimate; \
	  status=$$?; $(GO) run ./drift/internal/coverage/report data/coverage.tsv && exit $$status

FLIGHTS := deploy/examples/flights
.PHONY: train-flights
train-flights: build ## train the demo's model again (by pip), and make its reference and thresholds
	python3 -m venv $(FLIGHTS)/.venv
	$(FLIGHTS)/.venv/bin/pip install -q -r $(FLIGHTS)/requirements.txt
	$(FLIGHTS)/.venv/bin/python $(FLIGHTS)/train.py
	./bin/millrace reference flights_delay 1 --set models.repository=$(FLIGHTS)/models --data data/flights/january.parquet \
	  --time departure --label delay --score out_of_fold --rate 0.3

.PHONY: check
check: ## what CI runs
	.ci/run
