/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tables of agent/task/state.c as Markdown, for HACKING.md and the test that compares them.
 */
#ifndef NOVASNAP_TESTS_STATE_TABLE_H
#define NOVASNAP_TESTS_STATE_TABLE_H

#include "agent/task/state.h"

/* What the code does not say. */
static const struct {
	const char *meaning;
	const char *after_crash;
} stage_texts[TASK_STAGES] = {
	[STAGE_WAITING] = {"journaled and acked; nothing was begun", "begun by the next process"},
	[STAGE_RECOVERING] = {"an earlier process began it; its steps are rolled back, instance "
			      "and image are asked for",
			      "recovered again"},
	[STAGE_RUNNING] = {"the method runs", "recovered"},
	[STAGE_SUCCEEDED] = {"the work is done", "recovered: the rest is reported"},
	[STAGE_FAILED] = {"the instance waits for the task", "recovered: the rest is reported"},
	[STAGE_REFUSED] = {"a save found another task state", "recovered: the rest is reported"},
	[STAGE_NOT_OURS] = {"the instance moved, is gone, or waits no more",
			    "recovered: the rest is reported"},
	[STAGE_INSTANCE_GONE] = {"the instance is deleted: for snapshot and backup no failure",
				 "recovered: the rest is reported"},
	[STAGE_IMAGE_GONE] = {"the image was deleted: for snapshot and backup no failure",
			      "recovered: the rest is reported"},
	[STAGE_LEFT_TO_NOVA] = {"nova-compute has begun the request, or may have it",
				"asked again"},
	[STAGE_CLOSED] = {"ended in the journal", "nothing"},
	[STAGE_LEFT_OPEN] = {"open in the journal", "recovered"},
};

static const struct {
	const char *meaning;
	const char *after_crash;
} image_texts[TASK_IMAGES] = {
	[TASK_IMAGE_UNTOUCHED] = {"no data of this task is in it", "the method runs again"},
	[TASK_IMAGE_WRITTEN] = {"an incomplete part of the data, or other data, may be in it",
				"verified where it is active and has the journaled checksum; the "
				"method runs again where it waits for data; else the task fails"},
	[TASK_IMAGE_SENT] = {"all data was sent, but the store has not confirmed it: it may be "
			     "complete",
			     "as written, but the store is asked longer"},
	[TASK_IMAGE_STORED] = {"the store has confirmed all data; it is not verified yet",
			       "the rest of the method runs, which verifies it"},
	[TASK_IMAGE_VERIFIED] = {"complete, and what was sent", "as stored"},
	[TASK_IMAGE_KEPT] = {"the same, and it can no longer be cancelled",
			     "the rest of the method runs"},
};

/* The images with which a task can come to each stage, as bits. */
struct reachable {
	unsigned images[TASK_STAGES];
};

static inline void reach(struct reachable *reachable, enum task_stage stage, enum task_image image)
{
	if (reachable->images[stage] & (1U << image))
		return;
	reachable->images[stage] |= 1U << image;
	for (unsigned event = 0; event < TASK_EVENTS; event++) {
		enum task_stage to_stage;
		enum task_image to_image;

		if (task_state_next(stage, image, event, &to_stage, &to_image))
			reach(reachable, to_stage, to_image);
	}
}

static inline struct reachable find_reachable(void)
{
	struct reachable reachable = {{0}};

	reach(&reachable, STAGE_WAITING, TASK_IMAGE_UNTOUCHED);
	return reachable;
}

/* "untouched, written" of a set of images; "any" for all that are possible. */
static inline char *images_text(unsigned images, unsigned possible)
{
	GString *text = g_string_new(images == possible ? "any" : NULL);

	for (unsigned i = 0; images != possible && i < TASK_IMAGES; i++) {
		if (images & (1U << i))
			g_string_append_printf(text, "%s%s", text->len ? ", " : "",
					       task_image_name(i));
	}
	return g_string_free(text, FALSE);
}

/* Where an event leads from a stage: "failed", or "untouched, written: failed; verified, kept: left
 * open". */
static inline char *stages_after(enum task_stage stage, unsigned possible, enum task_event event)
{
	unsigned images_to[TASK_STAGES + 1] = {0};
	GString *text = g_string_new(NULL);

	for (unsigned image = 0; image < TASK_IMAGES; image++) {
		enum task_stage to_stage;
		enum task_image to_image;
		bool legal = task_state_next(stage, image, event, &to_stage, &to_image);

		if (possible & (1U << image))
			images_to[legal ? to_stage : TASK_STAGES] |= 1U << image;
	}
	for (unsigned to = 0; to <= TASK_STAGES; to++) {
		g_autofree char *images = images_text(images_to[to], possible);

		if (images_to[to] != 0)
			g_string_append_printf(text, "%s%s%s%s", text->len ? "; " : "",
					       images_to[to] == possible ? "" : images,
					       images_to[to] == possible ? "" : ": ",
					       to == TASK_STAGES ? "no effect"
								 : task_stage_name(to));
	}
	return g_string_free(text, FALSE);
}

static inline const char *image_duty_text(enum task_stage stage)
{
	if (!(task_state_duties(stage, TASK_IMAGE_WRITTEN) & TASK_DUTY_IMAGE))
		return "";
	return stage == STAGE_INSTANCE_GONE ? "deleted unless active" : "by its state";
}

