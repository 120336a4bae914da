/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reports every report_interval seconds, as nova.servicegroup.drivers.db does. Reports that were
 * missed are not made up for: after an outage all hosts would send them at once. Only the first
 * failure and the first success after it are logged.
 */
#include "agent/daemon/service-record.h"

#include <pthread.h>

#include "agent/task/thread.h"

#define REASON "snapshots only"

struct service_record {
	const struct config *config;
	struct rpc *rpc;
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stopping; /* guarded by the lock */

	/* Used only by the thread. */
	struct rpc_context *context;
	struct nova_service *record; /* NULL: not found or created yet */
	bool is_failing;
};

static int acquire_record(struct service_record *service, GError **error)
{
	struct nova_service *record =
		nova_service_take(service->rpc, service->context, service->config->rpc.host,
				  service->config->rpc.topic, REASON, error);

	if (!record)
		return -1;
	/* If an operator has disabled the service, the operator's reason is kept. */
	if (!nova_service_is_disabled(record) &&
	    nova_service_disable(service->rpc, service->context, record, REASON, error) < 0) {
		nova_service_free(record);
		return -1;
	}
	g_message("reporting the compute service on %s as up; it is disabled, because novasnapd "
		  "cannot start instances",
		  service->config->rpc.host);
	service->record = record;
	return 0;
}

static void report_alive(struct service_record *service)
{
	g_autoptr(GError) error = NULL;
	int rc = 0;

	if (!service->record)
		rc = acquire_record(service, &error);
	if (rc == 0)
		rc = nova_service_report(service->rpc, service->context, service->record, &error);
	if (rc < 0) {
		/* The record may have been deleted: the next report finds or creates it again. */
		g_clear_pointer(&service->record, nova_service_free);
		if (!service->is_failing)
			g_warning("cannot report the compute service as up: %s", error->message);
	} else if (service->is_failing) {
		g_message("reporting the compute service as up again");
	}
	service->is_failing = rc < 0;
}

static void *service_main(void *opaque)
{
	struct service_record *service = opaque;

	pthread_mutex_lock(&service->lock);
	while (!service->stopping) {
		struct timespec next = thread_deadline(0);

		next.tv_sec += service->config->report_interval_s;
		pthread_mutex_unlock(&service->lock);
		report_alive(service);
		pthread_mutex_lock(&service->lock);
		while (!service->stopping &&
		       pthread_cond_clockwait(&service->changed, &service->lock, CLOCK_MONOTONIC,
					      &next) == 0)
			;
	}
	pthread_mutex_unlock(&service->lock);
	return NULL;
}

struct service_record *service_record_start(const struct config *config, struct rpc *rpc,
					    GError **error)
{
	struct service_record *service = g_new0(struct service_record, 1);
	int rc;

	service->config = config;
	service->rpc = rpc;
	service->context = rpc_context_new(NULL);
	pthread_mutex_init(&service->lock, NULL);
	pthread_cond_init(&service->changed, NULL);
	rc = thread_start(&service->thread, THREAD_STACK_SIZE, service_main, service);
	if (rc == 0)
		return service;
	g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED,
		    "cannot start the thread that reports the service: %s", g_strerror(rc));
	rpc_context_free(service->context);
	g_free(service);
	return NULL;
}

void service_record_stop(struct service_record *service)
{
	if (!service)
		return;
	pthread_mutex_lock(&service->lock);
	service->stopping = true;
	pthread_cond_broadcast(&service->changed);
	pthread_mutex_unlock(&service->lock);
	pthread_join(service->thread, NULL);
	nova_service_free(service->record);
	rpc_context_free(service->context);
	pthread_cond_destroy(&service->changed);
	pthread_mutex_destroy(&service->lock);
	g_free(service);
}
