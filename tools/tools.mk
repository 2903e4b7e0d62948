# The host tool retro: build/retro, and build/retro-asan with sanitizers for tests.

RETRO_SRC    := $(wildcard tools/retro/*.c)
RETRO_PURE   := $(wildcard hv/base/digest.c replay/link*.c replay/log_*.c) replay/accessed.c test/fake/check.c
RETRO_CFLAGS := -std=gnu11 -D_GNU_SOURCE $(WARN) -I. -g -MMD -MP -DRV_HOST=1
RETRO_LIBS   := -ljansson -lzstd
RETRO_OBJ    := $(patsubst %.c,$(BUILD)/retro-obj/%.o,$(RETRO_SRC) $(RETRO_PURE))
RETRO_ASAN   := $(patsubst %.c,$(BUILD)/retro-asan-obj/%.o,$(RETRO_SRC) $(RETRO_PURE))
RETRO_SANITIZE := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

$(BUILD)/retro-obj/%.o: %.c
	@mkdir -p $(@D)
	@$(HOST_CC) $(RETRO_CFLAGS) -O2 -c $< -o $@

$(BUILD)/retro-asan-obj/%.o: %.c
	@mkdir -p $(@D)
	@$(HOST_CC) $(RETRO_CFLAGS) $(RETRO_SANITIZE) -c $< -o $@

$(BUILD)/retro: $(RETRO_OBJ)
	@$(HOST_CC) $^ $(RETRO_LIBS) -o $@

$(BUILD)/retro-asan: $(RETRO_ASAN)
	@$(HOST_CC) $(RETRO_SANITIZE) $^ $(RETRO_LIBS) -o $@

$(BUILD)/fake_hv: $(BUILD)/retro-asan-obj/test/tool/fake_hv.o $(filter-out $(BUILD)/retro-asan-obj/tools/%,$(RETRO_ASAN))
	@$(HOST_CC) $(RETRO_SANITIZE) $^ -o $@

# Reads a log as the hypervisor does.
$(BUILD)/load_log: $(BUILD)/host/test/tool/load_log.o $(BUILD)/host/libpure.a
	@$(HOST_CC) $(HOST_CFLAGS) $^ -lpthread -o $@

test-tool: $(BUILD)/retro $(BUILD)/retro-asan $(BUILD)/fake_hv $(BUILD)/load_log ## test the host tool (N=name for one)
	test/tool/run $(N)

retro: $(BUILD)/retro ## build the host tool (build/retro)

-include $(RETRO_OBJ:.o=.d) $(RETRO_ASAN:.o=.d)
.PHONY: retro test-tool
