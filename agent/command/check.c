/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: checks whether novasnapd can run, and says what to do if not. It changes nothing,
 * but for queues of its own at the broker, which it deletes, and does not disturb a running
 * novasnapd.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/check/folders.h"
#include "agent/check/guest-disks.h"
#include "agent/check/guests.h"
#include "agent/check/mode.h"
#include "agent/check/rabbitmq.h"
#include "agent/check/rejected.h"
#include "agent/check/services.h"
#include "agent/command/common.h"

static const struct command_help help = {
	.summary = "Checks everything that novasnapd needs: the configuration, programs, libvirt, "
		   "folders, guests' disks,\nRabbitMQ, Keystone and Glance. Each result is one "
		   "line: ok, warn or "
		   "FAIL, the subject, and what to do.\nRun it as novasnapd's user. It changes "
		   "nothing; at the broker, it declares queues of its own and deletes them.",
	.exit_status = "  0    nothing failed; there may be warnings\n"
		       "  1    something failed, or the configuration is invalid\n"
		       "  2    wrong option or argument\n",
	.example = "runuser -u nova -g nova -G libvirt -G libvirt-qemu -- novasnap check",
};

static void report_configuration(struct check *check)
{
	g_autofree char *user = virt_user_name(geteuid());
	g_autofree char *files = g_strjoinv(", ", (char **)check->config->files);

	check_report(check, CHECK_OK, "configuration", "%s; host %s, checked as user %s", files,
		     check->config->rpc.host, user);
}

int command_check(const struct command_context *context, int argc, char **argv)
{
	const GOptionEntry entries[] = {G_OPTION_ENTRY_NULL};
	g_autoptr(config_t) config = NULL;
	g_autoptr(GError) error = NULL;
	struct check check = {0};
	int status;

	if (!command_parse(&argc, &argv, entries, &help, &status))
		return status;
	if (argc != 1)
		return command_fail_usage("check", "it takes no arguments");
	config = config_load(context->files, &error);
	if (!config) {
		check_report(&check, CHECK_FAIL, "configuration", "%s", error->message);
		return EXIT_FAILURE;
	}
	/* Warnings would repeat the results. */
	*context->log_level = G_LOG_LEVEL_CRITICAL;
	check.config = config;
	report_configuration(&check);
	check_mode(&check);
	check_programs(&check);
	check_libvirt(&check);
	check_guests(&check);
	check_folders(&check);
	check_rejected(&check);
	check_guest_disks(&check);
	check_ceph(&check);
	check_rabbitmq(&check);
	check_keystone(&check);
	check_images(&check);
	check_cinder(&check);
	virt_host_close(check.host);
	printf("%u failed, %u warnings\n", check.failed, check.warned);
	return check.failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
