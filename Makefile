# SPDX-License-Identifier: LGPL-2.1-or-later
# Builds novasnapd and novasnap, and runs the tests. `make help` lists the targets.
# On the command line or in the environment:
#   SANITIZE=address,undefined   build and test with these sanitizers (or SANITIZE=thread)
#   WERROR=1                     treat warnings as errors
#   NOVASNAP_BUILD=FOLDER        build there instead of in build/
#   DESTDIR, PREFIX, SYSCONFDIR, UNITDIR   where `make install` installs (also in lower case)

SHELL := /bin/bash
.DEFAULT_GOAL := all

# The version in a tree without a tag of git. In a clone that has one: 0.2.0 at the tag v0.2.0, 0.2.0~rc1 at v0.2.0-rc1,
# and 0.2.0+5.g1a2b3c4 five commits after v0.2.0, which dpkg and rpm sort that way.
RELEASE := 0.1.0
VERSION := $(or $(if $(wildcard .git),$(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | \
           sed -E 's/^v//; s/-([0-9]+)-(g[0-9a-f]+)$$/+\1.\2/; s/-/~/g')),$(RELEASE))
comma   := ,
CC      ?= cc
AR      ?= ar

# The folder of the build. Each kind of build has a folder of its own, whose name ends in that kind.
NOVASNAP_BUILD ?= build
BUILD := $(NOVASNAP_BUILD)

# The libraries: pkg-config's name and Debian's package of each.
LIBRARIES := glib-2.0:libglib2.0-dev libvirt:libvirt-dev libvirt-qemu:libvirt-dev librabbitmq:librabbitmq-dev \
             libcurl:libcurl4-openssl-dev libcjson:libcjson-dev libnbd:libnbd-dev libxml-2.0:libxml2-dev sqlite3:libsqlite3-dev \
             libsystemd:libsystemd-dev libssl:libssl-dev libcrypto:libssl-dev zlib:zlib1g-dev libzstd:libzstd-dev \
             liblzma:liblzma-dev libbrotlidec:libbrotli-dev libmicrohttpd:libmicrohttpd-dev
PKGS := $(foreach l,$(LIBRARIES),$(firstword $(subst :, ,$(l))))

ifdef SANITIZE
BUILD    := $(BUILD)-$(subst $(comma),-,$(SANITIZE))
SANFLAGS := -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all
ifeq ($(SANITIZE),thread)
SANFLAGS += -include tests/lib/tsan.h
endif
endif

# COVERAGE=1: the programs count how often each line runs.
ifdef COVERAGE
BUILD    := $(BUILD)-coverage
SANFLAGS := --coverage -fprofile-update=atomic -DNOVASNAP_COVERAGE
endif

# FAULTS=1: the programs have points at which a test can make them fail (agent/task/fault-point.h).
ifdef FAULTS
BUILD      := $(BUILD)-faults
FAULTFLAGS := -DNOVASNAP_FAULTS
endif

# FUZZING=1: clang's libFuzzer sees which code runs.
ifdef FUZZING
BUILD    := $(BUILD)-fuzz
CC       := clang
SANFLAGS := -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all
CFLAGS   := -O1 -g
endif

# Expanded only when something is compiled, so that `make deps` works where pkg-config is missing.
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
WARN   := -Wall -Wextra $(if $(WERROR),-Werror) -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
          -Wwrite-strings -Wvla -Wformat=2 -Wno-format-nonliteral
# libvirt's own macro for callbacks, VIR_DOMAIN_EVENT_CALLBACK, casts in a way that clang 19 and later warn of.
CC_WARN = $(eval CC_WARN := $$(if $$(findstring clang,$$(shell $(CC) --version)),-Wno-unknown-warning-option \
            -Wno-cast-function-type-mismatch))$(CC_WARN)
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -I. $(WARN) $(CC_WARN) $(PKG_CFLAGS) \
             $(CPPFLAGS) $(CFLAGS) $(SANFLAGS) $(FAULTFLAGS) -pthread -MMD -MP
ALL_LDFLAGS = -Wl,--as-needed $(LDFLAGS) $(SANFLAGS) -pthread
# libbz2 has no pkg-config file on Debian 12.
LIBS = $(PKG_LIBS) -lbz2 -lm

