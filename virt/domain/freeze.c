/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frozen filesystems, which must never stay so: before they are frozen a process of its own
 * (novasnap-thaw) is started, that thaws them when we die or the time is over.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virt/internal.h"

#define READY_TIMEOUT_MS 15000
#define END_TIMEOUT_US (5 * G_USEC_PER_SEC)
#define DONE "done\n"

struct freeze {
	struct frozen_table *table;
	virDomainPtr domain;
	GPid pid; /* of the watchdog */
	int to;	  /* its standard input */
	int from; /* its standard output */
};

struct frozen_table {
	pthread_mutex_t lock;
	/* Guarded by the lock. */
	GHashTable *guests; /* uuid -> struct freeze */
	GArray *strays;	    /* GPid: watchdogs that go on alone */
};

/* Waits for those that have ended meanwhile. */
static void reap_strays(struct frozen_table *table)
{
	pthread_mutex_lock(&table->lock);
	for (guint i = table->strays->len; i > 0; i--) {
		if (waitpid(g_array_index(table->strays, GPid, i - 1), NULL, WNOHANG) != 0)
			g_array_remove_index_fast(table->strays, i - 1);
	}
	pthread_mutex_unlock(&table->lock);
}

static void add_stray(struct frozen_table *table, GPid pid)
{
	pthread_mutex_lock(&table->lock);
	g_array_append_val(table->strays, pid);
	pthread_mutex_unlock(&table->lock);
}

/* In the child: signals that are meant for us must not end it. */
static void leave_group(gpointer opaque)
{
	(void)opaque;
	(void)setsid();
}

/* A line that the watchdog said within the time, or an empty text. */
static void hear(const struct freeze *freeze, int timeout_ms, char *line, size_t size)
{
	struct pollfd fd = {.fd = freeze->from, .events = POLLIN};
	ssize_t got = 0;

	if (poll(&fd, 1, timeout_ms) > 0)
		got = read(freeze->from, line, size - 1);
	line[MAX(got, 0)] = '\0';
}

static void reap(struct freeze *freeze)
{
	gint64 deadline = g_get_monotonic_time() + END_TIMEOUT_US;
	pid_t got;

	while ((got = waitpid(freeze->pid, NULL, WNOHANG)) == 0 &&
	       g_get_monotonic_time() < deadline)
		g_usleep(G_USEC_PER_SEC / 100);
	if (got != 0)
		return;
	(void)kill(freeze->pid, SIGKILL);
	while (waitpid(freeze->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* With `done` its work is over; without, it goes on alone until the guest is thawed, and is waited
 * for later. */
static void let_go(struct freeze *freeze, bool done)
{
	if (done && write(freeze->to, DONE, strlen(DONE)) < 0)
		g_info("the watchdog of a freeze is gone: %s", g_strerror(errno));
	(void)close(freeze->to);
	if (done)
		reap(freeze);
	else
		add_stray(freeze->table, freeze->pid);
	(void)close(freeze->from);
	(void)virDomainFree(freeze->domain);
	g_free(freeze);
}

static struct freeze *start_watchdog(struct virt_host *host, virDomainPtr domain, unsigned limit_s,
				     GError **error)
{
	const struct virt_config *config = host_config(host);
	char uuid[VIR_UUID_STRING_BUFLEN] = "";
	g_autofree char *limit = g_strdup_printf("%u", limit_s);
	g_autoptr(GError) local = NULL;
	struct freeze *freeze = g_new0(struct freeze, 1);
	char line[16];
	char *argv[] = {(char *)config->thaw_program, (char *)config->connection_uri, uuid, limit,
			NULL};

	reap_strays(host_frozen(host));
	freeze->table = host_frozen(host);
	(void)virDomainGetUUIDString(domain, uuid);
	if (!g_spawn_async_with_pipes(
		    NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_CLOEXEC_PIPES,
		    leave_group, NULL, &freeze->pid, &freeze->to, &freeze->from, NULL, &local)) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_FREEZE,
			    "the process that thaws in our stead cannot be started, so nothing is "
			    "frozen: %s",
			    local->message);
		g_free(freeze);
		return NULL;
	}
	(void)virDomainRef(domain);
	freeze->domain = domain;
	hear(freeze, READY_TIMEOUT_MS, line, sizeof(line));
	if (g_str_has_prefix(line, "ready"))
		return freeze;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FREEZE,
		    "the process that thaws in our stead (%s) was not ready in %d s, so nothing is "
		    "frozen",
		    config->thaw_program, READY_TIMEOUT_MS / 1000);
	let_go(freeze, true);
	return NULL;
}

struct freeze *freeze_begin(struct virt_host *host, virDomainPtr domain, unsigned limit_s,
			    GError **error)
{
	const struct virt_config *config = host_config(host);
	struct freeze *freeze = start_watchdog(host, domain, limit_s, error);

	if (!freeze)
		return NULL;
	(void)virDomainAgentSetResponseTimeout(domain, (int)config->agent_timeout_s, 0);
	if (virDomainFSFreeze(domain, NULL, 0, 0) >= 0)
		return freeze;
	virt_set_error(error, "freezing the guest's filesystems");
	if (error && *error)
		(*error)->code = VIRT_ERROR_FREEZE;
	/* Some may be frozen all the same: the answer alone may be late. */
	if (virDomainFSThaw(domain, NULL, 0, 0) < 0) {
		bool silent = virGetLastErrorCode() == VIR_ERR_AGENT_UNRESPONSIVE;

		g_info("thawing after a freeze that failed: %s", virGetLastErrorMessage());
		let_go(freeze, !silent && virConnectIsAlive(virDomainGetConnect(domain)) == 1);
	} else {
		let_go(freeze, true);
	}
	return NULL;
}

