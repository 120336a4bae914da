/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See location.h.
 */
#include "agent/recovery/location.h"

#include "agent/task/facts.h"
#include "agent/task/fault-point.h"
#include "agent/task/location-step.h"

static bool is_open_location(const struct journal_step *step)
{
	return journal_step_is_open(step) && g_str_equal(step->name, LOCATION_STEP);
}

/* The fact of that word that was journaled after the step. The facts of an ended job are cleared,
 * but still there. NULL: none. */
static const struct journal_step *fact_after(const struct journal_job *left,
					     const struct journal_step *step, const char *word)
{
	for (guint i = left->steps->len; i > 0; i--) {
		const struct journal_step *other = left->steps->pdata[i - 1];

		if (other == step)
			return NULL;
		if (g_str_equal(other->name, word))
			return other;
	}
	return NULL;
}

static bool is_stored(const struct journal_job *left, const struct journal_step *step)
{
	return fact_after(left, step, FACT_IMAGE_STORED) || fact_after(left, step, FACT_KEEP_IMAGE);
}

bool recovery_location_needs_store(const struct journal_job *left, const struct journal_step *step)
{
	return is_open_location(step) && fact_after(left, step, FACT_DATA_SENT) &&
	       !is_stored(left, step);
}

static int remove_copy(struct agent *agent, const char *url, GError **error)
{
	if (fault_at("location-remove", "before")) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FAILED,
				    "a fault was put in before location-remove");
		return -1;
	}
	if (virt_direct_copy_remove(agent->host, url, error) < 0)
		return -1;
	(void)fault_at("location-remove", "after");
	return 0;
}

int recovery_location_rollback(struct agent *agent, const struct journal_job *left,
			       const struct journal_step *step, GError **error)
{
	g_autofree char *url = NULL;

	if (is_stored(left, step))
		return 0;
	url = location_step_url(step, error);
	return url ? remove_copy(agent, url, error) : -1;
}

static int clear_step(struct agent *agent, struct journal_step *step, GError **error)
{
	if (journal_step_clear_id(agent->journal, step->id, error) < 0)
		return -1;
	step->cleared = true;
	return 0;
}

/* The store does not use the copy. */
static int remove_and_clear(struct agent *agent, struct journal_step *step, GError **error)
{
	g_autofree char *url = location_step_url(step, error);

	if (!url)
		return -1;
	if (remove_copy(agent, url, error) < 0) {
		g_prefix_error(error, "the copy %s is left: ", url);
		return -1;
	}
	return clear_step(agent, step, error);
}

int recovery_location_close(struct task *task, enum image_standing image, GError **error)
{
	const struct journal_job *left = task->recovered_job;
	int rc = 0;

	for (guint i = 0; i < left->steps->len && rc == 0; i++) {
		struct journal_step *step = left->steps->pdata[i];

		if (!is_open_location(step))
			continue;
		if (image == IMAGE_COMPLETE)
			rc = clear_step(task->agent, step, error);
		else if (image == IMAGE_WAITS)
			rc = remove_and_clear(task->agent, step, error);
	}
	if (rc == 0 && image == IMAGE_WAITS)
		location_forget_sending(task);
	return rc;
}

/* Whether an image that does not use the location may still get it: it waits for data, and the
 * request may still arrive. */
static bool may_arrive(struct task *task, const struct journal_step *sent)
{
	g_autoptr(image_record_t) record = NULL;
	g_autoptr(GError) error = NULL;

	if (!location_may_arrive(task->agent->config, sent->at))
		return false;
	if (image_store_get(task->agent->store, &task->identity, task->image_id, &record, &error) ==
	    0)
		return g_strcmp0(record->status, "queued") == 0;
	return !g_error_matches(error, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND);
}

/* The image has the location, or may have it. The copy is settled if the image has all data. */
static int keep_copy(struct task *task, struct journal_step *step, const char *url, GError **error)
{
	g_autoptr(image_record_t) record = NULL;

	if (image_store_get(task->agent->store, &task->identity, task->image_id, &record, error) <
	    0)
		return -1;
	if (g_strcmp0(record->status, "active") != 0 &&
	    g_strcmp0(record->status, "deactivated") != 0) {
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE,
			    "image %s is %s, and may get the location", task->image_id,
			    record->status);
		return -1;
	}
	g_message("instance %s: image %s is %s: its data at %s is kept",
		  nova_instance_uuid(task->instance), task->image_id, record->status, url);
	return clear_step(task->agent, step, error);
}

static int settle_step(struct task *task, const struct journal_job *left, struct journal_step *step,
		       GError **error)
{
	g_autofree char *url = location_step_url(step, error);
	const struct journal_step *sent = fact_after(left, step, FACT_DATA_SENT);

	if (!url)
		return -1;
	switch (image_store_has_location(task->agent->store, &task->identity, task->image_id, url,
					 error)) {
	case IMAGE_LOCATION_USED:
		return keep_copy(task, step, url, error);
	case IMAGE_LOCATION_UNUSED:
		if (!may_arrive(task, sent))
			return remove_and_clear(task->agent, step, error);
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE,
			    "image %s waits for data, and may still get the location",
			    task->image_id);
		return -1;
	case IMAGE_LOCATION_NOT_KNOWN:
	default:
		return -1;
	}
}

int recovery_location_settle(struct task *task, const struct journal_job *left, GError **error)
{
	int rc = 0;

	for (guint i = 0; task->image_id && i < left->steps->len; i++) {
		struct journal_step *step = left->steps->pdata[i];
		g_autoptr(GError) local = NULL;
		g_autofree char *url = NULL;

		if (!recovery_location_needs_store(left, step) ||
		    settle_step(task, left, step, &local) == 0)
			continue;
		url = location_step_url(step, NULL);
		g_prefix_error(&local,
			       "the copy of the disk at %s is left, because it is unknown whether "
			       "image %s uses it; if it does not, remove its snapshot \"snap\" and "
			       "then it with rbd: ",
			       url ? url : "(unknown)", task->image_id);
		if (rc == 0)
			g_propagate_error(error, g_steal_pointer(&local));
		rc = -1;
	}
	return rc;
}
