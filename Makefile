# devside. `make demo` and `make test` each work as the first command in a
# clean clone; Go is all they need.

GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# Static, so that one binary runs on any distribution, and without the paths of
# whoever built it.
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)"

# Pinned, so that a new release does not turn CI red.
STATICCHECK := v0.8.2

# Some machines and most CI images run everything as root; devside refuses that
# unless it is told. It changes nothing for an ordinary user.
export DEVSIDE_ALLOW_ROOT = 1

.PHONY: all build schema demo test race chaos fuzz extension extension-check extension-install e2e e2e-extension bench bench-extension lint check clean

all: build

# bin/devside: the whole product.
build:
	$(BUILD) -o bin/devside ./cmd/devside

# The JSON Schema of devside.yaml, from the table of its keys. A test holds the
# file current.
schema:
	$(GO) run ./cmd/devside schema > cmd/devside/devside.schema.json

# See it work: a small project, driven through bin/devside by a scripted editor.
demo: build
	$(BUILD) -o bin/demo ./cmd/demo
	bin/demo --devside bin/devside

test:
	$(GO) test -timeout 10m ./...

# The same tests with the race detector (it needs a C compiler), counting
# coverage: of the real binary, too, which the tests of cmd/devside run. Every
# package must reach 80 % of its statements.
race:
	rm -rf coverage && mkdir -p coverage/binary
	DEVSIDE_COVER=$(CURDIR)/coverage/binary CGO_ENABLED=1 $(GO) test -race -count 1 -timeout 20m -coverprofile coverage/tests.txt ./...
	$(GO) tool covdata textfmt -i coverage/binary -o coverage/binary.txt
	.ci/coverage 80 coverage/tests.txt coverage/binary.txt

# Random actions on a project of servers that misbehave: `make test` does each
# kind once, this does many. It prints its seed first; with the same seed and as
# many steps the same things are done again.
CHAOS_STEPS ?= 1000
chaos:
	CHAOS_STEPS=$(CHAOS_STEPS) CHAOS_SEED=$(CHAOS_SEED) $(GO) test -run '^TestChaos$$' -v -count 1 -timeout 4h ./cmd/devside

# The VS Code extension, with the program in it: bin/devside-<platform>.vsix. Needs
# Node with npm, and gets its tools from there.
EXTENSION_PLATFORMS ?= linux-x64 linux-arm64 alpine-x64 alpine-arm64 darwin-x64 darwin-arm64 win32-x64 win32-arm64
extension: extension-check
	cd extension && npm run --silent build && GO="$(GO)" VERSION="$(VERSION)" node package.mjs $(EXTENSION_PLATFORMS)

# Its types, its lint, and the tests that need no editor.
extension-check: extension/node_modules/.package-lock.json
	cd extension && npm run --silent check && npm run --silent test

extension/node_modules/.package-lock.json: extension/package-lock.json
	@command -v npm >/dev/null || { echo "the extension needs Node with npm"; exit 1; }
	cd extension && npm ci --ignore-scripts --no-audit --no-fund && touch node_modules/.package-lock.json

# This machine, as VS Code names platforms.
HERE = $(shell node -p 'process.platform + "-" + process.arch')

# Into the VS Code of whoever tries it; CODE names another one.
CODE ?= code
extension-install:
	@command -v $(CODE) >/dev/null || { echo "$(CODE) is not in the PATH; CODE=codium make extension-install takes another"; exit 1; }
	$(MAKE) extension EXTENSION_PLATFORMS=$(HERE)
	$(CODE) --install-extension bin/devside-$(HERE).vsix