static inline void append_stages(GString *to, const struct reachable *reachable)
{
	g_string_append(
		to,
		"| stage | meaning | image | fault | event | task state | progress | notification "
		"| SIGTERM | cancel | after a crash |\n"
		"| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
	for (unsigned stage = 0; stage < TASK_STAGES; stage++) {
		unsigned duties = task_state_duties(stage, TASK_IMAGE_WRITTEN);
		bool is_failure = duties & TASK_DUTY_FAULT || stage == STAGE_NOT_OURS;
		unsigned possible = reachable->images[stage];
		g_autofree char *stopped = stages_after(stage, possible, TASK_EVENT_STOPPED);
		g_autofree char *cancelled = stages_after(stage, possible, TASK_EVENT_CANCELLED);

		g_string_append_printf(
			to, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n",
			task_stage_name(stage), stage_texts[stage].meaning, image_duty_text(stage),
			duties & TASK_DUTY_FAULT ? "written" : "",
			!(duties & TASK_DUTY_EVENT) ? ""
			: is_failure		    ? "failure"
						    : "success",
			duties & TASK_DUTY_TASK_STATE ? "cleared" : "",
			duties & TASK_DUTY_PROGRESS ? "0" : "",
			!(duties & TASK_DUTY_NOTIFICATION) ? ""
			: is_failure			   ? "exception"
			: stage == STAGE_SUCCEEDED	   ? "done"
							   : "failed",
			stopped, cancelled, stage_texts[stage].after_crash);
	}
}

static inline void append_images(GString *to)
{
	g_string_append(to, "\n| image | meaning | when the task fails | after a crash |\n"
			    "| --- | --- | --- | --- |\n");
	for (unsigned image = 0; image < TASK_IMAGES; image++) {
		static const char *const deletions[] = {
			[TASK_IMAGE_DELETE] = "deleted",
			[TASK_IMAGE_DELETE_INACTIVE] = "deleted unless active",
			[TASK_IMAGE_DELETE_UNUSED] = "deleted if it has no data",
			[TASK_IMAGE_DELETE_WRONG] =
				"deleted if known to be incomplete or different",
		};
		bool is_deleted = task_state_duties(STAGE_FAILED, image) & TASK_DUTY_IMAGE;

		g_string_append_printf(
			to, "| %s | %s | %s | %s |\n", task_image_name(image),
			image_texts[image].meaning,
			!is_deleted ? "stays" : deletions[task_image_deletion(STAGE_FAILED, image)],
			image_texts[image].after_crash);
	}
}

/* The end of a row: with which images the event leads from a stage to which state. "" where to
 * none.
 */
static inline char *targets_text(enum task_event event, enum task_stage stage, unsigned possible)
{
	unsigned images_to[TASK_STAGES][TASK_IMAGES + 1] = {{0}};
	GString *text = g_string_new(NULL);

	for (unsigned image = 0; image < TASK_IMAGES; image++) {
		enum task_stage to_stage;
		enum task_image to_image;

		if ((possible & (1U << image)) &&
		    task_state_next(stage, image, event, &to_stage, &to_image))
			images_to[to_stage][to_image == image ? TASK_IMAGES : to_image] |= 1U
											   << image;
	}
	for (unsigned to_stage = 0; to_stage < TASK_STAGES; to_stage++) {
		for (unsigned to_image = 0; to_image <= TASK_IMAGES; to_image++) {
			unsigned images = images_to[to_stage][to_image];
			g_autofree char *from = images_text(images, possible);

			if (images == 0)
				continue;
			g_string_append_printf(
				text, "%s%s → %s%s%s", text->len ? "; " : "", from,
				to_stage == stage ? "" : task_stage_name(to_stage),
				to_stage == stage || to_image == TASK_IMAGES ? "" : ", ",
				to_image == TASK_IMAGES ? (to_stage == stage ? "no change" : "")
							: task_image_name(to_image));
		}
	}
	return g_string_free(text, FALSE);
}

/* Stages from which an event leads to the same share a row. */
static inline void append_event(GString *to, enum task_event event,
				const struct reachable *reachable)
{
	g_autoptr(GHashTable) shown = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

	for (unsigned stage = 0; stage < TASK_STAGES; stage++) {
		char *targets = targets_text(event, stage, reachable->images[stage]);

		if (*targets == '\0' || g_hash_table_contains(shown, targets)) {
			g_free(targets);
			continue;
		}
		g_string_append_printf(to, "| %s | %s", task_event_name(event),
				       task_stage_name(stage));
		for (unsigned other = stage + 1; other < TASK_STAGES; other++) {
			g_autofree char *same =
				targets_text(event, other, reachable->images[other]);

			if (g_str_equal(same, targets))
				g_string_append_printf(to, ", %s", task_stage_name(other));
		}
		g_string_append_printf(to, " | %s |\n", targets);
		g_hash_table_add(shown, targets);
	}
}

static inline void append_events(GString *to, const struct reachable *reachable)
{
	g_string_append(to, "\n| event | in stage | image → next stage, image |\n"
			    "| --- | --- | --- |\n");
	for (unsigned event = 0; event < TASK_EVENTS; event++)
		append_event(to, event, reachable);
}

/* The caller frees it. */
static inline char *state_table_markdown(void)
{
	struct reachable reachable = find_reachable();
	GString *text = g_string_new(NULL);

	append_stages(text, &reachable);
	append_images(text);
	append_events(text, &reachable);
	return g_string_free(text, FALSE);
}

#endif
