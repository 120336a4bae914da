/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nova's objects: the first part of the input is the arguments of a cast, each further part is the
 * conductor's reply to one call.
 */
#include <string.h>

#include "agent/method/image-metadata.h"
#include "agent/task/agent.h"
#include "image/store/record.h"
#include "rpc/json.h"
#include "rpc/nova/instance-save.h"
#include "tests/fuzz/fuzz.h"

__typeof__(rpc_call) __wrap_rpc_call;
__typeof__(rpc_notify) __wrap_rpc_notify;
__typeof__(image_store_get) __wrap_image_store_get;

static struct fuzz_input replies;

static cJSON *next_document(void)
{
	size_t length;
	g_autofree char *text = fuzz_part(&replies, &length);

	return text ? json_parse(text, length, NULL) : NULL;
}

cJSON *__wrap_rpc_call(struct rpc *rpc, const char *topic, struct rpc_context *context,
		       const char *method, const char *version, cJSON *args, unsigned timeout_s,
		       GError **error)
{
	cJSON *reply = next_document();

	(void)rpc;
	(void)topic;
	(void)context;
	(void)method;
	(void)version;
	(void)timeout_s;
	cJSON_free(json_print(args));
	cJSON_Delete(args);
	if (!reply)
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_TIMEOUT, "no reply");
	return reply;
}

void __wrap_rpc_notify(struct rpc *rpc, const char *topic, enum rpc_priority priority,
		       const char *publisher_id, const char *event_type,
		       struct rpc_context *context, cJSON *payload)
{
	(void)rpc;
	(void)topic;
	(void)priority;
	(void)publisher_id;
	(void)event_type;
	(void)context;
	cJSON_free(json_print(payload));
	cJSON_Delete(payload);
}

int __wrap_image_store_get(struct image_store *store, const struct image_identity *who,
			   const char *id, struct image_record **ret_record, GError **error)
{
	(void)store;
	(void)who;
	(void)id;
	*ret_record = image_record_parse(next_document(), error);
	return *ret_record ? 0 : -1;
}

/* The release that the record of the service shows, whatever it contains. */
static const struct nova_release *find_release(struct rpc_context *context,
					       const struct nova_instance *instance)
{
	char *text;
	int record;

	if (nova_conductor_service_version(NULL, context, "host", &record, NULL) < 0)
		return nova_release_of_request(context, instance);
	text = nova_release_describe_record(record);
	g_assert_nonnull(text);
	g_free(text);
	return nova_release_of_record(record, instance);
}

static void notify(struct rpc_context *context, const struct nova_instance *instance,
		   const cJSON *args)
{
	static const char *const topics[] = {"topic", NULL};
	static const struct nova_notify_config config = {.enabled = true,
							 .legacy = true,
							 .versioned = true,
							 .shares = true,
							 .topics = topics,
							 .versioned_topics = topics,
							 .host = "host"};
	const struct nova_release *release = find_release(context, instance);
	static const struct nova_exception exception = {
		"ImageNotFound", "nova.exception", "it's \"gone\"\n", "snapshot_instance", 404};

	nova_notify_action(NULL, &config, release, context, instance, "snapshot", "start", "image",
			   "http://glance");
	nova_notify_action(NULL, &config, release, context, instance, "resume", "end", NULL, NULL);
	nova_notify_exists(NULL, &config, release, context, instance, "month", NULL);
	nova_notify_exception(NULL, &config, context, &exception, args);
}

/* The calls that a task makes, whatever the replies are. */
static void save(struct rpc_context *context, struct nova_instance *instance)
{
	const struct nova_release *release = nova_release_of_request(context, instance);

	(void)nova_conductor_instance_load_flavor(NULL, context, release, instance, NULL);
	(void)nova_conductor_instance_load_block_devices(NULL, context, release, instance, NULL);
	(void)nova_conductor_instance_load_shares(NULL, context, release, instance, NULL);
	nova_instance_set_task_state(instance, "image_snapshot");
	nova_instance_set_power_state(instance, 1);
	(void)nova_conductor_instance_save(NULL, context, instance, "a,,b", NULL);
	nova_instance_set_vm_state(instance, "shelved");
	nova_instance_set_system_metadata(instance, "shelved_at", "now");
	nova_instance_set_system_metadata(instance, "image_x", NULL);
	(void)nova_conductor_instance_refresh(NULL, context, instance, NULL);
	(void)nova_conductor_instance_save(NULL, context, instance, "", NULL);
	(void)nova_conductor_fault_exists(NULL, context, release, nova_instance_uuid(instance), 500,
					  "m", "h", 1795000000, NULL);
}

static void serve(struct rpc_context *context)
{
	struct nova_service *service =
		nova_service_take(NULL, context, "host", "compute", "new", NULL);

	if (!service)
		return;
	(void)nova_service_is_disabled(service);
	(void)nova_service_report(NULL, context, service, NULL);
	(void)nova_service_disable(NULL, context, service, "why", NULL);
	nova_service_free(service);
}

static void read_instance(struct rpc_context *context, struct nova_instance *instance,
			  const cJSON *args)
{
	struct agent agent = {0};
	struct task task = {.agent = &agent, .instance = instance};
	struct image_meta meta;
	struct image_base *base;

	g_assert_true(g_uuid_string_is_valid(nova_instance_uuid(instance)));
	(void)nova_instance_int(instance, "power_state", 0);
	(void)nova_instance_image_flag(instance, "hw_qemu_guest_agent");
	notify(context, instance, args);
	save(context, instance);
	notify(context, instance, args);
	base = image_base_new(&task);
	(void)image_base_forces_ami(base);
	cJSON_Delete(image_metadata_build(&task, base, "name", "qcow2", &meta));
	image_base_free(base);
	cJSON_Delete(nova_instance_update_args(instance, NULL));
	cJSON_Delete(nova_instance_object(instance));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cJSON *args;
	g_autoptr(rpc_context_t) context = NULL;
	g_autoptr(nova_instance_t) instance = NULL;
	g_autoptr(GError) error = NULL;

	replies = (struct fuzz_input){data, size};
	args = next_document();
	context = rpc_context_new(cJSON_IsObject(args) ? cJSON_Duplicate(args, true) : NULL);
	if (args) {
		instance = nova_instance_take_from_args(args, &error);
		g_assert_true((instance == NULL) == (error != NULL));
	}
	if (instance)
		read_instance(context, instance, args);
	else
		serve(context);
	cJSON_Delete(args);
	return 0;
}
