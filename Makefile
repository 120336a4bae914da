# SPDX-License-Identifier: LGPL-2.1-or-later
# Builds novasnapd and novasnap, and runs what shows and proves them. `make help` lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := all

VERSION := 0.1.0
BUILD   ?= build
comma   := ,
CC      ?= cc
AR      ?= ar
PKGS    := glib-2.0 libvirt librabbitmq libcurl libcjson libnbd libxml-2.0 inih sqlite3 libsystemd libssl libcrypto zlib \
           libzstd

# make SANITIZE=address,undefined or SANITIZE=thread builds with that sanitizer, in a folder of its own.
ifdef SANITIZE
BUILD    := $(BUILD)-$(subst $(comma),-,$(SANITIZE))
SANFLAGS := -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all
ifeq ($(SANITIZE),thread)
SANFLAGS += -include tests/lib/tsan.h
endif
endif

# make COVERAGE=1 builds what counts how often each line runs.
ifdef COVERAGE
BUILD    := $(BUILD)-coverage
SANFLAGS := --coverage -fprofile-update=atomic -DNOVASNAP_COVERAGE
endif

# make FAULTS=1 builds with points at which faults can be put in (agent/task/fault-point.h), in a folder of its own too.
ifdef FAULTS
BUILD      := $(BUILD)-faults
FAULTFLAGS := -DNOVASNAP_FAULTS
endif

# make FUZZING=1 is what `make fuzz` builds with: clang, and all of the code tells libFuzzer where it goes.
ifdef FUZZING
BUILD    := $(BUILD)-fuzz
CC       := clang-14
SANFLAGS := -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all
CFLAGS   := -O1 -g -Wno-string-concatenation
endif

# Asked only when something is compiled, so that `make deps` runs on a machine that has no pkg-config yet.
PKG_CFLAGS = $(eval PKG_CFLAGS := $$(shell pkg-config --cflags $(PKGS) 2>/dev/null))$(PKG_CFLAGS)
PKG_LIBS   = $(eval PKG_LIBS := $$(shell pkg-config --libs $(PKGS) 2>/dev/null))$(PKG_LIBS)

OPT    ?= -O2 -g
CFLAGS ?= $(OPT) -fstack-protector-strong -D_FORTIFY_SOURCE=2
ifdef SANITIZE
CFLAGS := -O1 -g
endif
ifdef COVERAGE
CFLAGS := -O0 -g
endif
WARN   := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
          -Wwrite-strings -Wvla -Wformat=2 -Wno-format-nonliteral
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -DNOVASNAP_VERSION='"$(VERSION)"' -I. $(WARN) $(PKG_CFLAGS) \
             $(CFLAGS) $(SANFLAGS) $(FAULTFLAGS) -pthread -MMD -MP
ALL_LDFLAGS = -Wl,--as-needed $(LDFLAGS) $(SANFLAGS) -pthread
LIBS = $(PKG_LIBS)

