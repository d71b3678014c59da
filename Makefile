# make help    says what each target does, what it costs and what it leaves behind.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PREFIX ?= $(if $(filter 0,$(shell id -u)),/usr/local,$(HOME)/.local)
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kiln
# Where to install: not every shell expands the `~` in PREFIX=~/.local.
INTO = $(DESTDIR)$(PREFIX:~/%=$(HOME)/%)
# Static binaries, whatever host they run on: the software machine runs the very same files.
TARGET := x86_64-unknown-linux-gnu
export CARGO_BUILD_TARGET := $(TARGET)
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS := -C target-feature=+crt-static
# A user's own settings would have cargo build elsewhere, and leave the flags above out.
export CARGO_TARGET_DIR := $(CURDIR)/target
unexport RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
BIN := target/$(TARGET)/release
PROGRAMS := kiln kiln-vmm kiln-agent

.PHONY: help build quickstart test bench lint fuzz mutants torture verify install purge

help: ## this page
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

# What they do and cost is said, and what the host lacks for them is asked for, before anything is built.
with = @$(MAKE) --no-print-directory build LACKING=$(1) GIB=$(2)

build: GIB = 2
build: ## the three programs, static, in target/ (about 3 minutes the first time)
	@scripts/preflight.sh --disk $(GIB)
	@scripts/packages.sh $(LACKING)
	cargo build --release --locked -p kiln -p kiln-vmm -p kiln-agent

quickstart: ## launch a Debian image, change it, bake it, launch the bake: the main job, shown
	@scripts/quickstart.sh
	$(call with,guest-images,4)
	@scripts/quickstart.sh $(BIN)

test: ## every test, those with real guests too (about an hour the first time; SUITE=trixie: guests of Debian 13; GUESTS=all)
	@scripts/test.sh
	$(call with,"guest-images tests",11)
	@scripts/test.sh $(BIN)

bench: ## figures, as tables and as JSON in target/bench (ONLY="disk save": some of them)
	$(call with,"guest-images tests",9)
	@scripts/bench.sh $(BIN) $(ONLY)

lint: ## rustfmt, clippy (for aarch64, too), docs, cargo-deny, shell scripts, the README's workflow
	@scripts/lint.sh

fuzz: ## MINUTES=15 of fuzzing for all parsers of untrusted bytes together (10 more to build the first time)
	@scripts/fuzz.sh $(or $(MINUTES),15) $(TARGETS)

mutants: ## change the code in COUNT=150 small ways (SEED=1): do the tests notice? (hours; goes on where it was)
	@scripts/mutants.sh $(or $(COUNT),150) $(or $(SEED),1)

torture: ## kill commands and cut the power at every step on disk (about 30 minutes; needs qemu-img)
	@scripts/torture.sh

verify: ## each promise of SPECIFICATION.md with its command, run: met, not met or open
	$(call with,"guest-images tests",11)
	@scripts/verify.sh $(BIN)

# `sudo make install` finds no Rust, or another's, and needs none: what is there is what its user has built.
install: ## copy the programs and completions to PREFIX (default /usr/local for root, ~/.local otherwise)
	@if ls $(PROGRAMS:%=$(BIN)/%) >/dev/null 2>&1 && ! { test -O $(BIN)/kiln && command -v cargo >/dev/null; }; then \
		echo "the programs of the last build are installed"; \
	else \
		$(MAKE) --no-print-directory build; \
	fi
	install -d "$(INTO)/bin" "$(INTO)/share/bash-completion/completions"
	install -m 755 $(PROGRAMS:%=$(BIN)/%) "$(INTO)/bin"
	$(BIN)/kiln completions bash > "$(INTO)/share/bash-completion/completions/kiln"
	@case ":$$PATH:" in *":$(INTO)/bin:"*) ;; *) echo "$(INTO)/bin is not in your PATH: export PATH=\"$(INTO)/bin:\$$PATH\"" ;; esac

purge: ## remove target/ and the cache of downloads and images (asks first)
	@scripts/purge.sh "$(CACHE)"
