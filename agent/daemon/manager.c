/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See manager.h.
 */
#include "agent/daemon/manager.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <pthread.h>
#include <unistd.h>

#include "agent/daemon/beside-keeper.h"
#include "agent/daemon/dispatch.h"
#include "agent/daemon/leftovers.h"
#include "agent/daemon/service-record.h"
#include "agent/daemon/task-run.h"
#include "agent/task/intake.h"
#include "agent/task/release.h"

/* Time for aborted jobs to roll back. */
#define ABORT_S 60
/* How long the start waits for the answer that says which topics are served. */
#define RELEASE_WAIT_MS 1000
/* Time for a thread to end that writes or reads the journal. */
#define JOURNAL_S 5
/* The end of consuming takes up to 5 s as well. */
G_STATIC_ASSERT(MANAGER_STOP_MAX_S >= ABORT_S + 2 * JOURNAL_S + 5);

struct manager {
	struct agent agent;
	struct intake_ops intake_ops;
	struct intake *intake;
	struct dispatch dispatch;
	struct service_record *service; /* NULL: [novasnap]report_state is off */
	struct leftovers *leftovers;
	struct beside_keeper *beside; /* NULL: [novasnap]mode is exclusive */

	pthread_mutex_t lock;
	/* Guarded by the lock. */
	bool paused; /* requests are not accepted, because the journal cannot be written */
	bool stopping;
};

static void pause_consuming(const GError *why, void *opaque)
{
	struct manager *manager = opaque;

	g_warning("%s: accepting no casts until the journal can be written again", why->message);
	pthread_mutex_lock(&manager->lock);
	manager->paused = true;
	rpc_server_pause(manager->agent.rpc);
	pthread_mutex_unlock(&manager->lock);
}

static void resume_consuming(void *opaque)
{
	struct manager *manager = opaque;
	g_autoptr(GError) error = NULL;

	pthread_mutex_lock(&manager->lock);
	manager->paused = false;
	if (manager->stopping)
		g_message("the journal can be written again");
	else if (rpc_server_resume(manager->agent.rpc, &error) < 0)
		g_warning("the journal can be written again, but casts cannot be accepted: %s",
			  error->message);
	else
		g_message("the journal can be written again: accepting casts");
	pthread_mutex_unlock(&manager->lock);
}

/* In the thread that asks for the release. */
static void apply_release(const struct nova_release *release, void *opaque)
{
	struct manager *manager = opaque;
	const struct rpc_config *config = &manager->agent.config->rpc;

	if (!nova_release_has(release, NOVA_HABIT_ALT_SERVER))
		return;
	g_message("serving %s.%s, too", config->alt_topic, config->host);
	pthread_mutex_lock(&manager->lock);
	rpc_server_serve_alt(manager->agent.rpc);
	pthread_mutex_unlock(&manager->lock);
}

void manager_free(struct manager *manager)
{
	if (!manager)
		return;
	beside_keeper_stop(manager->beside);
	leftovers_free(manager->leftovers);
	service_record_stop(manager->service);
	release_watch_stop(manager->agent.release_watch);
	intake_free(manager->intake);
	cinder_service_free(manager->agent.volumes);
	virt_host_close(manager->agent.host);
	image_store_free(manager->agent.store);
	worker_pool_free(manager->agent.pool);
	journal_close(manager->agent.journal);
	pthread_mutex_destroy(&manager->lock);
	g_free(manager);
}

/* QEMU's user must be able to traverse them to the files that it uses. */
static int make_folders(const struct config *config, GError **error)
{
	const char *const folders[] = {config->state_dir, config->run_dir};
	const char *scratch = config->virt.scratch_dir;

	for (size_t i = 0; i < G_N_ELEMENTS(folders); i++) {
		if (g_mkdir_with_parents(folders[i], 0711) == 0)
			continue;
		g_set_error(error, CONFIG_ERROR, CONFIG_ERROR_VALUE,
			    "creating the folder %s (state_dir, run_dir): %s", folders[i],
			    g_strerror(errno));
		return -1;
	}
	if (g_mkdir_with_parents(scratch, 0711) < 0)
		g_warning("cannot create [novasnap]scratch_dir %s: %s; running guests are not "
			  "streamed without it; tmpfiles.d/novasnap.conf has its owner and mode",
			  scratch, g_strerror(errno));
	return 0;
}

struct manager *manager_open(const struct config *config, struct rpc *rpc, GError **error)
{
	struct manager *manager = g_new0(struct manager, 1);
	struct agent *agent = &manager->agent;

	pthread_mutex_init(&manager->lock, NULL);
	agent->config = config;
	agent->rpc = rpc;
	agent->pool = worker_pool_new(config->max_concurrent_snapshots);
	manager->intake_ops =
		(struct intake_ops){&task_job_ops, pause_consuming, resume_consuming, manager};
	manager->intake = intake_new(agent, &manager->intake_ops);
	manager->dispatch.agent = agent;
	manager->dispatch.intake = manager->intake;
	if (make_folders(config, error) == 0)
		agent->store = image_store_new(&config->image, error);
	if (agent->store)
		agent->host = virt_host_open(&config->virt, error);
	if (agent->host) {
		agent->volumes = cinder_service_new(&config->volume, &config->image);
		return manager;
	}
	manager_free(manager);
	return NULL;
}

void manager_set_progress(struct manager *manager,
			  void (*progress)(const struct nova_progress *progress, void *opaque),
			  void *opaque)
{
	manager->agent.progress = progress;
	manager->agent.progress_opaque = opaque;
}

