/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A host with libvirt's test driver, and failures of it that are made up: for programs that are
 * linked with -Wl,--wrap for virGetLastError, virGetLastErrorCode, g_get_monotonic_time and
 * g_usleep.
 */
#ifndef NOVASNAP_TESTS_UNIT_HOST_H
#define NOVASNAP_TESTS_UNIT_HOST_H

#include <cjson/cJSON.h>
#include <glib/gstdio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "virt/internal.h"

#define HOST_URI "test:///default"
#define HOST_UUID "6695eb01-f6a4-8304-79aa-97f2502e193f" /* of its one guest */

/* libvirt's last error; code 0: what it says itself. */
static virError host_error;
/* The clock stands but for naps, of which nobody waits for one. */
static atomic_llong host_passed;
static atomic_uint host_naps;
/* But where others are waited for. */
static atomic_bool host_sleeps;

static inline int host_fail(int code)
{
	host_error = (virError){.code = code, .message = (char *)"made up"};
	return -1;
}

__typeof__(g_get_monotonic_time) __real_g_get_monotonic_time, __wrap_g_get_monotonic_time;
__typeof__(g_usleep) __real_g_usleep, __wrap_g_usleep;
__typeof__(virGetLastError) __real_virGetLastError, __wrap_virGetLastError;
__typeof__(virGetLastErrorCode) __real_virGetLastErrorCode, __wrap_virGetLastErrorCode;

gint64 __wrap_g_get_monotonic_time(void)
{
	return __real_g_get_monotonic_time() + host_passed;
}

void __wrap_g_usleep(gulong us)
{
	host_naps++;
	if (host_sleeps)
		__real_g_usleep(us);
	else
		host_passed += (long long)us;
}

virErrorPtr __wrap_virGetLastError(void)
{
	return host_error.code ? &host_error : __real_virGetLastError();
}

int __wrap_virGetLastErrorCode(void)
{
	return host_error.code ? host_error.code : __real_virGetLastErrorCode();
}

#ifndef HOST_TELLS_OF_CLOSING
/* The test driver knows no such callback, and takes one without ever letting it go. */
__typeof__(virConnectRegisterCloseCallback) __wrap_virConnectRegisterCloseCallback;

int __wrap_virConnectRegisterCloseCallback(virConnectPtr connection, virConnectCloseFunc callback,
					   void *opaque, virFreeCallback free_opaque)
{
	(void)connection;
	(void)callback;
	(void)opaque;
	(void)free_opaque;
	return -1;
}
#endif

struct host {
	struct virt_config config;
	struct virt_host *virt;
	virConnectPtr connection; /* what there is lives as long as it */
	virDomainPtr domain;
	char *tmp; /* a folder, to be empty at the end */
};

static inline void host_open(struct host *host)
{
	static bool before;
	g_autoptr(GError) error = NULL;

	/* The test driver is no socket: calls have no limit, which is told once. */
	if (!before)
		g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*calls have no limit");
	before = true;
	memset(&host_error, 0, sizeof(host_error));
	host_passed = 0;
	host_naps = 0;
	host->tmp = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	host->config = (struct virt_config){.connection_uri = HOST_URI,
					    .live_method = "stream",
					    .cold_method = "stream",
					    .snapshots_directory = host->tmp,
					    .run_dir = host->tmp,
					    .job_timeout_s = 60,
					    .connect_timeout_s = 5,
					    .call_timeout_s = 60,
					    .save_timeout_s = 60,
					    .agent_timeout_s = 5};
	host->virt = virt_host_open(&host->config, &error);
	g_assert_no_error(error);
	host->connection = virConnectOpen(HOST_URI);
	host->domain = virDomainLookupByUUIDString(host->connection, HOST_UUID);
	g_assert_nonnull(host->domain);
}

static inline void host_close(struct host *host)
{
	memset(&host_error, 0, sizeof(host_error));
	if (host->domain)
		(void)virDomainFree(host->domain);
	(void)virConnectClose(host->connection);
	virt_host_close(host->virt);
	g_assert_cmpint(g_rmdir(host->tmp), ==, 0);
	g_free(host->tmp);
}

/* Steps of a snapshot, for struct snapshot_steps: `opaque` is a GString that takes them as words,
 * one that is over with a "-". */
static inline int host_step_begins(void *opaque, const char *step, const char *undo, GError **error)
{
	(void)undo;
	(void)error;
	g_string_append_printf(opaque, "%s ", step);
	return 0;
}

static inline void host_step_is_over(void *opaque, const char *step)
{
	g_string_append_printf(opaque, "-%s ", step);
}

/* Of the guest, as libvirt tells it. */
static inline int host_state(const struct host *host)
{
	int state, reason;

	g_assert_cmpint(virDomainGetState(host->domain, &state, &reason, 0), ==, 0);
	return state;
}

#endif
