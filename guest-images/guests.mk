# The bare-metal guests.
guests:
.PHONY: guests
