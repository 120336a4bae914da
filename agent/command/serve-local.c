/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Serves a cast in this process, by the manager and the tasks of novasnapd. Progress is reported to
 * standard output instead of a conductor and listeners.
 */
#include "agent/command/serve-local.h"

#include <signal.h>
#include <stdlib.h>

#include "agent/command/progress-bar.h"
#include "agent/daemon/manager.h"

/* The manager only logs what is wrong with a message; here the operator gets it as an error. */
static bool check_request(const struct rpc_request *request, GError **error)
{
	const cJSON *args = rpc_request_args(request);
	struct nova_instance *instance = nova_instance_from_args(args, error);
	bool has_image = cJSON_IsString(cJSON_GetObjectItemCaseSensitive(args, "image_id"));

	if (instance && !has_image)
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "the message has no image; only snapshots can be served "
				    "without a broker");
	nova_instance_free(instance);
	return instance && has_image;
}

int serve_locally(const struct config *config, cJSON *cast, GError **error)
{
	struct config local = *config;
	struct rpc_request *request = rpc_request_new_local(cast);
	const cJSON *args = rpc_request_args(request);
	const char *image =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(args, "image_id"));
	struct progress_view *view = NULL;
	struct manager *manager = NULL;
	int status = -1;

	(void)signal(SIGPIPE, SIG_IGN);
	local.control = false;
	local.notify.enabled = false;
	local.shutdown_grace_s = 0;
	if (check_request(request, error))
		view = progress_view_new(NULL, image, NULL, error);
	if (view)
		manager = manager_open(&local, NULL, error);
	if (!manager) {
		rpc_request_free(request);
		progress_view_free(view);
		return -1;
	}
	manager->progress = progress_view_push;
	manager->progress_opaque = view;
	status = manager_take(manager, request) ? progress_view_run(view, 0) : EXIT_FAILURE;
	/* After a signal the job still runs: it is cancelled and undone. */
	if (manager_stop(manager) > 0) {
		g_warning(
			"the job did not end in time; the last messages name what it left behind");
		return EXIT_FAILURE;
	}
	manager_free(manager);
	progress_view_free(view);
	return status;
}
