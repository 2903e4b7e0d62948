# The hypervisor: newlib, ELF, bootable ISO.
hypervisor:
.PHONY: hypervisor
