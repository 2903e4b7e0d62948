# The bare-metal guests: one C file each, linked with the start-up library and newlib (with SSE).

GUEST_NAMES  := $(sort $(patsubst guest-images/%.c,%,$(wildcard guest-images/*.c)))
GUEST_ELF    := $(GUEST_NAMES:%=$(BUILD)/guests/%.elf)
GUEST_CC     ?= $(CC)
# The compiler's own headers come before newlib's, whose stdatomic.h is for another system.
GUEST_INC     = -nostdinc -isystem $(shell $(GUEST_CC) -print-file-name=include) -isystem $(NEWLIB_GUEST)/include -I.
GUEST_FLAGS  := -ffreestanding -mno-red-zone -fno-stack-protector -fno-pic -fno-pie -fcf-protection=none \
                -fno-asynchronous-unwind-tables $(GUEST_INC) -g -MMD -MP
# -fbuiltin: newlib is a whole C library, so the compiler may make a load of an 8-byte memcpy.
GUEST_CFLAGS := -std=gnu11 -O2 -ffunction-sections -fdata-sections $(WARN) $(GUEST_FLAGS) -fbuiltin
GUEST_LIB    := $(patsubst %,$(BUILD)/guest-objects/%.o,$(wildcard guest-images/lib/*.c guest-images/lib/*.S))

$(BUILD)/guest-objects/%.c.o: %.c guest-images/guests.mk | $(NEWLIB_GUEST)/lib/libc.a
	@mkdir -p $(@D)
	$(GUEST_CC) $(GUEST_CFLAGS) -c $< -o $@

$(BUILD)/guest-objects/%.S.o: %.S
	@mkdir -p $(@D)
	$(GUEST_CC) $(GUEST_FLAGS) -c $< -o $@

$(GUEST_ELF): $(BUILD)/guests/%.elf: $(BUILD)/guest-objects/guest-images/%.c.o $(GUEST_LIB) guest-images/lib/guest.ld
	@mkdir -p $(@D)
	$(GUEST_CC) -nostdlib -static -no-pie -Wl,-T,guest-images/lib/guest.ld,--gc-sections,--build-id=none \
	    -Wl,-z,noexecstack,-z,max-page-size=4096 $< $(GUEST_LIB) -L$(NEWLIB_GUEST)/lib -lc -lgcc -o $@

# The entry is 32-bit code, so that hello can also be what most 32-bit kernels are: an ELF32 file.
$(BUILD)/guests/hello32.elf: $(BUILD)/guests/hello.elf
	objcopy -O elf32-i386 --strip-debug $< $@

guests: $(GUEST_ELF) $(BUILD)/guests/hello32.elf ## build the bare-metal guests (build/guests/*.elf)

# Not part of `all`: it needs Debian's archive.
$(BUILD)/linux/bzImage $(BUILD)/linux/initrd &: guest-images/linux/make guest-images/linux/mkinitramfs guest-images/linux/init
	guest-images/linux/make $(BUILD)/linux

linux-guest: $(BUILD)/linux/bzImage ## download Debian's kernel and make an initramfs (build/linux)

native-test: guests ## run the guests without the hypervisor, in QEMU
	guest-images/native-test

-include $(wildcard $(BUILD)/guest-objects/guest-images/*.d $(BUILD)/guest-objects/guest-images/lib/*.d)
.PHONY: guests linux-guest native-test