ROOMS := rpc virt image agent
# Each program has its main() in agent/PROGRAM.c; the other files of a room are its library.
MAINS := agent/novasnapd.c agent/novasnap.c agent/novasnap-thaw.c
# Only novasnap-rbd links the libraries of Ceph. It is built where they are; Debian 12 has no pkg-config file of them.
RBD     := novasnap-rbd
RBD_SRC := $(sort $(wildcard image/rbd/server/*.c))
RBD_OBJ := $(RBD_SRC:%.c=$(BUILD)/%.o)
HAS_RBD := $(shell printf '\#include <rbd/librbd.h>\n' | $(CC) -E -x c -o /dev/null - 2>/dev/null && echo yes)
SRC   := $(foreach r,$(ROOMS),$(filter-out $(MAINS) $(RBD_SRC),$(sort $(shell find $(r) -name "*.c"))))
OBJ   := $(SRC:%.c=$(BUILD)/%.o)
# In the linker's order: a library stands before those that it uses.
LINK  := $(BUILD)/agent.a $(BUILD)/virt.a $(BUILD)/image.a $(BUILD)/rpc.a
UNIT  := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test-*.c))
BENCH := $(patsubst tests/bench/%.c,$(BUILD)/tests/bench/%,$(wildcard tests/bench/*.c))
FUZZ_PROGRAMS := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/fuzz/%,$(wildcard tests/fuzz/fuzz-$(or $(FUZZ),*).c))
TOOLS := $(patsubst tests/tools/%.c,$(BUILD)/tests/tools/%,$(wildcard tests/tools/*.c))
MAIN_PROGS := $(patsubst agent/%.c,$(BUILD)/%,$(wildcard $(MAINS)))
PROGS  := $(MAIN_PROGS) $(if $(HAS_RBD),$(BUILD)/$(RBD))

# The manual pages, by conf/man/pages.
PAGES := $(filter-out $(if $(HAS_RBD),,$(RBD).8),$(shell awk '$$2 ~ /^[0-9]$$/ { print $$1 "." $$2 }' conf/man/pages))
MAN   := $(addprefix $(BUILD)/man/,$(PAGES))

all: $(PROGS) $(MAN) $(if $(HAS_RBD),,no-rbd) ## Build the programs, and their manual pages.

no-rbd:
	@echo "  $(RBD), for images in Ceph, is not built: it needs librbd-dev and librados-dev (\"make deps\")"

$(foreach r,$(ROOMS),$(eval $(BUILD)/$(r).a: $(filter $(BUILD)/$(r)/%,$(OBJ))))
$(LINK):
	@mkdir -p $(@D)
	@rm -f $@
	@$(AR) rcs $@ $^

# These are compiled again when the version has changed.
VERSIONED := $(addprefix $(BUILD)/,agent/novasnapd.o agent/novasnap.o agent/daemon/daemon.o agent/daemon/manager.o agent/daemon/gauges.o image/openstack/http.o \
                image/rbd/server/main.o)
$(VERSIONED): ALL_CFLAGS += -DNOVASNAP_VERSION='"$(VERSION)"'
$(VERSIONED): $(BUILD)/version
$(BUILD)/version: always
	@mkdir -p $(@D)
	@echo '$(VERSION)' | cmp --silent - $@ || echo '$(VERSION)' >$@

# The log domain of each room is its name.
$(BUILD)/%.o: %.c | check-libraries
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(ALL_CFLAGS) -DG_LOG_DOMAIN='"$(firstword $(subst /, ,$*))"' -c -o $@ $<

$(MAIN_PROGS): $(BUILD)/%: $(BUILD)/agent/%.o $(LINK)
	@echo "  LINK  $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/$(RBD): $(RBD_OBJ) $(BUILD)/image.a
	@echo "  LINK  $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $^ -lrbd -lrados $(LIBS)

# What a page is, in words of the list, and the pages beside it.
page_what = $(shell awk '$$1 "." $$2 == "$(1)" { $$1 = $$2 = ""; sub(/^ +/, ""); print }' conf/man/pages)
make_page = @mkdir -p $(@D); echo "  MAN   $@"; awk -f conf/man/common.awk -f conf/man/$(1)-page.awk -v name='$(basename $(@F))' \
	-v section='$(patsubst .%,%,$(suffix $(@F)))' -v what='$(call page_what,$(@F))' -v version='$(VERSION)' \
	-v see='$(subst $(eval ) ,$(comma),$(foreach p,$(PAGES),$(basename $(p))/$(patsubst .%,%,$(suffix $(p)))))'
PAGE_SOURCES := conf/man/pages conf/man/common.awk conf/man/program-page.awk conf/man/config-page.awk Makefile

$(BUILD)/man/novasnap.conf.5: conf/novasnap.conf $(BUILD)/man/config-keys.tsv $(PAGE_SOURCES)
	$(call make_page,config) -v keys=$(BUILD)/man/config-keys.tsv conf/novasnap.conf >$@.new && mv $@.new $@

$(BUILD)/man/config-keys.tsv: $(BUILD)/conf/man/config-keys
	@mkdir -p $(@D)
	@$< >$@.new && mv $@.new $@

$(BUILD)/conf/man/config-keys: $(BUILD)/conf/man/config-keys.o $(LINK)
	@echo "  LINK  $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(filter-out %.conf.5,$(MAN)): $(BUILD)/man/%: $(PROGS) $(PAGE_SOURCES)
	$(call make_page,program) -v program=$(BUILD)/$(basename $(@F)) >$@.new && mv $@.new $@

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(LINK)
	@echo "  LINK  $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tests/tools/%: $(BUILD)/tests/tools/%.o $(LINK)
	@echo "  LINK  $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

# The benchmark's handler does nothing where a cast would become a job.
$(BUILD)/tests/bench/casts: ALL_LDFLAGS += -Wl,--wrap=worker_pool_submit

$(BUILD)/tests/bench/%: $(BUILD)/tests/bench/%.o $(LINK)
	@echo "  LINK  $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

# The linker replaces these functions with the test program's own.
wrap = $(addprefix -Wl$(comma)--wrap=,$(1))
$(BUILD)/tests/unit/test-bad-input: ALL_LDFLAGS += $(call wrap,intake_take worker_pool_submit consumer_ack consumer_want publisher_send)
$(BUILD)/tests/unit/test-image-answers: ALL_LDFLAGS += $(call wrap,http_request_send image_cancel_sleep)
$(BUILD)/tests/unit/test-glance-location: ALL_LDFLAGS += $(call wrap,http_request_send image_cancel_sleep)
host := g_get_monotonic_time g_usleep virGetLastError virGetLastErrorCode virConnectOpen virConnectIsAlive \
	virConnectRegisterCloseCallback
$(BUILD)/tests/unit/test-rollback: ALL_LDFLAGS += $(call wrap,$(host) virDomainGetBlockInfo virDomainGetJobInfo \
	virDomainBackupGetXMLDesc virDomainAbortJob virDomainBlockJobAbort virDomainGetXMLDesc virDomainGetState \
	virDomainIsActive virDomainResume virDomainCreateWithFlags virDomainFSThaw virDomainIsPersistent \
	virDomainHasManagedSaveImage virDomainDefineXML virDomainGetDiskErrors statvfs)
$(BUILD)/tests/unit/test-rebase: ALL_LDFLAGS += $(call wrap,$(host) virConnectGetLibVersion virDomainGetBlockInfo \
	virDomainGetBlockJobInfo virDomainGetJobInfo virDomainBlockCopy virDomainBlockJobAbort virDomainUndefineFlags virDomainDefineXML \
	virDomainGetXMLDesc virDomainBackupGetXMLDesc virDomainBackupBegin domain_events_wait_block_job \
	domain_events_watch_copy_end domain_events_copy_error)
$(BUILD)/tests/unit/test-iothread: ALL_LDFLAGS += $(call wrap,$(host) virConnectGetVersion virDomainQemuMonitorCommand)
$(BUILD)/tests/unit/test-scratch-guard: ALL_LDFLAGS += $(call wrap,$(host) virDomainBackupGetXMLDesc \
	virDomainAbortJob virDomainGetState virDomainResume virDomainGetDiskErrors statvfs)
$(BUILD)/tests/unit/test-room: ALL_LDFLAGS += $(call wrap,$(host) statvfs)
$(BUILD)/tests/unit/test-left-jobs: ALL_LDFLAGS += $(call wrap,$(host) virDomainGetBlockJobInfo \
	virDomainBlockJobAbort virDomainBackupGetXMLDesc virDomainAbortJob virDomainGetXMLDesc virDomainGetState \
	virDomainResume)
$(BUILD)/tests/unit/test-managed-save: ALL_LDFLAGS += $(call wrap,$(host) virDomainManagedSave \
	virDomainGetJobInfo virDomainCreateWithFlags qemu_img_snapshot_delete qemu_img_convert)
$(BUILD)/tests/unit/test-guest-query: ALL_LDFLAGS += $(call wrap,$(host) virDomainIsActive virDomainGetState)
$(BUILD)/tests/unit/test-stream-cold: ALL_LDFLAGS += $(call wrap,$(host) virConnectUnregisterCloseCallback \
	virDomainGetState)
$(BUILD)/tests/unit/test-rbd: ALL_LDFLAGS += $(call wrap,$(host) image_rbd_open image_rbd_close image_rbd_fsid \
	image_rbd_info_read image_rbd_info_clear image_rbd_snap_create image_rbd_snap_protect image_rbd_snap_remove \
	image_rbd_clone image_rbd_flatten image_rbd_remove_copy image_source_new_rbd quiesce_begin quiesce_end)
$(BUILD)/tests/unit/test-disk-stamp: ALL_LDFLAGS += $(call wrap,stat g_file_get_contents)
$(BUILD)/tests/unit/test-disk-watch: ALL_LDFLAGS += $(call wrap,$(host) disk_is_device disk_stamp_check \
	image_source_kill_server)
$(BUILD)/tests/unit/test-thaw-watchdog: ALL_LDFLAGS += $(call wrap,$(host) virDomainFSThaw virDomainGetState \
	virDomainAgentSetResponseTimeout)
$(BUILD)/tests/unit/test-volume-merge: ALL_LDFLAGS += $(call wrap,$(host) virDomainIsActive virDomainGetBlockJobInfo \
	virDomainBlockCommit virDomainBlockRebase virDomainBlockJobAbort domain_events_wait_block_job qemu_img_rebase)
$(BUILD)/tests/unit/test-volume-create: ALL_LDFLAGS += $(call wrap,$(host) virDomainSnapshotCreateXML \
	virDomainSnapshotFree virDomainFSThaw virDomainAgentSetResponseTimeout virDomainGetXMLDesc virDomainGetJobInfo \
	virDomainGetBlockJobInfo)
$(BUILD)/tests/unit/test-power: ALL_LDFLAGS += $(call wrap,$(host) virDomainShutdown virDomainDestroy virDomainIsActive)
$(BUILD)/tests/unit/test-domain-events: ALL_LDFLAGS += $(call wrap,$(host) virConnectDomainEventRegisterAny \
	virConnectDomainEventDeregisterAny virConnectUnregisterCloseCallback pthread_cond_clockwait \
	virConnectDomainQemuMonitorEventRegister virConnectDomainQemuMonitorEventDeregister)
$(BUILD)/tests/unit/test-freeze: ALL_LDFLAGS += $(call wrap,$(host) virDomainFSFreeze virDomainFSThaw \
	virDomainAgentSetResponseTimeout)
$(BUILD)/tests/unit/test-intake: ALL_LDFLAGS += $(call wrap,rpc_request_ack rpc_request_ack_surely rpc_request_requeue \
	rpc_request_is_call rpc_request_free)
$(BUILD)/tests/unit/test-nova-service: ALL_LDFLAGS += $(call wrap,rpc_call)
$(BUILD)/tests/unit/test-service-record: ALL_LDFLAGS += $(call wrap,nova_service_take nova_service_is_disabled \
	nova_service_report nova_service_free)
$(BUILD)/tests/unit/test-recovery-decide: ALL_LDFLAGS += $(call wrap,nova_conductor_instance_refresh image_store_get \
	job_is_cancelled job_is_stopping job_is_out_of_time job_refuse_cancel job_wait job_wait_despite_cancel \
	g_get_monotonic_time)
$(BUILD)/tests/unit/test-recovery-moved: ALL_LDFLAGS += $(call wrap,nova_conductor_instance_refresh \
	journal_step_clear_id journal_step_amend job_wait_despite_cancel)
$(BUILD)/tests/unit/test-direct: ALL_LDFLAGS += $(call wrap,snapshot_copy_direct virt_direct_copy_remove \
	virt_guest_rollback_step image_store_add_location image_store_has_location image_store_get image_store_update \
	abort_monitor_flag abort_monitor_watch_guest)
$(BUILD)/tests/unit/test-task-run: ALL_LDFLAGS += $(call wrap,report_end virt_guest_rollback_step job_is_cancelled \
	job_is_stopping job_is_out_of_time job_holds_key job_wait_despite_cancel g_get_monotonic_time \
	nova_conductor_instance_refresh)
$(BUILD)/tests/unit/test-claim: ALL_LDFLAGS += $(call wrap,report_save_once report_progress \
	rpc_failure_actual_task_state nova_conductor_event_find nova_conductor_instance_save snapshot_want job_is_stopping \
	job_wait_despite_cancel g_get_monotonic_time)
$(BUILD)/tests/unit/test-beside-mode: ALL_LDFLAGS += $(call wrap,rpc_forward_set_mode rpc_forward_get_mode rpc_forward_answer \
	rpc_forward_control_type rpc_forward_control_id beside_is_intercepting)
$(BUILD)/tests/unit/test-beside-progress: ALL_LDFLAGS += $(call wrap,rpc_forward_count_waiting g_get_monotonic_time)
$(BUILD)/tests/unit/test-worker-pool: ALL_LDFLAGS += $(call wrap,thread_start)
$(BUILD)/tests/unit/test-manager: ALL_LDFLAGS += $(call wrap,$(host) worker_pool_free worker_pool_stop leftovers_start \
	rpc_server_start rpc_server_stop rpc_end_calls)
$(BUILD)/tests/unit/test-notifier: ALL_LDFLAGS += $(call wrap,manager_describe rpc_get_health rpc_wait_ready \
	rpc_last_connect_error)
$(BUILD)/tests/unit/test-rate-limit: ALL_LDFLAGS += $(call wrap,g_get_monotonic_time)
$(BUILD)/tests/unit/test-outcome: ALL_LDFLAGS += $(call wrap,job_is_cancelled job_is_stopping)
$(BUILD)/tests/unit/test-leftovers: ALL_LDFLAGS += $(call wrap,virt_guest_rollback_step virt_host_sweep \
	thread_deadline g_get_monotonic_time)
$(BUILD)/tests/unit/test-volume-result: ALL_LDFLAGS += $(call wrap,cinder_snapshot_update \
	virt_volume_snapshot_create job_is_stopping job_is_cancelled job_abort_flag)
$(BUILD)/tests/unit/test-rpc-content: LIBS += -lbrotlienc
$(BUILD)/tests/fuzz/fuzz-envelope: WRAP := $(call wrap,intake_take worker_pool_submit consumer_ack consumer_want publisher_send)
$(BUILD)/tests/fuzz/fuzz-object: WRAP := $(call wrap,rpc_call rpc_notify image_store_get)
$(BUILD)/tests/fuzz/fuzz-domain-xml: WRAP := $(call wrap,virDomainBackupGetXMLDesc)
$(BUILD)/tests/fuzz/fuzz-chain: WRAP := $(call wrap,process_run)
$(BUILD)/tests/fuzz/fuzz-glance $(BUILD)/tests/fuzz/fuzz-keystone: WRAP := $(call wrap,http_request_send image_cancel_sleep)

$(BUILD)/tests/fuzz/fuzz-%: $(BUILD)/tests/fuzz/fuzz-%.o $(BUILD)/tests/fuzz/fuzz.o $(BUILD)/tests/fuzz/answers.o $(LINK)
	@echo "  LINK  $@"
	@$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer $(WRAP) -o $@ $^ $(LIBS)

unit-programs: $(UNIT)
fuzz-programs: $(FUZZ_PROGRAMS)
tools: $(TOOLS)
bench-programs: $(BENCH)

# A clear message in place of a missing header.
check-libraries:
	@command -v pkg-config >/dev/null && pkg-config --exists $(PKGS) || tests/lib/missing.sh library $(LIBRARIES)
	@CC='$(CC)' tests/lib/missing.sh header bzlib.h:libbz2-dev

# What is built before a test: in parallel, also where `make` was called without -j.
JOBS  ?= $(shell nproc)
BUILDER = $(MAKE) --no-print-directory $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(JOBS))

deps: ## Install the packages that are missing for the build, for the unit tests and for running novasnapd (as root).
	@tests/lib/deps.sh build check run

check: ## Run the unit tests; T=FILE runs one test file of any kind, T=FILE:TEST one test of it.
ifdef T
	@BUILD=$(BUILD) tests/lib/check-one.sh '$(T)'
else
	@tests/lib/missing.sh program $(CC):gcc prove:perl qemu-img:qemu-utils qemu-nbd:qemu-utils nbdkit:nbdkit
	@$(BUILDER) unit-programs
	@BUILD=$(BUILD) prove --jobs $(JOBS) --exec tests/lib/one.sh $(UNIT)
endif

test: check-deps ## Run the unit and integration tests, and kill novasnapd at each step of a streamed snapshot.
	@$(BUILDER) all unit-programs tools
	@$(BUILDER) FAULTS=1 all
	tests/faults/check-points.py
	BUILD=$(BUILD) tests/lib/run.sh

print-cflags:
	@echo $(PKG_CFLAGS)

print-version:
	@echo '$(VERSION)'

lint: ## Compile with -Werror, and run the linters (Debian 12's versions are the reference).
	@tests/lib/deps.sh build fuzz lint
	@$(BUILDER) NOVASNAP_BUILD=$(NOVASNAP_BUILD)-lint WERROR=1 all unit-programs tools bench-programs
	@$(BUILDER) NOVASNAP_BUILD=$(NOVASNAP_BUILD)-lint WERROR=1 FUZZING=1 fuzz-programs
	tests/lib/lint.sh

matrix: ## Build and test on Debian 12, 13 and sid, also `make e2e`; CELLS="trixie sid-demo clang" runs only these.
	@tests/lib/deps.sh roots
	@tests/lib/matrix.sh $(CELLS)

matrix-page: ## Write what `make matrix` has recorded for this commit into conf/docs/compatibility.md.
	@tests/lib/matrix.sh --page

e2e: ## Compare novasnapd with nova-compute in a real OpenStack control plane.
	@tests/lib/deps.sh build run test e2e
	@$(BUILDER) all
	BUILD=$(BUILD) tests/lib/run.sh tests/e2e/test-*.py

faults: check-deps ## Put a fault in at each step of each method, then kill novasnapd at KILLS random moments (200).
	@$(BUILDER) FAULTS=1 all
	BUILD=$(BUILD) NOVASNAP_FAULT_RANDOM=$(or $(KILLS),200) NOVASNAP_TEST_JOBS=1 tests/lib/run.sh tests/faults/test-*.py
	cat $(BUILD)-faults/faults.md $(BUILD)-faults/faults-methods.md $(BUILD)-faults/faults-ceph.md

kills: ## Kill nova-compute and novasnapd at the same moments, and compare what each leaves.
	@tests/lib/deps.sh build run test e2e
	@$(BUILDER) all
	BUILD=$(BUILD) tests/e2e/kills.py --random $(or $(KILLS),3)

soak: check-deps ## Take SNAPSHOTS snapshots (1000) of eight guests, with a fault every few seconds.
	@tests/lib/deps.sh bench
	@$(BUILDER) all
	BUILD=$(BUILD) tests/faults/soak.py --snapshots $(or $(SNAPSHOTS),1000) --json $(BUILD)/soak.json \
		--svg $(BUILD)/soak.svg

SCALE_TO ?= conf/docs
scale: ## Run AGENTS agents (1000) against one broker, CLUSTER_AGENTS (200) against three; writes conf/docs/scale.md.
	@tests/lib/deps.sh build run test e2e bench
	@$(BUILDER) all
	BUILD=$(BUILD) tests/scale/scale.py --agents $(or $(AGENTS),1000) --casts $(or $(CASTS),10000) \
		--json $(BUILD)/scale.json
	BUILD=$(BUILD) tests/scale/scale.py --cluster --agents $(or $(CLUSTER_AGENTS),200) --casts $(or $(CASTS),10000) \
		--json $(BUILD)/scale-cluster.json
	BUILD=$(BUILD) tests/scale/host.py --json $(BUILD)/scale-host.json
	tests/scale/report.py $(BUILD)/scale.json --cluster $(BUILD)/scale-cluster.json --host $(BUILD)/scale-host.json \
		--svg $(SCALE_TO)/scale.svg --page $(SCALE_TO)/scale.md

# Its page and plot stay in the build folder.
check-scale: ## Run `make scale` with a few agents.
	mkdir -p $(BUILD)/scale && cp conf/docs/scale.md $(BUILD)/scale
	$(MAKE) --no-print-directory scale AGENTS=20 CLUSTER_AGENTS=6 CASTS=200 SCALE_TO=$(BUILD)/scale

fuzz: ## Fuzz what comes from outside, each target for SECONDS (60); FUZZ=NAME picks one of tests/fuzz/fuzz-*.c.
	@tests/lib/deps.sh build fuzz
	@$(BUILDER) FUZZING=1 fuzz-programs
	@BUILD=$(BUILD)-fuzz SECONDS_EACH=$(or $(SECONDS),60) FUZZ=$(FUZZ) tests/fuzz/run.sh

test-container: check-deps ## Run the tests that need only a broker against a RabbitMQ in a container.
	@tests/lib/deps.sh container
	@$(BUILDER) all tools
	BUILD=$(BUILD) /usr/bin/python3 tests/container/rabbitmq.py

check-address: ## Run `make test` with AddressSanitizer and UndefinedBehaviorSanitizer.
	@$(MAKE) --no-print-directory SANITIZE=address,undefined test

THREAD_TESTS := $(patsubst %,tests/integration/test-%.py,beside beside-claim beside-command beside-forwarding \
                  beside-races rpc conductor stream snapshot recovery \
                  recovery-superseded)
check-thread: check-deps ## Run the unit tests and some integration tests with ThreadSanitizer.
	@$(BUILDER) SANITIZE=thread all tools unit-programs
	BUILD=$(BUILD)-thread tests/lib/run.sh $(THREAD_TESTS) $(UNIT:$(BUILD)/%=$(BUILD)-thread/%)

check-valgrind: ## Run the unit tests in valgrind, which finds uninitialised values and lost memory.
	@tests/lib/deps.sh build run test valgrind
	@NOVASNAP_UNIT_UNDER="valgrind --quiet --fair-sched=yes --child-silent-after-fork=yes --error-exitcode=99 \
		--suppressions=tests/lib/valgrind.supp --leak-check=full --show-leak-kinds=definite \
		--errors-for-leak-kinds=definite" \
		NOVASNAP_UNIT_TIMEOUT=1200 NOVASNAP_LAYOUTS=5 $(MAKE) --no-print-directory check

check-layouts: ## Check the encoders with a thousand random layouts of a disk.
	@$(BUILDER) unit-programs
	@BUILD=$(BUILD) NOVASNAP_LAYOUTS=1000 tests/lib/run.sh $(BUILD)/tests/unit/test-encoders

check-all: ## Run everything that must pass before a release; parts that have passed for this commit are not repeated.
	@tests/lib/check-all.sh $(PARTS)

demo: ## Show a snapshot of a small guest with a private RabbitMQ and Glance (IMAGES=directory: without Glance).
	@tests/lib/deps.sh build run$(if $(filter directory,$(IMAGES)),-directory)
	@$(BUILDER) all
	@BUILD=$(BUILD) IMAGES=$(or $(IMAGES),glance) ACCEL=$(or $(ACCEL),tcg) /usr/bin/python3 tests/demo/demo.py

# Of a tree without a tag, the commit that was measured.
BENCH_VERSION ?= $(VERSION)$(if $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null),,$(addprefix \
                 +g,$(shell git rev-parse --short HEAD 2>/dev/null)))
bench: ## Measure novasnapd beside nova-compute, on a machine that does nothing else; writes conf/docs/performance.md.
	@tests/lib/deps.sh build run test e2e bench
	@$(BUILDER) all bench-programs
	BUILD=$(BUILD) /usr/bin/python3 tests/bench/bench.py --json $(BUILD)/bench.json
	tests/bench/report.py $(BUILD)/bench.json --svg conf/docs/bench.svg --page conf/docs/performance.md \
		--version '$(BENCH_VERSION)' --results tests/bench/results
	tests/bench/versions.py tests/bench/results --svg conf/docs/bench-versions.svg

# With fault points, since most of the recovery runs after a kill at one of them. COVERAGE_TESTS= runs only the unit
# tests, in a minute.
COVERED        := $(BUILD)-coverage-faults
COVERAGE_TESTS ?= $(filter-out %/test-unprivileged.py,$(wildcard tests/integration/test-*.py tests/faults/test-*.py))
coverage: ## Count the lines that the unit, integration and fault tests run, and name those that never run.
	@tests/lib/deps.sh build run test coverage
	@$(BUILDER) COVERAGE=1 FAULTS=1 all tools unit-programs
	find $(COVERED) -name '*.gcda' -delete
	-BUILD=$(COVERED) NOVASNAP_TEST_TIMEOUT=3000 \
		tests/lib/run.sh $(COVERAGE_TESTS) $(UNIT:$(BUILD)/%=$(COVERED)/%)
	gcovr --exclude-unreachable-branches $(ROOMS:%=--filter %/) --object-directory $(COVERED) \
		--output $(COVERED)/coverage.txt $(COVERED)
	cat $(COVERED)/coverage.txt

check-deps:
	@tests/lib/deps.sh build run test

format: ## Format the C code with clang-format 14.
	@tests/lib/lint.sh format

PREFIX      ?= /usr
SYSCONFDIR  ?= /etc
UNITDIR     ?= $(PREFIX)/lib/systemd/system
prefix      ?= $(PREFIX)
bindir      ?= $(prefix)/bin
docdir      ?= $(prefix)/share/doc/novasnap
sysconfdir  ?= $(SYSCONFDIR)
unitdir     ?= $(UNITDIR)
tmpfilesdir ?= $(prefix)/lib/tmpfiles.d
sysusersdir ?= $(prefix)/lib/sysusers.d
mandir      ?= $(prefix)/share/man
# zsh's own folder for functions of other packages. Debian's differs.
bashcompdir ?= $(prefix)/share/bash-completion/completions
zshcompdir  ?= $(prefix)/share/zsh/site-functions
DOCUMENTS   := $(wildcard README.md CHANGELOG.md COPYING conf/docs/*.md conf/docs/*.svg) conf/novasnap.conf \
               conf/apparmor-libvirt-qemu
UNITS       := $(wildcard conf/*.service conf/*.timer)
EXAMPLES    := $(wildcard conf/casts/*.json) conf/novasnapd-exclusive.conf conf/prometheus/novasnap.rules.yml \
               conf/grafana/novasnap.json $(wildcard conf/selinux/novasnap.*)
# The group of QEMU's user. Distributions other than Debian name it qemu.
QEMU_GROUP  ?= libvirt-qemu
SAMPLE      := $(sysconfdir)/novasnap/novasnap.conf

install: all ## Install the programs, the sample configuration, the systemd files, manual pages and documents (DESTDIR, PREFIX).
	install -d $(addprefix $(DESTDIR),$(bindir) $(docdir)/examples $(sysconfdir)/novasnap $(sysconfdir)/logrotate.d \
		$(unitdir) $(tmpfilesdir) $(sysusersdir))
	install -m 755 $(PROGS) $(DESTDIR)$(bindir)/
	for page in $(PAGES); do \
		install -D -m 644 $(BUILD)/man/$$page $(DESTDIR)$(mandir)/man$${page##*.}/$$page && \
		sed -i 's,/usr/share/doc/novasnap,$(docdir),' $(DESTDIR)$(mandir)/man$${page##*.}/$$page || exit 1; \
	done
	install -D -m 644 conf/completion/novasnap.bash $(DESTDIR)$(bashcompdir)/novasnap
	install -D -m 644 conf/completion/_novasnap $(DESTDIR)$(zshcompdir)/_novasnap
	install -m 644 $(DOCUMENTS) $(DESTDIR)$(docdir)/
	install -m 644 $(EXAMPLES) $(DESTDIR)$(docdir)/examples/
	# There the pages are in one folder, without HACKING.md.
	sed -i 's,](conf/docs/,](,g; s,](\.\./\.\./,](,g; s,\[\(HACKING.md\)\]([^)]*),\1,g' \
		$(addprefix $(DESTDIR)$(docdir)/,$(notdir $(filter %.md,$(DOCUMENTS))))
	install -m 644 $(UNITS) $(DESTDIR)$(unitdir)/
	sed -i 's,/usr/bin/novasnap,$(bindir)/novasnap,; s,/usr/share/doc/novasnap,$(docdir),' \
		$(addprefix $(DESTDIR)$(unitdir)/,$(notdir $(UNITS)))
	install -m 644 conf/novasnap.tmpfiles $(DESTDIR)$(tmpfilesdir)/novasnap.conf
	install -m 644 conf/novasnap.sysusers $(DESTDIR)$(sysusersdir)/novasnap.conf
	sed -i 's,libvirt-qemu,$(QEMU_GROUP),' $(addprefix $(DESTDIR),$(tmpfilesdir)/novasnap.conf $(sysusersdir)/novasnap.conf \
		$(addprefix $(unitdir)/,$(notdir $(UNITS))))
	install -m 644 conf/novasnap.logrotate $(DESTDIR)$(sysconfdir)/logrotate.d/novasnap
	@if [ -e $(DESTDIR)$(SAMPLE) ]; then \
		echo "$(DESTDIR)$(SAMPLE) exists and is kept; the sample is in $(DESTDIR)$(docdir)"; \
	else \
		install -m 644 conf/novasnap.conf $(DESTDIR)$(SAMPLE); \
	fi

uninstall: ## Remove what `make install` has installed, but not a changed /etc/novasnap/novasnap.conf.
	rm -f $(addprefix $(DESTDIR)$(bindir)/,$(notdir $(MAIN_PROGS)) $(RBD)) \
		$(addprefix $(DESTDIR)$(unitdir)/,$(notdir $(UNITS))) \
		$(DESTDIR)$(tmpfilesdir)/novasnap.conf $(DESTDIR)$(sysusersdir)/novasnap.conf \
		$(foreach p,$(PAGES),$(DESTDIR)$(mandir)/man$(patsubst .%,%,$(suffix $(p)))/$(p)) \
		$(DESTDIR)$(bashcompdir)/novasnap $(DESTDIR)$(zshcompdir)/_novasnap \
		$(DESTDIR)$(sysconfdir)/logrotate.d/novasnap \
		$(addprefix $(DESTDIR)$(docdir)/,$(notdir $(DOCUMENTS))) \
		$(addprefix $(DESTDIR)$(docdir)/examples/,$(notdir $(EXAMPLES)))
	if cmp -s conf/novasnap.conf $(DESTDIR)$(SAMPLE); then rm $(DESTDIR)$(SAMPLE); fi
	-rmdir --ignore-fail-on-non-empty $(addprefix $(DESTDIR),$(docdir)/examples $(docdir) $(sysconfdir)/novasnap)

# What a package is built of: this tree without the tests, and without git's folder, so that RELEASE is its version.
define source_tree
	rm -rf $(1)
	mkdir -p $(1)/tests/lib
	cp -R Makefile README.md CHANGELOG.md COPYING conf $(ROOMS) $(1)/
	cp tests/lib/missing.sh $(1)/tests/lib/
	sed -i 's/^RELEASE := .*/RELEASE := $(VERSION)/' $(1)/Makefile
endef

# dpkg-buildpackage wants the folder debian at the top, so it gets a copy of the tree. DEB_REVISION=+1 is appended to the
# version.
DEB_VERSION := $(VERSION)$(DEB_REVISION)
DEB_TREE    := $(NOVASNAP_BUILD)/deb/novasnap-$(DEB_VERSION)
DEB_DATE     = $(shell date -R -d @$(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),0))
deb: ## Build the Debian package, in build/deb (of the release that this is run on).
	@tests/lib/deps.sh build deb
	$(call source_tree,$(DEB_TREE))
	mv $(DEB_TREE)/conf/debian $(DEB_TREE)/debian
	printf '%s\n' 'novasnap ($(DEB_VERSION)) unstable; urgency=medium' '' '  * See CHANGELOG.md.' '' \
		' -- $(shell sed -n 's/^Maintainer: //p' conf/debian/control)  $(DEB_DATE)' >$(DEB_TREE)/debian/changelog
	cd $(DEB_TREE) && env -u MAKEFLAGS -u MAKELEVEL -u NOVASNAP_BUILD dpkg-buildpackage -b -us -uc

RPM_TREE := $(NOVASNAP_BUILD)/rpm/SOURCES/novasnap-$(VERSION)
rpm: ## Build the RPM package, in build/rpm/RPMS, with the libraries of this machine.
	@tests/lib/deps.sh build rpm
	$(call source_tree,$(RPM_TREE))
	mkdir -p $(NOVASNAP_BUILD)/rpm/SPECS
	tar -C $(dir $(RPM_TREE)) -czf $(RPM_TREE).tar.gz $(notdir $(RPM_TREE))
	sed 's/@VERSION@/$(VERSION)/' conf/rpm/novasnap.spec >$(NOVASNAP_BUILD)/rpm/SPECS/novasnap.spec
	env -u MAKEFLAGS -u MAKELEVEL -u NOVASNAP_BUILD rpmbuild -bb --nodeps \
		--define '_topdir $(abspath $(NOVASNAP_BUILD))/rpm' --define 'debug_package %{nil}' \
		$(NOVASNAP_BUILD)/rpm/SPECS/novasnap.spec

# A tag has neither a tilde nor a plus.
IMAGE        ?= novasnap:$(subst ~,-,$(subst +,-,$(VERSION)))
IMAGE_BUILD  ?= buildah build --isolation chroot --network host
IMAGE_FOLDER := $(NOVASNAP_BUILD)/image
image: ## Build a container image on BASE=IMAGE of this machine's Debian release (IMAGE=, DEB=, IMAGE_BUILD="docker build").
	@[ -n '$(BASE)' ] || { echo 'Name the image to build on: make image BASE=debian:bookworm' >&2; exit 2; }
	@tests/lib/deps.sh $(if $(findstring buildah,$(IMAGE_BUILD)),image)
	@$(if $(DEB),,$(MAKE) --no-print-directory deb)
	mkdir -p $(IMAGE_FOLDER)
	cp $(or $(DEB),$(NOVASNAP_BUILD)/deb/novasnap_$(DEB_VERSION)_*.deb) $(IMAGE_FOLDER)/novasnap.deb
	cp conf/Containerfile conf/container/novasnap-container $(IMAGE_FOLDER)/
	$(IMAGE_BUILD) --build-arg BASE=$(BASE) $(IMAGE_ARGS) --file $(IMAGE_FOLDER)/Containerfile --tag $(IMAGE) $(IMAGE_FOLDER)

check-package: ## Test the version, `make install`, packages, image and Ansible role, and the package on Debian 12, 13 and sid (RELEASES=).
	@tests/lib/deps.sh build run test deb roots policy rpm image ansible
	@$(BUILDER) all
	tests/package/test-install.sh
	tests/package/test-policy.sh
	tests/package/test-version.sh
	tests/package/test-rpm.sh
	@$(MAKE) --no-print-directory deb
	tests/package/test-upgrade.py
	tests/package/test-image.sh
	tests/package/test-ansible.py
	ansible-lint --offline --strict -p conf/ansible
	tests/package/test-package.sh $(or $(RELEASES),bookworm trixie sid)

clean: ## Remove all that was built.
	rm -rf $(NOVASNAP_BUILD) $(NOVASNAP_BUILD)-*

help: ## List the targets.
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/\1@\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS=@ read -r target text; do printf '%-16s %s\n' "$$target" "$$text"; done

-include $(OBJ:.o=.d) $(RBD_OBJ:.o=.d) $(wildcard $(BUILD)/agent/*.d $(BUILD)/tests/*/*.d $(BUILD)/conf/man/*.d)

.PHONY: all no-rbd deps check test lint matrix matrix-page e2e faults kills soak fuzz test-container check-address check-thread \
        check-valgrind check-layouts check-package check-scale check-all deb rpm image demo bench coverage check-deps check-libraries print-cflags print-version always \
        format install uninstall clean help scale unit-programs tools bench-programs fuzz-programs
.SECONDARY:
