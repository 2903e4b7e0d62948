# The hypervisor: newlib, ELF, bootable ISO.

# Where newlib is installed: include/ and lib/libc.a. Use the libc.a files as order-only prerequisites.
NEWLIB_HV    := $(BUILD)/newlib-hv
NEWLIB_GUEST := $(BUILD)/newlib-guest

$(NEWLIB_HV)/lib/libc.a: boot/build-newlib
	@echo "building newlib for the hypervisor"
	@boot/build-newlib $(NEWLIB_HV) general

$(NEWLIB_GUEST)/lib/libc.a: boot/build-newlib
	@echo "building newlib for the guests"
	@boot/build-newlib $(NEWLIB_GUEST) sse

newlib-hv: $(NEWLIB_HV)/lib/libc.a
newlib-guest: $(NEWLIB_GUEST)/lib/libc.a

# Start-up code that holds no privileged instruction, so that host tests can link it too.
HOST_PURE_SRC += boot/multiboot2.c boot/acpi.c hv/cmdline.c hv/mem.c hv/memmap.c hv/report.c hv/cpu/paging.c \
                 vmx/caps.c vmx/controls.c vmx/pmu_find.c

HV_CC     ?= $(CC)
# General registers only: SIMD registers hold guest state while the hypervisor runs.
HV_FLAGS  := -ffreestanding -mno-red-zone -mgeneral-regs-only -fno-stack-protector -fno-pic -fno-pie \
             -fcf-protection=none -isystem $(NEWLIB_HV)/include -I. -g -MMD -MP
# -fbuiltin: newlib is a whole C library, so the compiler may make a load of an 8-byte memcpy.
HV_CFLAGS := -std=gnu11 -O2 -fno-strict-aliasing $(WARN) $(HV_FLAGS) -fbuiltin
HV_SRC    := $(sort $(PURE_SRC) $(wildcard hv/*.c hv/cpu/*.c hv/guestmem/*.c vmx/*.c drivers/*.c boot/*.c))
HV_ASM    := $(sort $(wildcard hv/*.S hv/cpu/*.S vmx/*.S drivers/*.S boot/*.S))
HV_OBJ    := $(HV_SRC:%.c=$(BUILD)/hv/%.o) $(HV_ASM:%.S=$(BUILD)/hv/%.S.o)

$(BUILD)/hv/%.o: %.c | $(NEWLIB_HV)/lib/libc.a
	@mkdir -p $(@D)
	$(HV_CC) $(HV_CFLAGS) $(HV_EXTRA) -c $< -o $@

# What made a log stands in its header. The file changes only where that does.
$(BUILD)/build-id: FORCE
	@mkdir -p $(@D)
	@id=$$(git describe --always --dirty 2>/dev/null || echo unknown); \
	    [ "$$(cat $@ 2>/dev/null)" = "$$id" ] || echo "$$id" >$@

# The one file that may use SIMD registers, its loops unrolled; its functions are called where these hold nothing of a guest.
$(BUILD)/hv/hv/base/changes_wide.o: HV_CFLAGS := $(filter-out -mgeneral-regs-only -O2,$(HV_CFLAGS)) -O3

$(BUILD)/hv/hv/vm.o: $(BUILD)/build-id
$(BUILD)/hv/hv/vm.o: HV_EXTRA = -DRETROVISOR_BUILD_ID="\"$$(cat $(BUILD)/build-id)\""

$(BUILD)/hv/%.S.o: %.S
	@mkdir -p $(@D)
	$(HV_CC) $(HV_FLAGS) -c $< -o $@

# The second step refuses a hypervisor that touches SIMD registers, by its own code or by newlib's. The entry
# is 32-bit code, which reads as anything when taken for 64-bit. *_wide() are in hv/base/changes_wide.c.
$(BUILD)/retrovisor.elf: $(HV_OBJ) linker.ld
	$(HV_CC) -nostdlib -static -no-pie -Wl,-T,linker.ld,--gc-sections,--build-id=none,-z,noexecstack \
	    -Wl,-z,max-page-size=4096 $(HV_OBJ) -L$(NEWLIB_HV)/lib -lc -lgcc -o $@.tmp
	@if objdump -d $@.tmp | sed '/<boot_entry>:/,/^$$/d; /<[a-z_]*_wide>:/,/^$$/d' | grep -m 3 '%[xyz]mm\|%st('; then echo "$@: SIMD registers are used"; exit 1; fi
	@mv $@.tmp $@

$(BUILD)/retrovisor.iso: $(BUILD)/retrovisor.elf tools/mkiso
	tools/mkiso $@ ""

hypervisor: $(BUILD)/retrovisor.elf ## build the hypervisor (build/retrovisor.elf)
iso: $(BUILD)/retrovisor.iso ## build an ISO that boots the hypervisor alone

-include $(HV_OBJ:.o=.d)
.PHONY: hypervisor iso newlib-hv newlib-guest FORCE

test-start: $(BUILD)/retrovisor.elf ## boot the hypervisor alone in emulators: start-up, refusals, panics
	@test/boot/start
.PHONY: test-start
