/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap send: publishes a cast as nova-api does, either recorded or created for a guest of this
 * host.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/beside/state.h"
#include "agent/command/cast-file.h"
#include "agent/command/common.h"
#include "agent/command/progress-bar.h"

#define METHOD "snapshot_instance"

static const struct command_help help = {
	.arguments = METHOD,
	.summary = "Sends the cast snapshot_instance to a compute host, as nova-api does, and "
		   "prints the image's ID.\nThe cast is read from --file, or created for the guest "
		   "--domain. Without --image, the image is\ncreated first.",
	.exit_status = "  0    the cast was sent; with --watch, the snapshot succeeded\n"
		       "  1    the cast could not be sent, the snapshot failed, nova-compute "
		       "serves it, or the time is over\n" COMMAND_EXIT_USAGE COMMAND_EXIT_SIGNAL
		       ", with --watch\n",
	.example = "novasnap send snapshot_instance --domain instance-0000002a --watch",
};

struct send_options {
	char *file;
	char *domain;
	char *instance;
	char *image;
	char *name;
	char *host;
	gboolean watch;
	gboolean json;
	int timeout;
};

static void print_sent(const struct send_options *options, const char *topic, const char *image)
{
	cJSON *object;

	if (!options->json) {
		printf("%s\n", image);
		(void)fflush(stdout);
		return;
	}
	object = cJSON_CreateObject();
	cJSON_AddStringToObject(object, "method", METHOD);
	cJSON_AddStringToObject(object, "image", image);
	cJSON_AddStringToObject(object, "topic", topic);
	command_print_json(object);
}

/* Whether novasnapd does not get the cast: `novasnap beside` is not enabled on this host, or the
 * requests are given back. A state that cannot be read counts as enabled. */
static bool is_for_nova_compute(const struct config *config, const struct send_options *options)
{
	struct beside_state state;

	if (!config->beside || (options->host && !g_str_equal(options->host, config->rpc.host)) ||
	    beside_state_read(config->state_dir, &state, NULL) < 0)
		return false;
	return !beside_state_takes_requests(&state);
}

/* Publishes the cast for an image, and with --watch shows the progress. The view must listen before
 * the cast is sent. */
static int publish_cast(const struct config *config, const struct send_options *options,
			struct rpc *rpc, struct progress_view *view, const cJSON *message,
			const char *image, GError **error)
{
	g_autofree char *topic = g_strdup_printf("%s.%s", config->rpc.topic,
						 options->host ? options->host : config->rpc.host);
	bool is_for_nova = is_for_nova_compute(config, options);
	char *body = rpc_body_encode(message);
	int rc = rpc_publish_body(rpc, topic, body, error);

	cJSON_free(body);
	if (rc < 0)
		return -1;
	print_sent(options, topic, image);
	/* It did not change meanwhile. */
	if (view && is_for_nova && is_for_nova_compute(config, options)) {
		(void)fprintf(stderr, "novasnap send: nova-compute serves it: it has the requests "
				      "of this host, see novasnap beside --status\n");
		return EXIT_FAILURE;
	}
	return view ? progress_view_run(view, (unsigned)options->timeout) : EXIT_SUCCESS;
}

/* Creates the image unless one is given, and sends the cast. The broker must be connected. */
static int send_through_broker(struct rpc *rpc, const struct config *config,
			       const struct send_options *options, cJSON *message,
			       struct progress_view **ret_view, GError **error)
{
	g_autofree char *name =
		options->name ? g_strdup(options->name)
			      : g_strdup_printf("snapshot of %s",
						options->domain ? options->domain : "a guest");
	g_autofree char *image = options->image ? g_strdup(options->image)
						: cast_create_image(config, message, name, error);
	int status = -1;

	if (!image)
		return -1;
	if (cast_retarget(message, options->instance, image, error) == 0) {
		if (options->watch)
			*ret_view = progress_view_new(rpc, image, NULL, options->json, error);
		if ((*ret_view || !options->watch) && command_wait_ready(rpc, error) == 0)
			status = publish_cast(config, options, rpc, *ret_view, message, image,
					      error);
	}
	if (status < 0 && !options->image)
		g_prefix_error(error, "image %s was created, but the cast was not sent: ", image);
	return status;
}

