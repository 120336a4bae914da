/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: whom novasnapd talks to, and the programs that it runs.
 */
#include <unistd.h>

#include "agent/check/check.h"

#define ANSWER_S 5
#define BROKER_S 15
#define LOOK_US (G_USEC_PER_SEC / 10)
/* An image that is not there. */
#define NO_IMAGE "00000000-0000-4000-8000-000000000000"

void check_programs(struct check *check)
{
	const struct {
		const char *name;
		const char *program;
		const char *needed_for;
	} programs[] = {
		{"qemu-img", "qemu-img", "rebase, extract, internal, and chains of files"},
		{"qemu-nbd", "qemu-nbd", "the disks of guests at rest"},
		{"novasnap-thaw", check->config->virt.thaw_program,
		 "guests whose filesystems are frozen"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(programs); i++) {
		g_autofree char *path = g_find_program_in_path(programs[i].program);

		if (path)
			check_say(check, CHECK_OK, programs[i].name, "is %s", path);
		else
			check_say(
				check, CHECK_FAIL, programs[i].name,
				"is not there, and needed for %s: install it (Debian: qemu-utils), "
				"or set PATH or [novasnap]thaw_program",
				programs[i].needed_for);
	}
}

void check_libvirt(struct check *check)
{
	g_autofree char *what =
		g_strdup_printf("libvirt at %s", check->config->virt.connection_uri);
	g_autoptr(GError) error = NULL;
	g_autofree char *versions = NULL;
	g_autofree char *name = NULL;
	struct virt_user user;

	check->virt = check->config->virt;
	check->virt.connect_timeout_s = MIN(check->virt.connect_timeout_s, ANSWER_S);
	check->host = virt_host_open(&check->virt, &error);
	if (check->host)
		versions = virt_host_versions(check->host, &error);
	if (!versions) {
		check_say(check, CHECK_FAIL, what, "%s%s", error->message,
			  g_error_matches(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED)
				  ? "; does libvirtd run, and is this user in the group libvirt?"
				  : "");
		return;
	}
	if (virt_host_qemu_user(check->host, &user, &error) == 0)
		name = virt_user_name(user.uid);
	check_say(check, CHECK_OK, what, "%s%s%s", versions, name ? ", QEMU runs as " : "",
		  name ? name : "");
}

void check_rabbitmq(struct check *check)
{
	gint64 until = g_get_monotonic_time() + (gint64)BROKER_S * G_USEC_PER_SEC;
	g_autoptr(GError) error = NULL;
	g_autofree char *trouble = NULL;
	struct rpc *rpc = rpc_open(&check->config->rpc, &error);
	bool ready = false;

	if (!rpc) {
		check_say(check, CHECK_FAIL, "RabbitMQ", "%s", error->message);
		return;
	}
	/* One that does not answer has all the time, one that refuses has answered. */
	while (!(ready = rpc_wait_ready(rpc, 0)) && g_get_monotonic_time() < until) {
		g_free(trouble);
		trouble = rpc_last_connect_error(rpc);
		if (trouble)
			until = MIN(until, g_get_monotonic_time() + G_USEC_PER_SEC);
		g_usleep(LOOK_US);
	}
	if (ready)
		check_say(check, CHECK_OK, "RabbitMQ", "logged in%s",
			  check->config->rpc.ssl ? ", by TLS" : "");
	else
		check_say(check, CHECK_FAIL, "RabbitMQ", "%s; see [DEFAULT]transport_url",
			  trouble ? trouble : "no answer");
	rpc_close(rpc, 0);
}

static void check_user(struct check *check, const char *section, const struct keystone_config *user)
{
	g_autofree char *what =
		g_strdup_printf("[%s] %s at %s", section, user->username ? user->username : "",
				user->auth_url ? user->auth_url : "(no auth_url)");
	struct image_config config = check->config->image;
	g_autoptr(GError) error = NULL;

	config.request_timeout_s = MIN(config.request_timeout_s, BROKER_S);
	config.connect_timeout_s = MIN(config.connect_timeout_s, ANSWER_S);
	if (image_check_keystone(user, &config, &error) < 0)
		check_say(check, CHECK_FAIL, what, "%s", error->message);
	else
		check_say(check, user->insecure ? CHECK_WARN : CHECK_OK, what, "gives a token%s",
			  user->insecure ? "; insecure: its certificate is not checked" : "");
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
	g_autofree char *place = store ? image_store_location(store) : NULL;
	g_autofree char *what = g_strdup_printf("%s%s%s", config->directory ? "images" : "Glance",
						place ? " at " : "", place ? place : "");

	if (store)
		(void)image_store_get(store, &nobody, NO_IMAGE, &record, &error);
	/* That this image is not there is what a store says that is well. */
	if (!error || g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
		check_say(check, config->insecure ? CHECK_WARN : CHECK_OK, what, "answers%s",
			  config->insecure ? "; insecure: its certificate is not checked" : "");
	else if (g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_AUTH) && !config->auth.auth_url)
		check_say(check, CHECK_WARN, what,
			  "answers, and wants a token: without [keystone_authtoken] the users' "
			  "alone are used, which expire");
	else
		check_say(check, CHECK_FAIL, what, "%s", error->message);
}

/* Each server by itself, and once. */
void check_images(struct check *check)
{
	struct image_config config = check->config->image;
	const char *const *servers = config.api_servers;
	const char *one[2] = {NULL, NULL};

	config.num_retries = 0;
	config.request_timeout_s = MIN(config.request_timeout_s, BROKER_S);
	config.connect_timeout_s = MIN(config.connect_timeout_s, ANSWER_S);
	/* One that is not there would be made by opening it. */
	if (config.directory && !g_file_test(config.images_dir, G_FILE_TEST_IS_DIR))
		return;
	if (config.directory || !servers || !*servers) {
		check_store(check, &config);
		return;
	}
	config.api_servers = one;
	for (; *servers; servers++) {
		one[0] = *servers;
		check_store(check, &config);
	}
}
