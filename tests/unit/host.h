/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A host on libvirt's test driver, with libvirt errors and a clock of the test's choice. For
 * programs that are linked with -Wl,--wrap for the functions below (`host` in the Makefile).
 */
#ifndef NOVASNAP_TESTS_UNIT_HOST_H
#define NOVASNAP_TESTS_UNIT_HOST_H

#include <cjson/cJSON.h>
#include <glib/gstdio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "virt/libvirt/connection.h"

#define HOST_URI "test:///default"
#define HOST_UUID "6695eb01-f6a4-8304-79aa-97f2502e193f" /* of the driver's one guest */

/* What libvirt gives as its last error; code 0: its own. */
static virError host_error;
/* How far the clock is ahead. Sleeping puts it forward instead of taking time. */
static atomic_llong host_clock_us;
static atomic_uint host_sleep_count;
/* Sleeping takes its time: the test waits for another process. */
static atomic_bool host_real_sleep;
/* Connections that were opened, and how many of the next ones are refused. */
static atomic_uint host_connects, host_refused_connects;
/* The connections that are open look broken, until another is opened. */
static atomic_bool host_is_broken;

/* From now on libvirt cannot be reached: no question is answered. */
static inline void host_lose_libvirt(void)
{
	host_is_broken = true;
	host_refused_connects = UINT_MAX;
}

static inline void host_find_libvirt(void)
{
	host_refused_connects = 0;
}

/* Makes the call fail with that code of libvirt: for use in a wrapper that returns an int. */
static inline int host_fail(int code)
{
	virResetLastError();
	host_error = (virError){.code = code, .message = (char *)"made up"};
	return -1;
}

/* As virCheckFlags of libvirt fails for a flag that it does not know. */
static inline int host_fail_unknown_flag(void)
{
	(void)host_fail(VIR_ERR_INVALID_ARG);
	host_error.str2 = (char *)"flags";
	return -1;
}

__typeof__(g_get_monotonic_time) __real_g_get_monotonic_time, __wrap_g_get_monotonic_time;
__typeof__(g_usleep) __real_g_usleep, __wrap_g_usleep;
__typeof__(virGetLastError) __real_virGetLastError, __wrap_virGetLastError;
__typeof__(virGetLastErrorCode) __real_virGetLastErrorCode, __wrap_virGetLastErrorCode;
__typeof__(virConnectOpen) __real_virConnectOpen, __wrap_virConnectOpen;
__typeof__(virConnectIsAlive) __real_virConnectIsAlive, __wrap_virConnectIsAlive;

gint64 __wrap_g_get_monotonic_time(void)
{
	return __real_g_get_monotonic_time() + host_clock_us;
}

void __wrap_g_usleep(gulong us)
{
	host_sleep_count++;
	if (host_real_sleep)
		__real_g_usleep(us);
	else
		host_clock_us += (long long)us;
}

/* An error of libvirt's own is newer: host_fail resets it. */
virErrorPtr __wrap_virGetLastError(void)
{
	return host_error.code && __real_virGetLastErrorCode() == VIR_ERR_OK
		       ? &host_error
		       : __real_virGetLastError();
}

int __wrap_virGetLastErrorCode(void)
{
	int code = __real_virGetLastErrorCode();

	return code == VIR_ERR_OK ? host_error.code : code;
}

virConnectPtr __wrap_virConnectOpen(const char *uri)
{
	memset(&host_error, 0, sizeof(host_error));
	if (host_refused_connects > 0) {
		host_refused_connects--;
		(void)host_fail(VIR_ERR_NO_CONNECT);
		return NULL;
	}
	host_connects++;
	host_is_broken = false;
	return __real_virConnectOpen(uri);
}

int __wrap_virConnectIsAlive(virConnectPtr connection)
{
	return host_is_broken ? 0 : __real_virConnectIsAlive(connection);
}

#ifndef HOST_HAS_CLOSE_CALLBACK
/* The test driver does not support it, but takes a callback without ever freeing it. */
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
	virConnectPtr connection; /* the driver's guests live as long as it is open */
	virDomainPtr domain;
	char *tmp; /* a folder, which must be empty at the end */
};

static inline void host_open(struct host *host)
{
	static bool was_opened;
	g_autoptr(GError) error = NULL;

	/* The test driver has no socket: calls have no limit, which is logged once. */
	if (!was_opened)
		g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*calls have no time limit");
	was_opened = true;
	memset(&host_error, 0, sizeof(host_error));
	host_clock_us = 0;
	host_real_sleep = false;
	host_refused_connects = 0;
	host_is_broken = false;
	host->tmp = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	host->config = (struct virt_config){.connection_uri = HOST_URI,
					    .live_method = "stream",
					    .cold_method = "stream",
					    .snapshots_directory = host->tmp,
					    .run_dir = host->tmp,
					    .job_timeout_s = 60,
					    .connect_timeout_s = 60, /* also on a busy machine */
					    .call_timeout_s = 60,
					    .save_timeout_s = 60,
					    .agent_timeout_s = 5};
	host->virt = virt_host_open(&host->config, &error);
	g_assert_no_error(error);
	host->connection = __real_virConnectOpen(HOST_URI);
	host->domain = virDomainLookupByUUIDString(host->connection, HOST_UUID);
	g_assert_nonnull(host->domain);
	host_connects = 0;
	host_sleep_count = 0;
}

static inline void host_close(struct host *host)
{
	memset(&host_error, 0, sizeof(host_error));
	host_is_broken = false;
	host_refused_connects = 0;
	if (host->domain)
		(void)virDomainFree(host->domain);
	(void)virConnectClose(host->connection);
	virt_host_close(host->virt);
	g_assert_cmpint(g_rmdir(host->tmp), ==, 0);
	g_free(host->tmp);
}

/* For struct snapshot_steps. `opaque` is a GString, to which each step adds a word: "save" when it
 * begins, "-save" when it is cleared. */
static inline int host_step_begin(void *opaque, const char *step, const char *undo, GError **error)
{
	(void)undo;
	(void)error;
	g_string_append_printf(opaque, "%s ", step);
	return 0;
}

static inline int host_step_end(void *opaque, const char *step, GError **error)
{
	(void)opaque;
	(void)step;
	(void)error;
	return 0;
}

static inline void host_step_clear(void *opaque, const char *step)
{
	g_string_append_printf(opaque, "-%s ", step);
}

/* The guest's state, as libvirt reports it. */
static inline int host_state(const struct host *host)
{
	int state = -1, reason;

	g_assert_cmpint(virDomainGetState(host->domain, &state, &reason, 0), ==, 0);
	return state;
}

static inline void host_assert_message(const GError *error, const char *words)
{
	g_assert_nonnull(error);
	if (!strstr(error->message, words))
		g_error("the error is \"%s\", without \"%s\"", error->message, words);
}

#endif
