/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See overview.h.
 */
#include "agent/daemon/overview.h"

#include "rpc/json.h"

/* A connection attempt takes longer than a turn: the name, TCP, TLS, the login and the first
 * declaration each have their limit. */
#define STUCK_S 180

static void append_job(GString *text, const cJSON *job)
{
	const cJSON *done = cJSON_GetObjectItemCaseSensitive(job, "done");
	const cJSON *total = cJSON_GetObjectItemCaseSensitive(job, "total");

	g_string_append_printf(text, "; %s of %s: %s", json_string(job, "method"),
			       json_string(job, "instance"), json_string(job, "step"));
	if (cJSON_IsNumber(done) && cJSON_IsNumber(total) &&
	    done->valuedouble <= total->valuedouble)
		g_string_append_printf(text, ", %.0f %%",
				       100 * done->valuedouble / total->valuedouble);
}

char *overview_text(struct manager *manager, struct rpc *rpc)
{
	GString *text = g_string_new(NULL);
	cJSON *status = manager_describe(manager);
	const cJSON *jobs = cJSON_GetObjectItemCaseSensitive(status, "jobs");
	int count = cJSON_GetArraySize(jobs);
	double waiting = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(status, "waiting"));
	bool is_ready = rpc_wait_ready(rpc, 0);
	g_autofree char *problem = is_ready ? NULL : rpc_last_connect_error(rpc);

	if (!is_ready)
		g_string_append_printf(text, "Not connected to the broker%s%s; ",
				       problem ? ": " : "", problem ? problem : "");
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(status, "paused")))
		g_string_append(text, "Accepting no casts: the journal cannot be written; ");
	g_string_append_printf(text, "%d job%s, %.0f wait%s", count, count == 1 ? " runs" : "s run",
			       waiting, waiting == 1 ? "s" : "");
	if (count > 0)
		append_job(text, cJSON_GetArrayItem(jobs, 0));
	cJSON_Delete(status);
	return g_string_free(g_string_truncate(text, MIN(text->len, 500)), FALSE);
}

bool overview_is_alive(struct manager *manager, struct rpc *rpc, char **ret_reason)
{
	struct rpc_health health;

	/* Takes the locks. */
	cJSON_Delete(manager_describe(manager));
	rpc_get_health(rpc, &health);
	if (health.idle_us < STUCK_S * G_USEC_PER_SEC)
		return true;
	*ret_reason = g_strdup_printf("a thread of a connection to the broker has been stuck for "
				      "%" G_GINT64_FORMAT " s",
				      health.idle_us / G_USEC_PER_SEC);
	return false;
}
