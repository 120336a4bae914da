/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The steps of a snapshot.
 */
#include "virt/steps.h"

#include <cjson/cJSON.h>
#include <pthread.h>

#include "virt/rollback.h"

#define CLOSE_TRIES 3
#define CLOSE_PAUSE_US G_USEC_PER_SEC

struct open_step {
	char *name;
	char *undo;
	bool failed; /* its rollback failed, and is left to recovery */
};

static void open_step_free(gpointer opaque)
{
	struct open_step *step = opaque;

	g_free(step->name);
	g_free(step->undo);
	g_free(step);
}

void steps_free(struct snapshot *snapshot)
{
	g_clear_pointer(&snapshot->open_steps, g_ptr_array_unref);
}

static void add_open_step(struct snapshot *snapshot, const char *name, const char *undo)
{
	struct open_step *step = g_new0(struct open_step, 1);

	step->name = g_strdup(name);
	step->undo = g_strdup(undo);
	if (!snapshot->open_steps)
		snapshot->open_steps = g_ptr_array_new_with_free_func(open_step_free);
	g_ptr_array_add(snapshot->open_steps, step);
}

static char process_id[37];

static void make_process_id(void)
{
	g_autofree char *uuid = g_uuid_string_random();

	(void)g_strlcpy(process_id, uuid, sizeof(process_id));
}

const char *virt_process_id(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, make_process_id);
	return process_id;
}

void step_note_process(cJSON *undo)
{
	cJSON_AddStringToObject(undo, VIRT_UNDO_PROCESS, virt_process_id());
}

int step_begin(struct snapshot *snapshot, const char *step, cJSON *undo, GError **error)
{
	const struct snapshot_steps *steps = snapshot->steps;
	char *text = undo ? cJSON_PrintUnformatted(undo) : NULL;
	int rc = steps ? steps->begin(steps->opaque, step, text, error) : 0;

	if (rc == 0 && text)
		add_open_step(snapshot, step, text);
	cJSON_free(text);
	cJSON_Delete(undo);
	return rc;
}

int step_end(struct snapshot *snapshot, const char *step, GError **error)
{
	const struct snapshot_steps *steps = snapshot->steps;

	return steps ? steps->end(steps->opaque, step, error) : 0;
}

/* The newest open step of that name; NULL: none. */
static struct open_step *find_open_step(const struct snapshot *snapshot, const char *name)
{
	for (guint i = snapshot->open_steps ? snapshot->open_steps->len : 0; i > 0; i--) {
		struct open_step *step = snapshot->open_steps->pdata[i - 1];

		if (g_str_equal(step->name, name))
			return step;
	}
	return NULL;
}

bool step_is_open(const struct snapshot *snapshot, const char *step)
{
	return find_open_step(snapshot, step) != NULL;
}

void step_clear(struct snapshot *snapshot, const char *step)
{
	const struct snapshot_steps *steps = snapshot->steps;
	struct open_step *open = find_open_step(snapshot, step);

	if (!open)
		return;
	if (steps)
		steps->clear(steps->opaque, step);
	(void)g_ptr_array_remove(snapshot->open_steps, open);
}

static int roll_back_once(struct snapshot *snapshot, const struct open_step *step, GError **error)
{
	const char *name = rollback_name(step->name);

	if (step_begin(snapshot, name, NULL, error) < 0 ||
	    rollback_step(&snapshot->guest, step->name, step->undo, error) < 0)
		return -1;
	return step_end(snapshot, name, error);
}

/* Whether libvirt cannot be reached. Then rollbacks that need libvirt are left to recovery. */
static bool is_unreachable(const struct snapshot *snapshot, const GError *error)
{
	return g_error_matches(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED) &&
	       !snapshot->guest.connection;
}

/* Whether an immediate retry would not help. After an overdue call the connection is lost, but
 * libvirt may have completed the operation: that is worth a second try, on a new connection. If
 * QEMU or qemu-img did not answer, a second try would take just as long. */
static bool is_last_try(const struct snapshot *snapshot, const GError *error, int tries)
{
	/* If thawing fails, the freeze's watchdog retries it. */
	if (tries == CLOSE_TRIES || is_unreachable(snapshot, error) ||
	    g_error_matches(error, VIRT_ERROR, VIRT_ERROR_FREEZE))
		return true;
	return g_error_matches(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT) &&
	       (tries > 1 || guest_is_connected(&snapshot->guest));
}

static int close_step(struct snapshot *snapshot, struct open_step *step, GError **error)
{
	for (int i = 1;; i++) {
		g_autoptr(GError) local = NULL;

		if (roll_back_once(snapshot, step, &local) == 0) {
			step_clear(snapshot, step->name);
			return 0;
		}
		if (is_last_try(snapshot, local, i)) {
			step->failed = true;
			g_propagate_error(error, g_steal_pointer(&local));
			return -1;
		}
		g_warning("guest %s: %s; retrying", snapshot->guest.uuid, local->message);
		g_usleep(CLOSE_PAUSE_US);
	}
}

static bool is_left_to_recovery(const struct snapshot *snapshot, const struct open_step *step)
{
	for (guint i = 0; i < snapshot->open_steps->len; i++) {
		const struct open_step *other = snapshot->open_steps->pdata[i];

		if (other->failed &&
		    (other == step || virt_step_waits_for(step->name, other->name, true)))
			return true;
	}
	return false;
}

int step_close(struct snapshot *snapshot, const char *step, GError **error)
{
	struct open_step *open = find_open_step(snapshot, step);

	return open && !is_left_to_recovery(snapshot, open) ? close_step(snapshot, open, error) : 0;
}

int steps_close_all(struct snapshot *snapshot, const char *except, GError **error)
{
	bool unreachable = false;
	int rc = 0;

	for (guint i = snapshot->open_steps ? snapshot->open_steps->len : 0; i > 0; i--) {
		struct open_step *step = snapshot->open_steps->pdata[i - 1];
		g_autoptr(GError) local = NULL;

		if (g_strcmp0(step->name, except) == 0 || is_left_to_recovery(snapshot, step))
			continue;
		if (unreachable && rollback_asks_libvirt(step->name)) {
			step->failed = true;
			continue;
		}
		if (close_step(snapshot, step, &local) == 0)
			continue;
		unreachable = unreachable || is_unreachable(snapshot, local);
		if (rc == 0)
			g_propagate_error(error, g_steal_pointer(&local));
		else
			g_warning("guest %s: %s", snapshot->guest.uuid, local->message);
		rc = -1;
	}
	return rc;
}
