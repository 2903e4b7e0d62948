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

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

clean: ## remove everything built
	rm -rf $(BUILD)

.PHONY: all help clean
