/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of methods that are served, and the start and stop of all that they need.
 */
#include "agent/daemon/manager.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <unistd.h>

#include "agent/daemon/service-record.h"
#include "agent/recovery/recovery.h"
#include "agent/task/task.h"

/* How long cancelled jobs may take to undo what they did and to tell the conductor. */
#define CANCEL_S 60

static void note_unhandled(const char *method, const struct rpc_request *request, void *opaque)
{
	struct manager *manager = opaque;
	unsigned count = atomic_fetch_add(&manager->unhandled, 1) + 1;

	g_warning("the cast %s (request %.64s) is not one that novasnapd serves, and is dropped; "
		  "%u such so far",
		  method, rpc_context_string(rpc_request_context(request), "request_id"), count);
}

static void take(struct rpc_request *request, const void *method, void *opaque)
{
	(void)task_submit(opaque, method, request);
}

unsigned manager_cancel(struct manager *manager, const char *id)
{
	unsigned count = jobs_cancel(manager->jobs, id);

	g_message("cancel %.64s: %u snapshots are ended", id, count);
	return count;
}

/* Our own: novasnap cancel. Answered with how many snapshots it ends. */
static void cancel(struct rpc_request *request, const void *method, void *opaque)
{
	struct manager *manager = opaque;
	const char *id = cJSON_GetStringValue(
		cJSON_GetObjectItemCaseSensitive(rpc_request_args(request), "id"));

	(void)method;
	if (!id) {
		rpc_request_reject(request, "its argument id is missing");
		return;
	}
	rpc_request_reply(request, cJSON_CreateNumber(manager_cancel(manager, id)));
	rpc_request_ack(request);
	rpc_request_free(request);
}

/* It would have to unplug ports and volumes too, which is not ours to do: better no resize than
 * half of one. */
static void refuse_resize(struct rpc_request *request, const void *method, void *opaque)
{
	(void)method;
	(void)opaque;
	g_warning("prep_snapshot_based_resize_at_source is refused: novasnapd takes snapshots, and "
		  "unplugs neither ports nor volumes");
	rpc_request_fail(request, "InstanceFaultRollback", "nova.exception",
			 "novasnapd cannot prepare a cross-cell resize: it takes snapshots, and "
			 "unplugs neither ports nor volumes; let nova-compute run on this host for "
			 "that");
	rpc_request_ack(request);
	rpc_request_free(request);
}

static const struct rpc_method methods[] = {
	{"snapshot_instance", take, &method_snapshot_instance},
	{"backup_instance", take, &method_backup_instance},
	{"pause_instance", take, &method_pause_instance},
	{"unpause_instance", take, &method_unpause_instance},
	{"suspend_instance", take, &method_suspend_instance},
	{"resume_instance", take, &method_resume_instance},
	{"shelve_instance", take, &method_shelve_instance},
	{"quiesce_instance", take, &method_quiesce_instance},
	{"unquiesce_instance", take, &method_unquiesce_instance},
	{"volume_snapshot_create", take, &method_volume_snapshot_create},
	{"volume_snapshot_delete", take, &method_volume_snapshot_delete},
	{"prep_snapshot_based_resize_at_source", refuse_resize, NULL},
	{MANAGER_CANCEL, cancel, NULL},
	{NULL, NULL, NULL},
};

/* Folsom and Grizzly sent 2.x, and 1.x before; Zed sends 6.0 or, pinned, 5.x. The newest known
 * minor of each. */
static const char *const versions[] = {"1.44", "2.49", "5.13", "6.5", NULL};

struct rpc_server_ops manager_server_ops(struct manager *manager)
{
	return (struct rpc_server_ops){methods, versions, note_unhandled, manager};
}

void manager_free(struct manager *manager)
{
	if (!manager)
		return;
	recovery_free(manager->recovery);
	service_stop(manager->service);
	cinder_service_free(manager->volumes);
	virt_host_close(manager->host);
	image_store_free(manager->store);
	jobs_free(manager->jobs);
	journal_close(manager->journal);
	pthread_mutex_destroy(&manager->hold_lock);
	g_free(manager);
}

/* QEMU's user passes through them to what it is given there. */
static int make_folders(const struct config *config, GError **error)
{
	const char *const folders[] = {config->state_dir, config->run_dir,
				       config->virt.scratch_dir};

	for (size_t i = 0; i < G_N_ELEMENTS(folders); i++) {
		if (g_mkdir_with_parents(folders[i], 0711) == 0)
			continue;
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_VALUE,
			    "making the folder %s (state_dir, run_dir, scratch_dir): %s",
			    folders[i], g_strerror(errno));
		return -1;
	}
	return 0;
}