void manager_set_measures(struct manager *manager, struct measures *measures)
{
	manager->agent.measures = measures;
}

const struct agent *manager_agent(const struct manager *manager)
{
	return &manager->agent;
}

static int start_serving(struct manager *manager, GError **error)
{
	struct agent *agent = &manager->agent;
	const struct config *config = agent->config;
	struct rpc_server_ops ops = dispatch_server_ops(&manager->dispatch);
	bool reports = config->report_state && config->control;
	int rc;

	agent->journal = journal_open(config->state_dir, config->journal_days, error);
	if (agent->journal && config->control) {
		agent->release_watch =
			release_watch_start(config, agent->rpc, apply_release, manager, error);
		if (!agent->release_watch)
			return -1;
	}
	/* The open jobs come before any cast: casts for the same instances wait for them. */
	if (agent->journal)
		manager->leftovers = leftovers_start(agent, error);
	if (!manager->leftovers || intake_start(manager->intake, error) < 0)
		return -1;
	if (reports)
		manager->service = service_record_start(config, agent->rpc, error);
	if (reports && !manager->service)
		return -1;
	if (agent->release_watch)
		(void)release_watch_wait(agent->release_watch, RELEASE_WAIT_MS);
	if (config->beside) {
		manager->beside = beside_keeper_start(config, agent->rpc, DISPATCH_CANCEL, error);
		if (!manager->beside)
			return -1;
	}
	pthread_mutex_lock(&manager->lock);
	rc = rpc_server_start(agent->rpc, &ops, error);
	pthread_mutex_unlock(&manager->lock);
	return rc;
}

int manager_start(struct manager *manager, GError **error)
{
	int rc = start_serving(manager, error);

	/* Jobs that recovery has submitted get no grace time. */
	if (rc < 0)
		manager_skip_grace(manager);
	return rc;
}

bool manager_take(struct manager *manager, struct rpc_request *request, GError **error)
{
	return dispatch_take(&manager->dispatch, request, error);
}

cJSON *manager_describe(struct manager *manager)
{
	cJSON *status = cJSON_CreateObject();
	cJSON *jobs = cJSON_CreateArray();
	cJSON *waiting_jobs = cJSON_CreateArray();
	unsigned waiting = worker_pool_describe(manager->agent.pool, jobs, waiting_jobs) +
			   intake_count_waiting(manager->intake);
	bool paused;

	pthread_mutex_lock(&manager->lock);
	paused = manager->paused;
	pthread_mutex_unlock(&manager->lock);
	cJSON_AddNumberToObject(status, "pid", getpid());
	cJSON_AddStringToObject(status, "version", NOVASNAP_VERSION);
	cJSON_AddBoolToObject(status, "ready", rpc_wait_ready(manager->agent.rpc, 0));
	cJSON_AddBoolToObject(status, "paused", paused);
	cJSON_AddStringToObject(status, "mode",
				manager->agent.config->beside ? "beside" : "exclusive");
	if (manager->beside)
		cJSON_AddItemToObject(status, "beside", beside_keeper_describe(manager->beside));
	cJSON_AddNumberToObject(status, "waiting", waiting);
	cJSON_AddNumberToObject(status, "unhandled", atomic_load(&manager->dispatch.unhandled));
	cJSON_AddNumberToObject(status, "moving", rpc_moving_count(manager->agent.rpc));
	cJSON_AddNumberToObject(status, "rejected", rpc_rejected_count(manager->agent.rpc));
	cJSON_AddNumberToObject(status, "unsupported", rpc_unsupported_count(manager->agent.rpc));
	cJSON_AddItemToObject(status, "jobs", jobs);
	cJSON_AddItemToObject(status, "waiting_jobs", waiting_jobs);
	return status;
}

unsigned manager_cancel(struct manager *manager, const char *id)
{
	return dispatch_cancel(&manager->dispatch, id);
}

static unsigned seconds_until(gint64 deadline)
{
	gint64 left = deadline - g_get_monotonic_time();

	return left > 0 ? (unsigned)((left + G_USEC_PER_SEC - 1) / G_USEC_PER_SEC) : 0;
}

unsigned manager_stop(struct manager *manager)
{
	gint64 grace_until = g_get_monotonic_time() +
			     (gint64)manager->agent.config->shutdown_grace_s * G_USEC_PER_SEC;
	unsigned stuck = 0;

	pthread_mutex_lock(&manager->lock);
	manager->stopping = true;
	if (manager->agent.rpc)
		rpc_server_stop(manager->agent.rpc);
	pthread_mutex_unlock(&manager->lock);
	beside_keeper_begin_stop(manager->beside);
	stuck += !intake_stop(manager->intake, JOURNAL_S);
	stuck += !leftovers_stop(manager->leftovers, JOURNAL_S);
	if (stuck > 0)
		g_warning("%u threads did not end in %d s: the journal in %s or libvirt does not "
			  "answer",
			  stuck, JOURNAL_S, manager->agent.config->state_dir);
	(void)worker_pool_drain(manager->agent.pool, seconds_until(grace_until));
	/* A job that waits for the conductor would not notice that its time is over. */
	if (manager->agent.rpc)
		rpc_end_calls(manager->agent.rpc);
	return stuck + worker_pool_stop(manager->agent.pool, 0, ABORT_S);
}

void manager_skip_grace(struct manager *manager)
{
	worker_pool_skip_grace(manager->agent.pool);
	if (manager->agent.rpc)
		rpc_end_calls(manager->agent.rpc);
}
