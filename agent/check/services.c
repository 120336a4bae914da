/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: the programs that novasnapd runs, and the services that it uses.
 */
#include "agent/check/services.h"

#include <unistd.h>

/* Limits for checks, if the configured limits are longer. */
#define CONNECT_S 5
#define REPLY_S 15
#define BROKER_POLL_US (G_USEC_PER_SEC / 10)
/* After the broker has rejected a login, another attempt may still succeed within this time. */
#define BROKER_REFUSED_US G_USEC_PER_SEC
/* The ID of an image that does not exist. */
#define NO_IMAGE "00000000-0000-4000-8000-000000000000"
#define INSECURE "; its certificate is not verified, because of insecure = true"

void check_programs(struct check *check)
{
	const struct {
		const char *name;
		const char *program;
		const char *used_for;
	} programs[] = {
		{"qemu-img", "qemu-img",
		 "the methods rebase, extract and internal, and for disks with backing files"},
		{"qemu-nbd", "qemu-nbd", "the disks of guests that are not running"},
		{"novasnap-thaw", check->config->virt.thaw_program,
		 "guests whose filesystems are frozen"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(programs); i++) {
		g_autofree char *path = g_find_program_in_path(programs[i].program);

		if (path)
			check_report(check, CHECK_OK, programs[i].name, "found at %s", path);
		else
			check_report(check, CHECK_FAIL, programs[i].name,
				     "not found, needed for %s; install it (qemu-img and qemu-nbd "
				     "are in Debian's qemu-utils), or set PATH or "
				     "[novasnap]thaw_program",
				     programs[i].used_for);
	}
}

void check_libvirt(struct check *check)
{
	g_autofree char *subject =
		g_strdup_printf("libvirt at %s", check->config->virt.connection_uri);
	g_autoptr(GError) error = NULL;
	g_autofree char *versions = NULL;
	g_autofree char *name = NULL;
	struct virt_user user;

	check->virt = check->config->virt;
	check->virt.connect_timeout_s = MIN(check->virt.connect_timeout_s, CONNECT_S);
	check->host = virt_host_open(&check->virt, &error);
	if (check->host)
		versions = virt_host_versions(check->host, &error);
	if (!versions) {
		check_report(check, CHECK_FAIL, subject, "%s%s", error->message,
			     g_error_matches(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED)
				     ? "; check that libvirtd runs, and that this user is in the "
				       "group libvirt"
				     : "");
		return;
	}
	if (virt_host_qemu_user(check->host, &user, &error) == 0)
		name = virt_user_name(user.uid);
	check_report(check, CHECK_OK, subject, "%s%s%s", versions, name ? ", QEMU runs as " : "",
		     name ? name : "");
}

/* Returns whether the broker accepted a login, and if not, the last error (NULL: no reply). */
static bool wait_for_broker(struct rpc *rpc, char **ret_problem)
{
	gint64 until = g_get_monotonic_time() + (gint64)REPLY_S * G_USEC_PER_SEC;
	g_autofree char *problem = NULL;

	while (g_get_monotonic_time() < until) {
		if (rpc_wait_ready(rpc, 0))
			return true;
		g_free(problem);
		problem = rpc_last_connect_error(rpc);
		if (problem)
			until = MIN(until, g_get_monotonic_time() + BROKER_REFUSED_US);
		g_usleep(BROKER_POLL_US);
	}
	*ret_problem = g_steal_pointer(&problem);
	return false;
}

void check_rabbitmq(struct check *check)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *problem = NULL;
	struct rpc *rpc = rpc_open(&check->config->rpc, &error);

	if (!rpc)
		check_report(check, CHECK_FAIL, "RabbitMQ", "%s", error->message);
	else if (wait_for_broker(rpc, &problem))
		check_report(check, CHECK_OK, "RabbitMQ", "login accepted%s",
			     check->config->rpc.ssl ? ", with TLS" : "");
	else
		check_report(check, CHECK_FAIL, "RabbitMQ", "%s (see [DEFAULT]transport_url)",
			     problem ? problem : "no reply");
	rpc_close(rpc, 0);
}

static void check_user(struct check *check, const char *section, const struct keystone_config *user)
{
	g_autofree char *subject =
		g_strdup_printf("[%s] %s at %s", section, user->username ? user->username : "",
				user->auth_url ? user->auth_url : "(no auth_url)");
	struct image_config config = check->config->image;
	g_autoptr(GError) error = NULL;

	config.request_timeout_s = MIN(config.request_timeout_s, REPLY_S);
	config.connect_timeout_s = MIN(config.connect_timeout_s, CONNECT_S);
	if (image_check_keystone(user, &config, &error) < 0)
		check_report(check, CHECK_FAIL, subject, "%s", error->message);
	else
		check_report(check, user->insecure ? CHECK_WARN : CHECK_OK, subject,
			     "token issued%s", user->insecure ? INSECURE : "");
}

void check_keystone(struct check *check)
{
	const struct image_config *config = &check->config->image;

	if (config->directory)
		return;
	if (config->auth.auth_url)
		check_user(check, "keystone_authtoken", &config->auth);
	if (config->send_service_user_token)
		check_user(check, "service_user", &config->service);
}

static void check_store(struct check *check, const struct image_config *config)
{
	const struct image_identity nobody = {0};
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) error = NULL;
	g_autoptr(image_store_t) store = image_store_new(config, &error);
	g_autofree char *location = store ? image_store_location(store) : NULL;
	g_autofree char *subject =
		g_strdup_printf("%s%s%s", config->directory ? "images" : "Glance",
				location ? " at " : "", location ? location : "");

	/* A working store reports that there is no such image. */
	if (store)
		(void)image_store_get(store, &nobody, NO_IMAGE, &record, &error);
	if (!error || g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
		check_report(check, config->insecure ? CHECK_WARN : CHECK_OK, subject, "answers%s",
			     config->insecure ? INSECURE : "");
	else if (g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_AUTH) && !config->auth.auth_url)
		check_report(check, CHECK_WARN, subject,
			     "answers, and requires a token; without [keystone_authtoken] only the "
			     "tokens of users are available, which expire");
	else
		check_report(check, CHECK_FAIL, subject, "%s", error->message);
}

void check_images(struct check *check)
{
	struct image_config config = check->config->image;
	const char *const *servers = config.api_servers;
	const char *one[2] = {NULL, NULL};

	config.num_retries = 0;
	config.request_timeout_s = MIN(config.request_timeout_s, REPLY_S);
	config.connect_timeout_s = MIN(config.connect_timeout_s, CONNECT_S);
	/* Opening the store would create a missing folder. check_folders reports it. */
	if (config.directory && !g_file_test(config.images_dir, G_FILE_TEST_IS_DIR))
		return;
	if (config.directory || !servers || !*servers) {
		check_store(check, &config);
		return;
	}
	/* A store with one server queries that one. */
	config.api_servers = one;
	for (; *servers; servers++) {
		one[0] = *servers;
		check_store(check, &config);
	}
}
