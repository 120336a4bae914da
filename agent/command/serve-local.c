/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A cast served here, by no broker and no conductor: the same manager and the same tasks, which
 * tell this terminal alone.
 */
#include <signal.h>
#include <stdlib.h>

#include "agent/command/command.h"
#include "agent/daemon/manager.h"

/* What cannot be used is told by a warning, and no task comes of it. */
static bool is_usable(const struct rpc_request *request, GError **error)
{
	const cJSON *args = rpc_request_args(request);
	struct nova_instance *instance = nova_instance_from_args(args, error);
	bool has_image = cJSON_IsString(cJSON_GetObjectItemCaseSensitive(args, "image_id"));

	if (instance && !has_image)
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "the message has no image: only snapshots are served here");
	nova_instance_free(instance);
	return instance && has_image;
}

int local_serve(const struct config *config, cJSON *cast, GError **error)
{
	struct config here = *config;
	struct rpc_request *request = rpc_request_new_local(cast);
	const cJSON *args = rpc_request_args(request);
	const char *image =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(args, "image_id"));
	struct progress_view *view = NULL;
	struct manager *manager = NULL;
	int status = -1;

	(void)signal(SIGPIPE, SIG_IGN);
	here.control = false;
	here.notify.enabled = false;
	here.shutdown_grace_s = 0;
	if (is_usable(request, error))
		view = progress_view_new(NULL, image, NULL, error);
	if (view)
		manager = manager_open(&here, NULL, error);
	if (!manager) {
		rpc_request_free(request);
		progress_view_free(view);
		return -1;
	}
	manager_set_progress(manager, progress_view_take, view);
	status = manager_take(manager, request) ? progress_view_run(view, 0) : EXIT_FAILURE;
	/* After a signal: what is under way is undone. */
	if (manager_stop(manager) > 0) {
		g_warning("it did not end in time; what it left is named in its last words");
		return EXIT_FAILURE;
	}
	manager_free(manager);
	progress_view_free(view);
	return status;
}
