/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: checks whether novasnapd can run, and says what to do if not. It changes nothing,
 * but for queues of its own at the broker, which it deletes, and does not disturb a running
 * novasnapd.
 */
#include <limits.h>
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
#include "agent/command/terminal.h"

static const struct command_help help = {
	.summary = "Checks everything that novasnapd needs: the configuration, programs, libvirt, "
		   "folders, guests' disks,\nRabbitMQ, Keystone and Glance. Each result is one "
		   "line: ok, warn or "
		   "FAIL, the subject, and what to do.\nRun it as novasnapd's user. It changes "
		   "nothing; at the broker, it declares queues of its own and deletes them.",
	.exit_status = "  0    nothing failed; there may be warnings\n"
		       "  1    something failed\n" COMMAND_EXIT_USAGE,
	.example = "runuser -u nova -g nova -G libvirt -G libvirt-qemu -- novasnap check",
};

struct printer {
	struct terminal terminal;
	cJSON *results; /* with --json; else NULL */
};

static void print_result(enum check_result result, const char *subject, const char *text,
			 void *opaque)
{
	static const struct {
		const char *word;
		const char *name;
		enum terminal_style style;
	} kinds[] = {
		[CHECK_OK] = {"ok", "ok", STYLE_GOOD},
		[CHECK_WARN] = {"warn", "warning", STYLE_WARNING},
		[CHECK_FAIL] = {"FAIL", "failed", STYLE_BAD},
	};
	struct printer *printer = opaque;
	unsigned left = UINT_MAX;
	g_autoptr(GString) word = g_string_new(NULL);
	cJSON *object;

	if (!printer->results) {
		terminal_add(&printer->terminal, word, &left, kinds[result].style, "%-4s",
			     kinds[result].word);
		printf("%s  %s: %s\n", word->str, subject, text);
		(void)fflush(stdout);
		return;
	}
	object = cJSON_CreateObject();
	cJSON_AddStringToObject(object, "result", kinds[result].name);
	cJSON_AddStringToObject(object, "subject", subject);
	cJSON_AddStringToObject(object, "text", text);
	cJSON_AddItemToArray(printer->results, object);
}

static void print_counts(struct printer *printer, const struct check *check)
{
	cJSON *object;

	if (!printer->results) {
		printf("%u failed, %u warnings\n", check->failed, check->warned);
		return;
	}
	object = cJSON_CreateObject();
	cJSON_AddNumberToObject(object, "failed", check->failed);
	cJSON_AddNumberToObject(object, "warnings", check->warned);
	cJSON_AddItemToObject(object, "results", printer->results);
	command_print_json(object);
}

static void report_configuration(struct check *check)
{
	g_autofree char *user = virt_user_name(geteuid());
	g_autofree char *files = g_strjoinv(", ", (char **)check->config->files);

	check_report(check, CHECK_OK, "configuration", "%s; host %s, checked as user %s", files,
		     check->config->rpc.host, user);
}

int command_check(const struct command_context *context, int argc, char **argv)
{
	struct printer printer = {0};
	gboolean json = FALSE;
	const GOptionEntry entries[] = {
		{"json", 0, 0, G_OPTION_ARG_NONE, &json, COMMAND_JSON, NULL},
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(config_t) config = NULL;
	g_autoptr(GError) error = NULL;
	struct check check = {.print = print_result, .print_opaque = &printer};
	int status;

	if (!command_parse_options(&argc, &argv, entries, &help, &status))
		return status;
	terminal_look(&printer.terminal);
	printer.results = json ? cJSON_CreateArray() : NULL;
	config = config_load(context->files, &error);
	if (!config) {
		check_report(&check, CHECK_FAIL, "configuration", "%s", error->message);
		print_counts(&printer, &check);
		return EXIT_USAGE;
	}
	/* Warnings would repeat the results. */
	*context->log_level = G_LOG_LEVEL_CRITICAL;
	check.config = config;
	report_configuration(&check);
	check_mode(&check);
	check_programs(&check);
	check_libvirt(&check);
	check_folders(&check);
	/* After its folders. */
	check_guests(&check);
	check_rejected(&check);
	check_guest_disks(&check);
	check_ceph(&check);
	check_rabbitmq(&check);
	check_keystone(&check);
	check_images(&check);
	check_cinder(&check);
	virt_host_close(check.host);
	print_counts(&printer, &check);
	return check.failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