# The real thing: Next.js and Express from npm, as root (where we are root) and
# as an ordinary user; each preset that README calls supported, from npm or the
# distribution (python3-django, python3-flask, python3-fastapi, python3-uvicorn);
# PostgreSQL and Redis, from the distribution's packages postgresql and
# redis-server, and Prometheus and a browser that attacks the hub (prometheus,
# chromium), all started by the tests; Neovim, Emacs and Vim (neovim, emacs-nox,
# elpa-lsp-mode, elpa-eglot before Emacs 29, vim, vim-ale) and
# vscode-languageserver-protocol from npm, each of which mends a port that is taken.
# Caches are removed beside the real git, and in a race of 100,000 removals. It takes
# minutes and needs Node. The projects are prepared once and kept, in E2E_PROJECT,
# E2E_PROJECT-presets and E2E_PROJECT-clients.
E2E_PROJECT ?= $(or $(TMPDIR),/tmp)/devside-e2e-project
e2e:
	@command -v npx >/dev/null || { echo "make e2e needs Node with npm and npx"; exit 1; }
	@command -v git >/dev/null || { echo "make e2e needs git"; exit 1; }
	DEVSIDE_E2E_PROJECT=$(E2E_PROJECT) $(GO) test -tags e2e -run '^TestE2E' -v -count 1 -timeout 30m ./cmd/devside ./supervisor/logs ./watch/cache
	$(MAKE) e2e-extension

# The extension in a real VS Code workbench: code-server from npm, into
# E2E_PROJECT-workbench-VERSION, in the distribution's Chromium (chromium, ripgrep,
# g++, make, python3). STORIES="a start" runs those whose names have these words.
# WORKBENCH=4.139.1 takes the newest one that was tried, with its own Node.
# WORKBENCH_IMAGES=1 makes the pictures of the extension's README anew.
WORKBENCH ?= 4.100.3
WORKBENCH_TOOLS := $(E2E_PROJECT)-workbench-$(WORKBENCH)
e2e-extension: build
	@for program in node npm chromium rg g++ python3; do command -v $$program >/dev/null || { echo "make e2e-extension needs $$program"; exit 1; }; done
	extension/test/workbench/install.sh $(WORKBENCH_TOOLS) $(WORKBENCH)
	$(MAKE) extension EXTENSION_PLATFORMS=$(HERE)
	DEVSIDE_E2E_PROJECT=$(E2E_PROJECT) $(GO) test -tags e2e -run '^TestE2EPrepare$$' -count 1 ./cmd/devside
	WORKBENCH_TOOLS=$(WORKBENCH_TOOLS) WORKBENCH_OUT=bin/workbench WORKBENCH_PROJECT=$(E2E_PROJECT) DEVSIDE_BINARY=$(CURDIR)/bin/devside \
		node extension/test/workbench/run.mjs bin/devside-$(HERE).vsix $(STORIES)

# Every Fuzz function of the tree, one after the other, for FUZZTIME each; the
# first finding ends it, and is written below testdata/fuzz of its package. The
# seeds are part of make test.
FUZZTIME ?= 30s
fuzz:
	@grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do \
		for f in $$(grep -ho --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | cut -c6- | sort -u); do \
			echo "== $$dir $$f"; $(GO) test $$dir -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) || exit 1; \
		done; \
	done

# devside beside a bare baseline in the same run: machines are noisy, only the
# ratios mean something.
bench: build
	CGO_ENABLED=0 $(GO) run ./cmd/bench --devside bin/devside --json bin/bench.json
	@if command -v npm >/dev/null && command -v chromium >/dev/null; then $(MAKE) bench-extension; \
	else echo "how long the extension's activation takes was not measured: it needs Node with npm, and chromium"; fi

# How long the extension holds up the start of the editor, beside the editor's own
# extensions in the same window; in bin/workbench/activation.json.
bench-extension:
	WORKBENCH_ROUNDS=5 $(MAKE) e2e-extension STORIES='activation takes'

lint:
	@unformatted="$$(gofmt -l cmd editor rpc supervisor watch)"; test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	$(GO) vet ./... && $(GO) vet -tags e2e ./cmd/devside ./supervisor/logs ./watch/cache
	GOOS=darwin $(GO) vet ./...
	GOOS=windows $(GO) vet ./...
	$(GO) mod tidy -diff
	$(GO) run honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK) ./...

# Everything that CI runs, as CI runs it.
check:
	.ci/run

clean:
	rm -rf bin coverage extension/dist extension/bin extension/node_modules
