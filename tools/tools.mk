# The host tool.
retro:
.PHONY: retro