ROOMS := rpc virt image agent
# Programs have their main in agent/<program>.c; all else in a room is its library.
MAINS := agent/novasnapd.c agent/novasnap.c agent/novasnap-thaw.c
SRC   := $(foreach r,$(ROOMS),$(filter-out $(MAINS),$(sort $(shell find $(r) -name "*.c"))))
OBJ   := $(SRC:%.c=$(BUILD)/%.o)
# Order matters to the linker: who uses stands before who is used.
LINK  := $(BUILD)/agent.a $(BUILD)/virt.a $(BUILD)/image.a $(BUILD)/rpc.a
UNIT  := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test-*.c))
BENCH := $(patsubst tests/bench/%.c,$(BUILD)/tests/bench/%,$(wildcard tests/bench/*.c))
FUZZ_PROGRAMS := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/fuzz/%,$(wildcard tests/fuzz/fuzz-$(or $(FUZZ),*).c))
TOOLS := $(patsubst tests/tools/%.c,$(BUILD)/tests/tools/%,$(wildcard tests/tools/*.c))
PROGS := $(patsubst agent/%.c,$(BUILD)/%,$(wildcard $(MAINS)))

all: $(PROGS)

$(foreach r,$(ROOMS),$(eval $(BUILD)/$(r).a: $(filter $(BUILD)/$(r)/%,$(OBJ))))
$(LINK):
	@mkdir -p $(@D)
	@rm -f $@
	@$(AR) rcs $@ $^

# The log domain of each room is its name.
$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(ALL_CFLAGS) -DG_LOG_DOMAIN='"$(firstword $(subst /, ,$*))"' -c -o $@ $<

$(PROGS): $(BUILD)/%: $(BUILD)/agent/%.o $(LINK)
	@echo "  LINK  $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(LINK)
	@echo "  LINK  $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tests/tools/%: $(BUILD)/tests/tools/%.o $(LINK)
	@echo "  LINK  $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

# The no-op handler stands where a cast would become a job.
$(BUILD)/tests/bench/casts: ALL_LDFLAGS += -Wl,--wrap=jobs_submit

$(BUILD)/tests/bench/%: $(BUILD)/tests/bench/%.o $(LINK)
	@echo "  LINK  $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

# The linker puts functions of the program in the place of those that would send something.
wrap = $(addprefix -Wl$(comma)--wrap=,$(1))
$(BUILD)/tests/unit/test-bad-input: ALL_LDFLAGS += $(call wrap,jobs_submit consumer_ack consumer_want publisher_send)
$(BUILD)/tests/unit/test-image-answers: ALL_LDFLAGS += $(call wrap,http_perform http_pause)
host := g_get_monotonic_time g_usleep virGetLastError virGetLastErrorCode virConnectOpen virConnectIsAlive \
	virConnectRegisterCloseCallback
$(BUILD)/tests/unit/test-rollback: ALL_LDFLAGS += $(call wrap,$(host) virDomainGetBlockInfo virDomainGetJobInfo \
	virDomainBackupGetXMLDesc virDomainAbortJob virDomainBlockJobAbort virDomainGetXMLDesc virDomainGetState \
	virDomainIsActive virDomainResume virDomainCreateWithFlags virDomainFSThaw virDomainIsPersistent \
	virDomainHasManagedSaveImage virDomainDefineXML)
$(BUILD)/tests/unit/test-rebase: ALL_LDFLAGS += $(call wrap,$(host) virDomainGetBlockInfo virDomainGetBlockJobInfo \
	virDomainBlockCopy virDomainBlockJobAbort virDomainUndefineFlags virDomainDefineXML virDomainGetXMLDesc \
	virDomainBackupGetXMLDesc virDomainBackupBegin domain_events_wait_block_job)
$(BUILD)/tests/unit/test-left-jobs: ALL_LDFLAGS += $(call wrap,$(host) virDomainGetBlockJobInfo \
	virDomainBlockJobAbort virDomainBackupGetXMLDesc virDomainAbortJob)
$(BUILD)/tests/unit/test-managed-save: ALL_LDFLAGS += $(call wrap,$(host) virDomainManagedSave \
	virDomainCreateWithFlags qemu_img_snapshot_delete)
$(BUILD)/tests/unit/test-guest-query: ALL_LDFLAGS += $(call wrap,$(host) virDomainIsActive virDomainGetState)
$(BUILD)/tests/unit/test-stream-cold: ALL_LDFLAGS += $(call wrap,$(host) virConnectUnregisterCloseCallback \
	virDomainGetState)
$(BUILD)/tests/unit/test-thaw-watchdog: ALL_LDFLAGS += $(call wrap,$(host) virDomainFSThaw virDomainIsActive)
$(BUILD)/tests/unit/test-volume-merge: ALL_LDFLAGS += $(call wrap,$(host) virDomainIsActive virDomainGetBlockJobInfo \
	virDomainBlockCommit virDomainBlockRebase virDomainBlockJobAbort domain_events_wait_block_job qemu_img_rebase)
$(BUILD)/tests/unit/test-power: ALL_LDFLAGS += $(call wrap,$(host) virDomainShutdown virDomainDestroy virDomainIsActive)
$(BUILD)/tests/unit/test-domain-events: ALL_LDFLAGS += $(call wrap,$(host) virConnectDomainEventRegisterAny \
	virConnectDomainEventDeregisterAny virConnectUnregisterCloseCallback pthread_cond_clockwait)
$(BUILD)/tests/unit/test-freeze: ALL_LDFLAGS += $(call wrap,$(host) virDomainFSFreeze virDomainFSThaw)
$(BUILD)/tests/unit/test-manager: ALL_LDFLAGS += $(call wrap,$(host) jobs_free jobs_stop recovery_start \
	rpc_server_start rpc_server_stop)
$(BUILD)/tests/fuzz/fuzz-envelope: WRAP := $(call wrap,jobs_submit consumer_ack consumer_want publisher_send)
$(BUILD)/tests/fuzz/fuzz-object: WRAP := $(call wrap,rpc_call rpc_notify image_store_get)
$(BUILD)/tests/fuzz/fuzz-domain-xml: WRAP := $(call wrap,virDomainBackupGetXMLDesc)
$(BUILD)/tests/fuzz/fuzz-chain: WRAP := $(call wrap,process_run)
$(BUILD)/tests/fuzz/fuzz-glance $(BUILD)/tests/fuzz/fuzz-keystone: WRAP := $(call wrap,http_perform http_pause)

$(BUILD)/tests/fuzz/fuzz-%: $(BUILD)/tests/fuzz/fuzz-%.o $(BUILD)/tests/fuzz/fuzz.o $(BUILD)/tests/fuzz/answers.o $(LINK)
	@echo "  LINK  $@"
	@$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer $(WRAP) -o $@ $^ $(LIBS)

unit-programs: $(UNIT)
fuzz-programs: $(FUZZ_PROGRAMS)
tools: $(TOOLS)
bench-programs: $(BENCH)

deps:
	@tests/lib/deps.sh build run

# --- what shows it ---------------------------------------------------------------------------

demo:
	@tests/lib/deps.sh build run$(if $(filter directory,$(IMAGES)),-directory)
	@$(MAKE) --no-print-directory all
	@IMAGES=$(or $(IMAGES),glance) ACCEL=$(or $(ACCEL),tcg) /usr/bin/python3 tests/demo/demo.py

# --- what proves it --------------------------------------------------------------------------

# With the kills of stream, by a build that has fault points and the sanitizers.
test: check-deps
	@$(MAKE) --no-print-directory all unit-programs tools
	@$(MAKE) --no-print-directory SANITIZE=address,undefined FAULTS=1 all unit-programs check-unit
	tests/faults/check-points.py
	BUILD=$(BUILD) tests/lib/run.sh
	BUILD=build-address-undefined-faults NOVASNAP_FAULT_METHODS=stream,cold NOVASNAP_FAULT_KINDS=kill \
		NOVASNAP_TEST_TIMEOUT=600 tests/lib/run.sh tests/faults/test-faults.py

# A fault at each step of each method, and KILLS at random moments; then libvirtd and the host fail. A quarter of an
# hour.
faults: check-deps
	@$(MAKE) --no-print-directory FAULTS=1 all
	BUILD=build-faults NOVASNAP_FAULT_RANDOM=$(or $(KILLS),200) NOVASNAP_TEST_TIMEOUT=3000 \
		tests/lib/run.sh tests/faults/test-*.py
	cat build-faults/faults.md build-faults/faults-methods.md

# What comes from outside, made up by libFuzzer: SECONDS for each target; FUZZ names one of tests/fuzz/fuzz-*.c.
fuzz:
	@tests/lib/deps.sh build fuzz
	@$(MAKE) --no-print-directory FUZZING=1 fuzz-programs
	@BUILD=build-fuzz SECONDS_EACH=$(or $(SECONDS),60) FUZZ=$(FUZZ) tests/fuzz/run.sh

e2e:
	@tests/lib/deps.sh build run test e2e
	@$(MAKE) --no-print-directory all
	NOVASNAP_TEST_TIMEOUT=600 tests/lib/run.sh tests/e2e/test-*.py

# What a kill of nova-compute leaves, and the same kill of novasnapd, at moments that are seen from outside and at KILLS
# random ones of each guest; half an hour.
kills:
	@tests/lib/deps.sh build run test e2e
	@$(MAKE) --no-print-directory all
	BUILD=$(BUILD) tests/e2e/kills.py --random $(or $(KILLS),3)

# A thousand snapshots of eight guests at a time, with a fault every few seconds.
soak: check-deps
	@tests/lib/deps.sh bench
	@$(MAKE) --no-print-directory all
	tests/faults/soak.py --snapshots $(or $(SNAPSHOTS),1000) --json $(BUILD)/soak.json --svg $(BUILD)/soak.svg

# The integration tests that merely need a broker, against a RabbitMQ in a container.
test-container: check-deps
	@tests/lib/deps.sh container
	@$(MAKE) --no-print-directory all tools
	/usr/bin/python3 tests/container/rabbitmq.py

# The slow rest, before an issue is resolved: everything, also with the sanitizers.
check-all: lint test e2e faults test-container
	@$(MAKE) --no-print-directory SANITIZE=address,undefined all tools unit-programs check-unit
	BUILD=build-address-undefined tests/lib/run.sh
	@$(MAKE) --no-print-directory SANITIZE=thread all tools unit-programs check-unit
	BUILD=build-thread tests/lib/run.sh $(patsubst %,tests/integration/test-%.py,rpc conductor stream snapshot left recovery)
	@$(MAKE) --no-print-directory check-valgrind
	NOVASNAP_LAYOUTS=1000 tests/lib/run.sh $(BUILD)/tests/unit/test-encoders

# Beside nova-compute, and beside what Glance can receive; most of half an hour, on a machine that does nothing else.
bench:
	@tests/lib/deps.sh build run test e2e bench
	@$(MAKE) --no-print-directory all bench-programs
	/usr/bin/python3 tests/bench/bench.py --json $(BUILD)/bench.json
	tests/bench/report.py $(BUILD)/bench.json --svg $(BUILD)/bench.svg

check-unit: $(UNIT)
	@prove --exec tests/lib/one.sh $(UNIT)

# What is used before it is set, which the sanitizers do not see, and what is lost for good; ten minutes.
check-valgrind:
	@tests/lib/deps.sh build run test valgrind
	@NOVASNAP_UNIT_UNDER="valgrind --quiet --error-exitcode=99 --suppressions=tests/lib/valgrind.supp \
		--leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite" \
		NOVASNAP_UNIT_TIMEOUT=1200 NOVASNAP_LAYOUTS=5 $(MAKE) --no-print-directory check-unit

# What of the rooms runs in the unit tests and in COVERAGE_TESTS: per file its lines, and which never ran. With fault
# points, for most of recovery runs after a kill at one of them. Three quarters of an hour; COVERAGE_TESTS= takes one
# minute.
COVERED        := $(BUILD)-coverage-faults
COVERAGE_TESTS ?= $(patsubst %,tests/integration/test-%.py,rpc rpc-faults conductor others-rpc snapshot stream \
                    recovery quiesce disks glance volumes security headers tls check) $(wildcard tests/faults/test-*.py)
coverage:
	@tests/lib/deps.sh build run test coverage
	@$(MAKE) --no-print-directory COVERAGE=1 FAULTS=1 all tools unit-programs
	find $(COVERED) -name '*.gcda' -delete
	-BUILD=$(COVERED) NOVASNAP_TEST_TIMEOUT=3000 \
		tests/lib/run.sh $(UNIT:$(BUILD)/%=$(COVERED)/%) $(COVERAGE_TESTS)
	gcovr --exclude-unreachable-branches $(ROOMS:%=--filter %/) --object-directory $(COVERED) \
		--output $(COVERED)/coverage.txt $(COVERED)
	cat $(COVERED)/coverage.txt

check-deps:
	@tests/lib/deps.sh build run test

lint:
	@tests/lib/deps.sh build lint
	tests/lib/lint.sh

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf $(BUILD) $(BUILD)-*

help:
	@sed -n 's/^\([a-z-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)) | sort -u

-include $(OBJ:.o=.d) $(wildcard $(BUILD)/agent/*.d $(BUILD)/tests/*/*.d)

.PHONY: all deps demo test e2e test-container check-all check-unit check-deps lint format clean help unit-programs tools \
        bench-programs bench faults kills soak fuzz fuzz-programs check-valgrind coverage
.SECONDARY:
