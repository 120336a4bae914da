/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: the programs that novasnapd runs, and the services that it uses.
 */
#include "agent/check/services.h"

#include <unistd.h>

/* Limits for checks, if the configured limits are longer. */
#define CONNECT_S 5
#define REPLY_S 15
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

void check_ceph(struct check *check)
{
	struct virt_config config = check->config->virt;
	const char *user = config.rbd_user && *config.rbd_user ? config.rbd_user : "admin";
	g_autofree char *subject = g_strdup_printf("Ceph as client.%s", user);
	g_autoptr(GError) error = NULL;
	g_autofree char *fsid = NULL;

	if (!check->config->images_in_rbd)
		return;
	config.rbd_timeout_s = MIN(config.rbd_timeout_s, REPLY_S);
	fsid = virt_rbd_fsid(&config, &error);
	if (fsid)
		check_report(check, CHECK_OK, subject, "cluster %s, disks in the pool %s", fsid,
			     check->config->rbd_pool);
	else
		check_report(check, CHECK_FAIL, subject, "%s", error->message);
}

/* Names a section, and the one that it refers to. The caller frees the text. */
static char *describe_section(const char *section, const struct keystone_config *user)
{
	if (g_str_equal(section, user->section))
		return g_strdup_printf("[%s]", section);
	return g_strdup_printf("[%s] in [%s]", section, user->section);
}

static void check_user(struct check *check, const char *section, const struct keystone_config *user)
{
	g_autofree char *where = describe_section(section, user);
	g_autofree char *who = image_keystone_describe(user);
	g_autofree char *subject =
		*who ? g_strdup_printf("%s %s at %s", where, who, user->auth_url) : g_strdup(where);
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
	if (config->auth.method != KEYSTONE_NONE)
		check_user(check, "keystone_authtoken", &config->auth);
	if (config->send_service_user_token)
		check_user(check, "service_user", &config->service);
}

/* Which tokens requests to Glance carry. The caller frees the text. */
static char *describe_tokens(const struct image_config *config)
{
	g_autofree char *own = describe_section("keystone_authtoken", &config->auth);
	g_autofree char *who = image_keystone_describe(&config->auth);
	g_autofree char *service = describe_section("service_user", &config->service);
	g_autofree char *beside = image_keystone_describe(&config->service);

	return g_strdup_printf("the token of the cast%s%s%s%s%s%s%s%s", *who ? ", or else of " : "",
			       *who ? own : "", *who ? " " : "", who,
			       *beside ? ", beside that of " : "", *beside ? service : "",
			       *beside ? " " : "", beside);
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

	g_autofree char *tokens = config->directory ? NULL : describe_tokens(config);

	/* A working store reports that there is no such image. */
	if (store)
		(void)image_store_get(store, &nobody, NO_IMAGE, &record, &error);
	if (!error || g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND))
		check_report(check, config->insecure ? CHECK_WARN : CHECK_OK, subject,
			     "answers%s%s%s", tokens ? "; requests carry " : "",
			     tokens ? tokens : "", config->insecure ? INSECURE : "");
	else if (g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_AUTH) &&
		 config->auth.method == KEYSTONE_NONE)
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

void check_cinder(struct check *check)
{
	const struct config *config = check->config;
	const char *template = config->volume.endpoint_template;
	g_autofree char *tokens = NULL;

	if (config->image.directory)
		return;
	tokens = describe_tokens(&config->image);
	if (template || config->image.auth.method != KEYSTONE_NONE)
		check_report(check, config->volume.insecure ? CHECK_WARN : CHECK_OK, "Cinder",
			     "not asked; it is told of volume snapshots at %s; requests carry %s%s",
			     template ? template : "the endpoint of Keystone's catalogue", tokens,
			     config->volume.insecure ? INSECURE : "");
	else
		check_report(check, CHECK_WARN, "Cinder",
			     "is not told of volume snapshots; set [keystone_authtoken] or "
			     "[cinder]endpoint_template if there are any");
}
