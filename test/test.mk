# Tests that run on the host: one cmocka binary per test/unit/test_*.c, each linked with all pure
# sources and the fakes, under ASan and UBSan.

HOST_CC     ?= gcc
HOST_CFLAGS := -std=gnu11 -O1 -g $(WARN) -I. -fsanitize=address,undefined -fno-sanitize-recover=all \
               -fno-omit-frame-pointer -DRV_HOST=1 -MMD -MP
# Policy files of hv/ and vmx/ that hold no privileged instruction, so that tests can link them too.
HOST_EXTRA_SRC := $(wildcard test/fake/*.c)
HOST_PURE_SRC += $(wildcard hv/guestmem/*.c)
# The engine: on the host, test/fake/ is its processor (hv/cpu/cpu_host.h, vmx/vmcs.h).
HOST_PURE_SRC += $(addprefix hv/,access.c acts.c chunk.c detail.c devices.c divergence.c dma.c exit_cr.c exit_dr.c exit_table.c exits.c input.c mmio.c noise.c string_io.c text.c \
                   position.c record.c replay.c replay_log.c run.c sleep.c vcpu_state.c) \
                 $(addprefix vmx/,caps.c controls.c enter.c exit.c fail.c field_names.c guest.c guest_state.c \
                   debug.c msr_bitmap.c pmu.c pmu_find.c run_control.c)
HOST_OBJ    := $(patsubst %.c,$(BUILD)/host/%.o,$(PURE_SRC) $(HOST_PURE_SRC) $(HOST_EXTRA_SRC)) \
               $(patsubst %.S,$(BUILD)/host/%.o,$(wildcard test/fake/*.S))
UNIT_SRC    := $(if $(T),test/unit/test_$(T).c,$(wildcard test/unit/test_*.c))
UNIT_BIN    := $(patsubst test/unit/%.c,$(BUILD)/unit/%,$(UNIT_SRC))

$(BUILD)/host/%.o: %.c
	@mkdir -p $(@D)
	$(HOST_CC) $(HOST_CFLAGS) -c $< -o $@

$(BUILD)/host/%.o: %.S
	@mkdir -p $(@D)
	$(HOST_CC) -I. -MMD -MP -c $< -o $@

$(BUILD)/host/libpure.a: $(HOST_OBJ)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/unit/%: $(BUILD)/host/test/unit/%.o $(BUILD)/host/libpure.a
	@mkdir -p $(@D)
	$(HOST_CC) $(HOST_CFLAGS) $< $(BUILD)/host/libpure.a -lcmocka -lpthread -o $@

.SECONDARY: $(patsubst %,$(BUILD)/host/test/unit/%.o,$(notdir $(UNIT_BIN)))

unit: $(UNIT_BIN) ## build and run the unit tests (T=name for one)
	@failed=; for t in $(UNIT_BIN); do $$t || failed="$$failed $$t"; done; \
	    [ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

$(BUILD)/golden/make_golden: $(BUILD)/host/test/golden/make_golden.o $(BUILD)/host/libpure.a
	@mkdir -p $(@D)
	$(HOST_CC) $(HOST_CFLAGS) $^ -o $@

golden: $(BUILD)/golden/make_golden ## write the golden logs anew (after a change of the log format)
	$< test/golden

-include $(HOST_OBJ:.o=.d) $(wildcard $(BUILD)/host/test/unit/*.d $(BUILD)/host/test/golden/*.d)
.PHONY: unit golden

# Fuzzers: test/fuzz/fuzz_*.c, each linked with all pure sources under clang's libFuzzer, ASan and UBSan.
# A corpus of one's own: build/fuzz/fuzz_insn DIR.
FUZZ_SECONDS ?= 60
FUZZ_CC      ?= clang
FUZZ_CFLAGS  := -std=gnu11 -O1 -g $(WARN) -I. -DRV_HOST=1 -MMD -MP -fno-sanitize-recover=all \
                -fsanitize=fuzzer-no-link,address,undefined
FUZZ_OBJ     := $(patsubst %.c,$(BUILD)/fuzz-obj/%.o,$(PURE_SRC) $(HOST_PURE_SRC) $(HOST_EXTRA_SRC)) \
                $(patsubst %.S,$(BUILD)/host/%.o,$(wildcard test/fake/*.S))
FUZZ_BIN     := $(patsubst test/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard test/fuzz/fuzz_*.c))
FUZZ_RETRO   := $(patsubst %.c,$(BUILD)/fuzz-obj/%.o,$(filter-out tools/retro/main.c,$(RETRO_SRC)))

$(BUILD)/fuzz-obj/%.o: %.c
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_CFLAGS) -c $< -o $@

$(BUILD)/fuzz-obj/libpure.a: $(FUZZ_OBJ)
	@rm -f $@
	ar rcs $@ $^

# The host tool's own parsers: with all of it but main().
$(FUZZ_RETRO) $(patsubst test/%.c,$(BUILD)/fuzz-obj/test/%.o,$(wildcard test/fuzz/fuzz_retro_*.c)): FUZZ_CFLAGS += -D_GNU_SOURCE

$(BUILD)/fuzz-obj/libretro.a: $(FUZZ_RETRO)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/fuzz/fuzz_retro_%: $(BUILD)/fuzz-obj/test/fuzz/fuzz_retro_%.o $(BUILD)/fuzz-obj/libretro.a $(BUILD)/fuzz-obj/libpure.a
	@mkdir -p $(@D)
	$(FUZZ_CC) -fsanitize=fuzzer,address,undefined $^ $(RETRO_LIBS) -o $@

$(BUILD)/fuzz/%: $(BUILD)/fuzz-obj/test/fuzz/%.o $(BUILD)/fuzz-obj/libpure.a
	@mkdir -p $(@D)
	$(FUZZ_CC) -fsanitize=fuzzer,address,undefined $^ -o $@

.SECONDARY: $(patsubst %,$(BUILD)/fuzz-obj/test/fuzz/%.o,$(notdir $(FUZZ_BIN)))

fuzz: $(FUZZ_BIN) ## run each fuzzer for FUZZ_SECONDS (60)
	@cd $(BUILD)/fuzz && for f in $(notdir $(FUZZ_BIN)); do echo "$$f: $(FUZZ_SECONDS) s"; \
	    ./$$f -max_total_time=$(FUZZ_SECONDS) -verbosity=0 || exit 1; done

fuzz-quick: ## run each fuzzer for 3 seconds
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=3

-include $(FUZZ_OBJ:.o=.d) $(FUZZ_RETRO:.o=.d)
.PHONY: fuzz fuzz-quick

# The model: all interleavings of small schedules, against a serial reference. Optimised, as there are
# millions of states, and the small schedules once more under sanitizers; and a fine-grained one, which
# interrupts actors at each lock and atomic access of the code under test.
MODEL_PURE  := replay/order.c replay/view.c replay/accessed.c replay/frames.c replay/inbound.c $(wildcard hv/base/*.c)
MODEL_SRC   := $(filter-out test/model/fine.c,$(wildcard test/model/*.c)) $(MODEL_PURE)
MODEL_FINE  := $(filter-out test/model/main.c test/model/explore.c,$(wildcard test/model/*.c)) $(MODEL_PURE)
MODEL_HDR   := $(wildcard test/model/*.h replay/*.h hv/base/*.h)
MODEL_FLAGS := -std=gnu11 -g $(WARN) -I. -DRV_HOST=1
MODEL_SAN   := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
MODEL_BIN   := $(addprefix $(BUILD)/model/,model model-san model-fine)

$(BUILD)/model/model: $(MODEL_SRC) $(MODEL_HDR)
	@mkdir -p $(@D)
	$(HOST_CC) $(MODEL_FLAGS) -O2 $(MODEL_SRC) -o $@

$(BUILD)/model/model-san: $(MODEL_SRC) $(MODEL_HDR)
	@mkdir -p $(@D)
	$(HOST_CC) $(MODEL_FLAGS) $(MODEL_SAN) $(MODEL_SRC) -o $@

$(BUILD)/model/model-fine: $(MODEL_FINE) $(MODEL_HDR)
	@mkdir -p $(@D)
	$(HOST_CC) $(MODEL_FLAGS) -O2 -include test/model/points.h $(MODEL_FINE) -o $@

model: $(MODEL_BIN) ## all interleavings of small schedules, recorded and replayed
	@$(BUILD)/model/model-san -s 20 20 > $(BUILD)/model/san.txt || { cat $(BUILD)/model/san.txt; exit 1; }
	@$(BUILD)/model/model
	@$(BUILD)/model/model-fine

.PHONY: model

# Threads on the commit order and the views under the thread sanitizer, for STRESS_SECONDS.
STRESS_SECONDS ?= 4
STRESS_CC      ?= clang
STRESS_SRC     := test/stress/stress.c replay/order.c replay/view.c replay/accessed.c replay/frames.c $(wildcard hv/base/*.c)

# There may be more threads than processors: who spins lets others run.
$(BUILD)/stress/stress: $(STRESS_SRC) $(MODEL_HDR)
	@mkdir -p $(@D)
	$(STRESS_CC) -std=gnu11 -O1 -g $(WARN) -I. -DRV_HOST=1 -fsanitize=thread \
	    -include sched.h "-D__builtin_ia32_pause()=sched_yield()" $(STRESS_SRC) -lpthread -o $@

stress: $(BUILD)/stress/stress ## threads record and replay random chunks under the thread sanitizer
	@$(BUILD)/stress/stress $(STRESS_SECONDS)

.PHONY: stress