struct manager *manager_open(const struct config *config, struct rpc *rpc, GError **error)
{
	struct manager *manager = g_new0(struct manager, 1);

	manager->config = config;
	manager->rpc = rpc;
	pthread_mutex_init(&manager->hold_lock, NULL);
	manager->jobs = jobs_new(config->max_concurrent_snapshots);
	if (make_folders(config, error) == 0)
		manager->store = image_store_new(&config->image, error);
	if (manager->store)
		manager->host = virt_host_open(&config->virt, error);
	if (manager->host) {
		manager->volumes = cinder_service_new(&config->volume, &config->image);
		return manager;
	}
	manager_free(manager);
	return NULL;
}

static int start(struct manager *manager, GError **error)
{
	const struct config *config = manager->config;
	struct rpc_server_ops ops = manager_server_ops(manager);
	bool reports = config->report_state && config->control;

	manager->journal = journal_open(config->state_dir, config->journal_days, error);
	/* Before any cast: those for the same instances wait behind. */
	if (manager->journal)
		manager->recovery = recovery_start(manager, error);
	if (!manager->recovery)
		return -1;
	virt_host_sweep(manager->host);
	if (reports)
		manager->service = service_start(config, manager->rpc, error);
	if (reports && !manager->service)
		return -1;
	return rpc_server_start(manager->rpc, &ops, error);
}

int manager_start(struct manager *manager, GError **error)
{
	int rc = start(manager, error);

	/* Recovery's jobs may run, also where recovery itself does not: none gets a grace time. */
	if (rc < 0)
		jobs_hurry(manager->jobs);
	return rc;
}

const struct task_method *manager_find_method(const char *name)
{
	for (const struct rpc_method *method = methods; method->name; method++) {
		if (method->what && g_str_equal(method->name, name))
			return method->what;
	}
	return NULL;
}

bool manager_take(struct manager *manager, struct rpc_request *request)
{
	const struct task_method *method = manager_find_method(rpc_request_method(request));

	if (method)
		return task_submit(manager, method, request);
	rpc_request_reject(request, "this method is not served here");
	return false;
}

cJSON *manager_describe(struct manager *manager)
{
	cJSON *status = cJSON_CreateObject();
	cJSON *jobs = cJSON_CreateArray();
	bool held;

	pthread_mutex_lock(&manager->hold_lock);
	held = manager->holds > 0;
	pthread_mutex_unlock(&manager->hold_lock);
	cJSON_AddNumberToObject(status, "pid", getpid());
	cJSON_AddStringToObject(status, "version", NOVASNAP_VERSION);
	cJSON_AddBoolToObject(status, "ready", rpc_wait_ready(manager->rpc, 0));
	cJSON_AddBoolToObject(status, "held", held);
	cJSON_AddNumberToObject(status, "waiting", jobs_tell(manager->jobs, jobs));
	cJSON_AddNumberToObject(status, "unhandled", atomic_load(&manager->unhandled));
	cJSON_AddItemToObject(status, "jobs", jobs);
	return status;
}

void manager_hold(struct manager *manager, const GError *error)
{
	pthread_mutex_lock(&manager->hold_lock);
	if (manager->holds++ == 0) {
		g_warning("%s: no cast is taken until it can be written again", error->message);
		rpc_server_pause(manager->rpc);
	}
	pthread_mutex_unlock(&manager->hold_lock);
}

void manager_release(struct manager *manager)
{
	g_autoptr(GError) error = NULL;

	pthread_mutex_lock(&manager->hold_lock);
	if (--manager->holds == 0 && !manager->stopping) {
		if (rpc_server_resume(manager->rpc, &error) < 0)
			g_warning("casts cannot be taken again: %s", error->message);
		else
			g_message("the journal can be written again: casts are taken");
	}
	pthread_mutex_unlock(&manager->hold_lock);
}

unsigned manager_stop(struct manager *manager)
{
	pthread_mutex_lock(&manager->hold_lock);
	manager->stopping = true;
	if (manager->rpc)
		rpc_server_stop(manager->rpc);
	pthread_mutex_unlock(&manager->hold_lock);
	recovery_stop(manager->recovery);
	return jobs_stop(manager->jobs, manager->config->shutdown_grace_s, CANCEL_S);
}

void manager_hurry(struct manager *manager)
{
	jobs_hurry(manager->jobs);
}
