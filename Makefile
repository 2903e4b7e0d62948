# Retrovisor. `make help` lists the targets; README.md explains them.
#
# Each area has a .mk of its own; this file holds what they share.

BUILD   := build
CC      ?= gcc
WARN    := -Wall -Wextra -Werror -Wstrict-prototypes -Wmissing-prototypes -Wshadow -Wvla
ROOT    := $(CURDIR)

# Pure sources compile twice: freestanding into the hypervisor, and on the host under sanitizers.
PURE_SRC := $(wildcard hv/base/*.c ept/*.c replay/*.c drivers/vdev/*.c)

all: hypervisor guests retro

include boot/boot.mk
include guest-images/guests.mk
include tools/tools.mk
include test/test.mk

deps: ## install the Debian packages that are missing
	@tools/install-deps

demo: deps ## build, record a racing guest, replay it, compare
	@mkdir -p $(BUILD)
	@echo "building (the output goes to $(BUILD)/demo.log)"
	@$(MAKE) --no-print-directory -j2 all >$(BUILD)/demo.log 2>&1 || { tail -n 40 $(BUILD)/demo.log; exit 1; }
	@tools/demo

test: deps ## build and run all tests
	@test/suite

bench: deps all ## measure what recording and replaying cost (BENCH_GUESTS=, BENCH_VCPUS=, BENCH_COLUMNS= choose)
	@tools/bench

soak: deps all ## record and replay guests in pairs for MINUTES (10); goes on from build/soak.jsonl
	@tools/soak $(MINUTES)

lint: deps $(NEWLIB_HV)/lib/libc.a $(NEWLIB_GUEST)/lib/libc.a ## check the sources: format, includes, headers, clang-tidy
	@tools/lint

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

clean: ## remove everything built
	rm -rf $(BUILD)

.PHONY: all bench deps demo lint soak test help clean
