/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nova's notifications on their topics (nova.rpc.get_notifier, nova.compute.utils), and novasnap's
 * notification about the progress of a snapshot.
 */
#include "rpc/nova/notify.h"

#include "rpc/nova/audit-period.h"
#include "rpc/nova/payload-exception.h"
#include "rpc/nova/payload-legacy.h"
#include "rpc/nova/payload-versioned.h"
#include "rpc/nova/value.h"

struct rpc_context *nova_context_elevated(struct rpc_context *context)
{
	cJSON *fields = cJSON_Duplicate(rpc_context_fields(context), true);
	cJSON *roles = cJSON_GetObjectItemCaseSensitive(fields, "roles");
	const cJSON *role;
	bool is_admin = false;

	nova_put_member(fields, "is_admin", cJSON_CreateTrue());
	if (!cJSON_IsArray(roles)) {
		roles = cJSON_CreateArray();
		nova_put_member(fields, "roles", roles);
	}
	cJSON_ArrayForEach (role, roles)
		is_admin = is_admin || g_strcmp0(cJSON_GetStringValue(role), "admin") == 0;
	if (!is_admin)
		cJSON_AddItemToArray(roles, cJSON_CreateString("admin"));
	return rpc_context_new(fields);
}

/* Sends a notification to each topic. Takes ownership of `payload`. */
static void notify_topics(struct rpc *rpc, const char *const *topics, enum rpc_priority priority,
			  const char *publisher, const char *event_type,
			  struct rpc_context *context, cJSON *payload)
{
	for (; *topics; topics++)
		rpc_notify(rpc, *topics, priority, publisher, event_type, context,
			   cJSON_Duplicate(payload, true));
	cJSON_Delete(payload);
}

static void notify_legacy(struct rpc *rpc, const struct nova_notify_config *config,
			  enum rpc_priority priority, const char *event_type,
			  struct rpc_context *context, cJSON *payload)
{
	g_autofree char *publisher = g_strdup_printf("compute.%s", config->host);

	notify_topics(rpc, config->topics, priority, publisher, event_type, context, payload);
}

static void notify_versioned(struct rpc *rpc, const struct nova_notify_config *config,
			     enum rpc_priority priority, const char *event_type,
			     struct rpc_context *context, cJSON *payload)
{
	g_autofree char *publisher = g_strdup_printf("nova-compute:%s", config->host);

	notify_topics(rpc, config->versioned_topics, priority, publisher, event_type, context,
		      payload);
}

bool nova_notify_has_shares(const struct nova_notify_config *config,
			    const struct nova_release *release)
{
	return config->enabled && config->versioned && config->shares &&
	       nova_release_has(release, NOVA_HABIT_SHARES);
}

void nova_notify_action(struct rpc *rpc, const struct nova_notify_config *config,
			const struct nova_release *release, struct rpc_context *context,
			const struct nova_instance *instance, const char *action, const char *phase,
			const char *image_id, const char *image_location)
{
	const struct nova_payload_kind kind = {release, nova_notify_has_shares(config, release)};
	g_autofree char *legacy = g_strdup_printf("compute.instance.%s.%s", action, phase);
	g_autofree char *versioned = g_strdup_printf("instance.%s.%s", action, phase);
	g_autoptr(rpc_context_t) elevated = NULL;

	if (!config->enabled)
		return;
	elevated = nova_context_elevated(context);
	if (config->legacy)
		notify_legacy(rpc, config, RPC_PRIORITY_INFO, legacy, elevated,
			      nova_legacy_payload(instance, image_location));
	if (config->versioned)
		notify_versioned(rpc, config, RPC_PRIORITY_INFO, versioned, elevated,
				 nova_versioned_payload(&kind, instance, elevated, image_id));
}

/* Like Python's str of a datetime without a time zone, which omits microseconds if they are
 * zero. */
static void add_period_time(cJSON *to, const char *name, GDateTime *time)
{
	g_autofree char *text =
		g_date_time_format(time, g_date_time_get_microsecond(time) ? "%Y-%m-%d %H:%M:%S.%f"
									   : "%Y-%m-%d %H:%M:%S");

	cJSON_AddStringToObject(to, name, text);
}

static cJSON *legacy_exists_payload(const struct nova_release *release,
				    const struct nova_instance *instance, GDateTime *from,
				    GDateTime *to, const char *image_location)
{
	cJSON *payload = nova_legacy_payload(instance, image_location);

	add_period_time(payload, "audit_period_beginning", from);
	add_period_time(payload, "audit_period_ending", to);
	if (nova_release_has(release, NOVA_HABIT_BANDWIDTH))
		cJSON_AddObjectToObject(payload, "bandwidth");
	return payload;
}

void nova_notify_exists(struct rpc *rpc, const struct nova_notify_config *config,
			const struct nova_release *release, struct rpc_context *context,
			const struct nova_instance *instance, const char *period,
			const char *image_location)
{
	const struct nova_payload_kind kind = {release, nova_notify_has_shares(config, release)};
	g_autoptr(GDateTime) now = g_date_time_new_now_utc();
	g_autoptr(GDateTime) from = nova_audit_period_end(period, now);

	if (!config->enabled)
		return;
	if (config->legacy)
		notify_legacy(rpc, config, RPC_PRIORITY_INFO, "compute.instance.exists", context,
			      legacy_exists_payload(release, instance, from, now, image_location));
	if (config->versioned)
		notify_versioned(
			rpc, config, RPC_PRIORITY_INFO, "instance.exists", context,
			nova_versioned_exists_payload(&kind, instance, context, from, now));
}

void nova_notify_exception(struct rpc *rpc, const struct nova_notify_config *config,
			   struct rpc_context *context, const struct nova_exception *exception,
			   const cJSON *args)
{
	if (!config->enabled)
		return;
	if (config->legacy)
		notify_legacy(rpc, config, RPC_PRIORITY_ERROR, exception->function, context,
			      nova_legacy_exception_payload(exception, args));
	if (config->versioned)
		notify_versioned(rpc, config, RPC_PRIORITY_ERROR, "compute.exception", context,
				 nova_versioned_exception_payload(exception));
}

cJSON *nova_progress_payload(const struct nova_progress *progress)
{
	cJSON *payload = cJSON_CreateObject();

	nova_add_text(payload, "instance_id", progress->instance_uuid);
	nova_add_text(payload, "image_id", progress->image_id);
	nova_add_text(payload, "phase", progress->phase);
	nova_add_text(payload, "method", progress->method);
	nova_add_text(payload, "task_state", progress->task_state);
	nova_add_text(payload, "detail", progress->detail);
	cJSON_AddNumberToObject(payload, "bytes_done", (double)progress->done);
	cJSON_AddNumberToObject(payload, "bytes_total", (double)progress->total);
	if (progress->rate > 0) {
		cJSON_AddNumberToObject(payload, "bytes_per_second", progress->rate);
		cJSON_AddNumberToObject(payload, "seconds_left",
					(double)(progress->total - progress->done) /
						progress->rate);
	}
	return payload;
}

void nova_notify_progress(struct rpc *rpc, const struct nova_notify_config *config,
			  struct rpc_context *context, const struct nova_progress *progress)
{
	g_autofree char *publisher = g_strdup_printf("novasnap.%s", config->host);

	rpc_notify_transient(rpc, NOVA_PROGRESS_TOPIC, publisher, NOVA_PROGRESS_EVENT, context,
			     nova_progress_payload(progress));
}