int freeze_end(struct freeze *freeze, GError **error)
{
	char line[16];
	bool early, failed;

	hear(freeze, 0, line, sizeof(line));
	early = g_str_has_prefix(line, "thawed");
	failed = virDomainFSThaw(freeze->domain, NULL, 0, 0) < 0;
	if (failed && !early) {
		virt_set_error(error, "thawing the guest's filesystems, which is tried again");
		if (error && *error)
			(*error)->code = VIRT_ERROR_FREEZE;
	} else if (early) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FREEZE,
				    "the guest's filesystems were thawed before, for the time that "
				    "they may be frozen was over");
	}
	let_go(freeze, !failed || early);
	return failed || early ? -1 : 0;
}

struct frozen_table *frozen_table_new(void)
{
	struct frozen_table *table = g_new0(struct frozen_table, 1);

	pthread_mutex_init(&table->lock, NULL);
	table->guests = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	table->strays = g_array_new(FALSE, FALSE, sizeof(GPid));
	return table;
}

void frozen_table_free(struct frozen_table *table)
{
	GHashTableIter iter;
	gpointer uuid, freeze;

	g_hash_table_iter_init(&iter, table->guests);
	while (g_hash_table_iter_next(&iter, &uuid, &freeze)) {
		g_autoptr(GError) error = NULL;

		g_message("guest %s: was left frozen, and is thawed", (char *)uuid);
		if (freeze_end(freeze, &error) < 0)
			g_warning("guest %s: %s", (char *)uuid, error->message);
	}
	reap_strays(table);
	g_hash_table_unref(table->guests);
	g_array_unref(table->strays);
	pthread_mutex_destroy(&table->lock);
	g_free(table);
}

static virDomainPtr find(struct virt_host *host, const char *uuid, virConnectPtr *ret_connection,
			 GError **error)
{
	*ret_connection = host_connect(host, error);
	return *ret_connection ? host_find_domain(*ret_connection, uuid, error) : NULL;
}

static bool is_frozen(struct frozen_table *table, const char *uuid)
{
	bool frozen;

	pthread_mutex_lock(&table->lock);
	frozen = g_hash_table_contains(table->guests, uuid);
	pthread_mutex_unlock(&table->lock);
	return frozen;
}

/* NULL where the guest is not frozen by us. */
static struct freeze *take_frozen(struct frozen_table *table, const char *uuid)
{
	gpointer key, freeze = NULL;

	pthread_mutex_lock(&table->lock);
	if (g_hash_table_steal_extended(table->guests, uuid, &key, &freeze))
		g_free(key);
	pthread_mutex_unlock(&table->lock);
	return freeze;
}

static int freeze_domain(struct virt_host *host, virDomainPtr domain, const char *uuid,
			 unsigned limit_s, GError **error)
{
	struct frozen_table *table = host_frozen(host);
	struct freeze *freeze;
	int state, reason;

	if (virDomainGetState(domain, &state, &reason, 0) < 0) {
		virt_set_error(error, "asking for the guest's state");
		return -1;
	}
	if (state != VIR_DOMAIN_RUNNING) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FREEZE,
				    "the guest does not run: its agent cannot answer");
		return -1;
	}
	freeze = freeze_begin(host, domain, limit_s, error);
	if (!freeze)
		return -1;
	pthread_mutex_lock(&table->lock);
	g_hash_table_insert(table->guests, g_strdup(uuid), freeze);
	pthread_mutex_unlock(&table->lock);
	return 0;
}

int virt_guest_freeze(struct virt_host *host, const char *uuid, unsigned limit_s, GError **error)
{
	virConnectPtr connection = NULL;
	virDomainPtr domain = NULL;
	int rc = -1;

	if (is_frozen(host_frozen(host), uuid))
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FREEZE,
				    "the guest's filesystems are frozen already");
	else
		domain = find(host, uuid, &connection, error);
	if (domain) {
		rc = freeze_domain(host, domain, uuid, limit_s, error);
		(void)virDomainFree(domain);
	}
	if (connection)
		(void)virConnectClose(connection);
	return rc;
}

static int thaw_domain(struct virt_host *host, virDomainPtr domain, GError **error)
{
	(void)virDomainAgentSetResponseTimeout(domain, (int)host_config(host)->agent_timeout_s, 0);
	if (virDomainFSThaw(domain, NULL, 0, 0) >= 0)
		return 0;
	virt_set_error(error, "thawing the guest's filesystems");
	if (error && *error)
		(*error)->code = VIRT_ERROR_FREEZE;
	return -1;
}

int virt_guest_thaw(struct virt_host *host, const char *uuid, GError **error)
{
	struct freeze *freeze = take_frozen(host_frozen(host), uuid);
	virConnectPtr connection = NULL;
	virDomainPtr domain;
	int rc = -1;

	if (freeze)
		return freeze_end(freeze, error);
	domain = find(host, uuid, &connection, error);
	if (domain) {
		rc = thaw_domain(host, domain, error);
		(void)virDomainFree(domain);
	}
	if (connection)
		(void)virConnectClose(connection);
	return rc;
}

int freeze_take_back(struct virt_host *host, virDomainPtr domain, const char *uuid, GError **error)
{
	return is_frozen(host_frozen(host), uuid) ? 0 : thaw_domain(host, domain, error);
}
