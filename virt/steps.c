/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The steps of a snapshot, as its owner is told of them: each before its effect, with what takes it
 * back, so that a later life can (recover.c).
 */
#include <cjson/cJSON.h>

#include "virt/internal.h"

int step_begin(struct snapshot *snapshot, const char *step, cJSON *undo, GError **error)
{
	const struct snapshot_steps *steps = snapshot->steps;
	char *text = undo ? cJSON_PrintUnformatted(undo) : NULL;
	int rc = steps ? steps->begin(steps->opaque, step, text, error) : 0;

	cJSON_free(text);
	cJSON_Delete(undo);
	return rc;
}

int step_end(struct snapshot *snapshot, const char *step, GError **error)
{
	const struct snapshot_steps *steps = snapshot->steps;

	return steps ? steps->end(steps->opaque, step, error) : 0;
}

void step_over(struct snapshot *snapshot, const char *step)
{
	const struct snapshot_steps *steps = snapshot->steps;

	if (steps)
		steps->over(steps->opaque, step);
}
