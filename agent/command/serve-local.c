/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Executes a cast in this process, with the manager and the tasks of novasnapd. Progress is shown
 * on standard output instead of being sent to a conductor and listeners.
 */
#include "agent/command/serve-local.h"

#include <signal.h>
#include <stdlib.h>

#include "agent/command/progress-bar.h"
#include "agent/daemon/manager.h"

int serve_locally(const struct config *config, cJSON *cast, bool json, GError **error)
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
	if (image)
		view = progress_view_new(NULL, image, NULL, json, error);
	else
		g_set_error_literal(error, RPC_ERROR, RPC_ERROR_DECODE,
				    "the message has no image; only snapshots can be executed "
				    "without a broker");
	if (view)
		manager = manager_open(&local, NULL, error);
	if (!manager) {
		rpc_request_free(request);
		progress_view_free(view);
		return -1;
	}
	manager_set_progress(manager, progress_view_push, view);
	if (manager_take(manager, request, error))
		status = progress_view_run(view, 0);
	/* After a signal the job is still running: it is cancelled and rolled back. */
	if (manager_stop(manager) > 0) {
		g_warning("the job did not end in time; see the last messages for leftovers");
		return EXIT_FAILURE;
	}
	manager_free(manager);
	progress_view_free(view);
	return status;
}
