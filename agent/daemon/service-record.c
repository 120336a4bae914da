/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reports each report_interval, as nova.servicegroup.drivers.db does. Trouble is told once, and its
 * end.
 */
#include "agent/daemon/service-record.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#define REASON "snapshots only"

struct service {
	const struct config *config;
	struct rpc *rpc;
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stopping; /* guarded by the lock */

	/* The thread's own. */
	struct rpc_context *context;
	struct nova_service *record; /* NULL: not taken over yet */
	bool in_trouble;
};

static int take_over(struct service *service, GError **error)
{
	struct nova_service *record =
		nova_service_take(service->rpc, service->context, service->config->rpc.host,
				  service->config->rpc.topic, REASON, error);

	if (!record)
		return -1;
	/* What an operator disabled keeps the operator's reason. */
	if (!nova_service_is_disabled(record) &&
	    nova_service_disable(service->rpc, service->context, record, REASON, error) < 0) {
		nova_service_free(record);
		return -1;
	}
	g_message("the compute service's record of %s is kept alive; it is disabled, for boots are "
		  "not served here",
		  service->config->rpc.host);
	service->record = record;
	return 0;
}

static void report(struct service *service)
{
	g_autoptr(GError) error = NULL;
	int rc = 0;

	if (!service->record)
		rc = take_over(service, &error);
	if (rc == 0)
		rc = nova_service_report(service->rpc, service->context, service->record, &error);
	if (rc < 0) {
		/* It may have been deleted: then it is found, or made, anew. */
		g_clear_pointer(&service->record, nova_service_free);
		if (!service->in_trouble)
			g_warning("the service's record cannot be kept alive: %s", error->message);
	} else if (service->in_trouble) {
		g_message("the service's record is kept alive again");
	}
	service->in_trouble = rc < 0;
}

static void *service_main(void *opaque)
{
	struct service *service = opaque;
	struct timespec next;

	clock_gettime(CLOCK_MONOTONIC, &next);
	pthread_mutex_lock(&service->lock);
	while (!service->stopping) {
		pthread_mutex_unlock(&service->lock);
		report(service);
		next.tv_sec += service->config->report_interval_s;
		pthread_mutex_lock(&service->lock);
		while (!service->stopping &&
		       pthread_cond_clockwait(&service->changed, &service->lock, CLOCK_MONOTONIC,
					      &next) == 0)
			;
	}
	pthread_mutex_unlock(&service->lock);
	return NULL;
}

struct service *service_start(const struct config *config, struct rpc *rpc, GError **error)
{
	struct service *service = g_new0(struct service, 1);
	int rc;

	service->config = config;
	service->rpc = rpc;
	service->context = rpc_context_new(NULL);
	pthread_mutex_init(&service->lock, NULL);
	pthread_cond_init(&service->changed, NULL);
	rc = pthread_create(&service->thread, NULL, service_main, service);
	if (rc == 0)
		return service;
	g_set_error(error, RPC_ERROR, RPC_ERROR_FAILED,
		    "cannot start the thread that keeps the service's record: %s", g_strerror(rc));
	rpc_context_free(service->context);
	g_free(service);
	return NULL;
}

void service_stop(struct service *service)
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
