/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The steps of a snapshot, as its owner is told of them: each before its effect, with what takes it
 * back, so that a later life can (recover.c).
 */
#include <cjson/cJSON.h>

#include "virt/internal.h"

struct open_step {
	char *name;
	char *undo;
};

static void free_open(gpointer opaque)
{
	struct open_step *step = opaque;

	g_free(step->name);
	g_free(step->undo);
	g_free(step);
}

/* Takes the text. */
static void add_open(struct snapshot *snapshot, const char *name, char *undo)
{
	struct open_step *step = g_new0(struct open_step, 1);

	step->name = g_strdup(name);
	step->undo = undo;
	if (!snapshot->open_steps)
		snapshot->open_steps = g_ptr_array_new_with_free_func(free_open);
	g_ptr_array_add(snapshot->open_steps, step);
}

char *virt_host_boot(void)
{
	char *boot = NULL;

	return g_file_get_contents("/proc/sys/kernel/random/boot_id", &boot, NULL, NULL)
		       ? g_strchomp(boot)
		       : NULL;
}

void step_note_boot(cJSON *undo)
{
	g_autofree char *boot = virt_host_boot();

	if (boot)
		cJSON_AddStringToObject(undo, VIRT_UNDO_BOOT, boot);
}

int step_begin(struct snapshot *snapshot, const char *step, cJSON *undo, GError **error)
{
	const struct snapshot_steps *steps = snapshot->steps;
	char *text = undo ? cJSON_PrintUnformatted(undo) : NULL;
	int rc = steps ? steps->begin(steps->opaque, step, text, error) : 0;

	if (rc == 0 && text)
		add_open(snapshot, step, g_strdup(text));
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

	for (guint i = snapshot->open_steps ? snapshot->open_steps->len : 0; i > 0; i--) {
		const struct open_step *open = snapshot->open_steps->pdata[i - 1];

		if (g_str_equal(open->name, step))
			(void)g_ptr_array_remove_index(snapshot->open_steps, i - 1);
	}
	if (steps)
		steps->over(steps->opaque, step);
}

int steps_take_back(struct snapshot *snapshot, GError **error)
{
	GPtrArray *steps = snapshot->open_steps;

	while (steps && steps->len > 0) {
		const struct open_step *step = steps->pdata[steps->len - 1];
		g_autofree char *name = g_strdup(step->name);

		if (step_begin(snapshot, "take-back", NULL, error) < 0 ||
		    virt_guest_undo(snapshot->host, snapshot->uuid, name, step->undo, error) < 0 ||
		    step_end(snapshot, "take-back", error) < 0) {
			/* Not tried again here, but by who reads the journal. */
			g_ptr_array_set_size(steps, 0);
			return -1;
		}
		step_over(snapshot, name);
	}
	return 0;
}