static int send_cast(const struct config *config, const struct send_options *options,
		     GError **error)
{
	cJSON *message = options->file ? cast_read_snapshot(options->file, error)
				       : cast_for_domain(config, options->domain, error);
	struct rpc *rpc = message ? rpc_open(&config->rpc, error) : NULL;
	struct progress_view *view = NULL;
	int status = -1;

	/* Before anything else, so that no image is created in vain. */
	if (rpc && command_wait_ready(rpc, error) == 0)
		status = send_through_broker(rpc, config, options, message, &view, error);
	rpc_close(rpc, 0);
	progress_view_free(view);
	cJSON_Delete(message);
	return status;
}

static const char *find_send_usage_problem(const struct send_options *options, int argc,
					   char **argv)
{
	if (argc != 2 || !g_str_equal(argv[1], METHOD))
		return "name the method, which is " METHOD;
	if (!options->file == !options->domain)
		return "give either --file or --domain";
	if (options->instance && !g_uuid_string_is_valid(options->instance))
		return "--instance must be a UUID";
	if (options->image && !g_uuid_string_is_valid(options->image))
		return "--image must be a UUID";
	if (options->image && options->name)
		return "--name is for a new image, and --image for an existing one";
	if (options->timeout < 0)
		return "--timeout must not be negative";
	if (options->timeout > 0 && !options->watch)
		return "--timeout needs --watch";
	return NULL;
}

static int run_send(const struct command_context *context, const struct send_options *options,
		    int argc, char **argv)
{
	const char *problem = find_send_usage_problem(options, argc, argv);
	g_autoptr(config_t) config = NULL;
	g_autoptr(GError) error = NULL;
	int status;

	if (problem)
		return command_fail_usage("send", problem);
	config = command_config(context, "send");
	if (!config)
		return EXIT_USAGE;
	status = send_cast(config, options, &error);
	return status < 0 ? command_fail("send", error) : status;
}

int command_send(const struct command_context *context, int argc, char **argv)
{
	struct send_options options = {0};
	const GOptionEntry entries[] = {
		{"file", 0, 0, G_OPTION_ARG_FILENAME, &options.file,
		 "Send the first cast snapshot_instance in this file", "FILE"},
		{"domain", 0, 0, G_OPTION_ARG_STRING, &options.domain,
		 "Create a cast for this libvirt domain of this host, which nova need not know",
		 "NAME"},
		{"instance", 0, 0, G_OPTION_ARG_STRING, &options.instance,
		 "Use this instance instead of the one in the file", "UUID"},
		{"image", 0, 0, G_OPTION_ARG_STRING, &options.image,
		 "Use this image, which must have the status queued", "ID"},
		{"name", 0, 0, G_OPTION_ARG_STRING, &options.name,
		 "The name of the image to create", "NAME"},
		{"host", 0, 0, G_OPTION_ARG_STRING, &options.host,
		 "Send to this compute host (default: this host)", "HOST"},
		{"watch", 0, 0, G_OPTION_ARG_NONE, &options.watch,
		 "Show the progress of the snapshot until its end", NULL},
		{"timeout", 0, 0, G_OPTION_ARG_INT, &options.timeout,
		 "With --watch: end after this time (default: 0, no limit)", "SECONDS"},
		{"json", 0, 0, G_OPTION_ARG_NONE, &options.json, COMMAND_JSON_LINES, NULL},
		G_OPTION_ENTRY_NULL,
	};
	int status;

	if (command_parse(&argc, &argv, entries, &help, &status))
		status = run_send(context, &options, argc, argv);
	g_free(options.file);
	g_free(options.domain);
	g_free(options.instance);
	g_free(options.image);
	g_free(options.name);
	g_free(options.host);
	return status;
}
