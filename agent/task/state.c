/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See state.h.
 */
#include "agent/task/state.h"

G_DEFINE_QUARK(task - state - error - quark, task_state_error)

struct task_state {
	_Atomic enum task_stage stage; /* other threads show it */
	enum task_image image;
	unsigned done; /* of enum task_duty */
};

#define BIT(value) (1U << (value))

/* Stages, as bits. */
#define WAITING BIT(STAGE_WAITING)
#define RECOVERING BIT(STAGE_RECOVERING)
#define RUNNING BIT(STAGE_RUNNING)
#define ENDING                                                                                     \
	(BIT(STAGE_SUCCEEDED) | BIT(STAGE_FAILED) | BIT(STAGE_REFUSED) | BIT(STAGE_NOT_OURS) |     \
	 BIT(STAGE_INSTANCE_GONE) | BIT(STAGE_IMAGE_GONE) | BIT(STAGE_LEFT_TO_NOVA))

/* Images, as bits. */
#define UNTOUCHED BIT(TASK_IMAGE_UNTOUCHED)
#define WRITTEN BIT(TASK_IMAGE_WRITTEN)
#define SENT BIT(TASK_IMAGE_SENT)
#define STORED BIT(TASK_IMAGE_STORED)
#define VERIFIED BIT(TASK_IMAGE_VERIFIED)
#define KEPT BIT(TASK_IMAGE_KEPT)
#define COMPLETE (STORED | VERIFIED | KEPT)
#define ANY_IMAGE (UNTOUCHED | WRITTEN | SENT | COMPLETE)

#define SAME (-1)

struct transition {
	enum task_event event;
	unsigned stages; /* in which of these, as bits */
	unsigned images; /* and with which of these */
	int to_stage;	 /* SAME: it stays */
	int to_image;
};

/* No two rows match the same event in the same state. An event without a matching row is
 * illegal. */
static const struct transition transitions[] = {
	{TASK_EVENT_RECOVER, WAITING, UNTOUCHED, STAGE_RECOVERING, SAME},
	{TASK_EVENT_RECOVER_WRITTEN, WAITING, UNTOUCHED, STAGE_RECOVERING, TASK_IMAGE_WRITTEN},
	{TASK_EVENT_RECOVER_SENT, WAITING, UNTOUCHED, STAGE_RECOVERING, TASK_IMAGE_SENT},
	{TASK_EVENT_RECOVER_STORED, WAITING, UNTOUCHED, STAGE_RECOVERING, TASK_IMAGE_STORED},
	{TASK_EVENT_RECOVER_KEPT, WAITING, UNTOUCHED, STAGE_RECOVERING, TASK_IMAGE_KEPT},

	{TASK_EVENT_RUN, WAITING, UNTOUCHED, STAGE_RUNNING, SAME},
	/* The store waits for data again. */
	{TASK_EVENT_RUN, RECOVERING, UNTOUCHED | WRITTEN | SENT, STAGE_RUNNING,
	 TASK_IMAGE_UNTOUCHED},
	{TASK_EVENT_RUN, RECOVERING, STORED | KEPT, STAGE_RUNNING, SAME},

	/* The store waits for data again, if the image was sent before. */
	{TASK_EVENT_DATA_SENT, RUNNING, UNTOUCHED | WRITTEN | SENT, SAME, TASK_IMAGE_WRITTEN},
	{TASK_EVENT_IMAGE_SENT, RUNNING, WRITTEN, SAME, TASK_IMAGE_SENT},
	{TASK_EVENT_IMAGE_STORED, RUNNING, WRITTEN | SENT, SAME, TASK_IMAGE_STORED},
	{TASK_EVENT_IMAGE_VERIFIED, RUNNING, STORED, SAME, TASK_IMAGE_VERIFIED},
	{TASK_EVENT_IMAGE_VERIFIED, RECOVERING, UNTOUCHED | WRITTEN | SENT | STORED, SAME,
	 TASK_IMAGE_VERIFIED},
	{TASK_EVENT_IMAGE_VERIFIED, RECOVERING, KEPT, SAME, SAME},
	{TASK_EVENT_IMAGE_KEPT, RECOVERING | RUNNING, VERIFIED | KEPT, SAME, TASK_IMAGE_KEPT},

	{TASK_EVENT_SUCCEEDED, RUNNING, UNTOUCHED | COMPLETE, STAGE_SUCCEEDED, SAME},
	{TASK_EVENT_NOTHING_LEFT, RECOVERING, UNTOUCHED | STORED | KEPT, STAGE_SUCCEEDED, SAME},
	{TASK_EVENT_FAILED, WAITING, UNTOUCHED, STAGE_FAILED, SAME},
	{TASK_EVENT_FAILED, RECOVERING | RUNNING, ANY_IMAGE, STAGE_FAILED, SAME},
	/* The image may contain another task's data, for example if the cast was sent twice. */
	{TASK_EVENT_IMAGE_REFUSED, RECOVERING | RUNNING, UNTOUCHED | WRITTEN, STAGE_FAILED,
	 TASK_IMAGE_UNTOUCHED},
	{TASK_EVENT_IMAGE_REFUSED, RECOVERING | RUNNING, SENT | COMPLETE, STAGE_FAILED, SAME},
	{TASK_EVENT_IMAGE_DIFFERS, RECOVERING | RUNNING, WRITTEN | SENT | STORED, STAGE_FAILED,
	 TASK_IMAGE_WRITTEN},
	{TASK_EVENT_STATE_TAKEN, WAITING, UNTOUCHED, STAGE_REFUSED, SAME},
	{TASK_EVENT_STATE_TAKEN, RECOVERING | RUNNING, ANY_IMAGE, STAGE_REFUSED, SAME},
	{TASK_EVENT_NOT_OURS, RECOVERING | RUNNING, ANY_IMAGE, STAGE_NOT_OURS, SAME},
	{TASK_EVENT_INSTANCE_GONE, WAITING, UNTOUCHED, STAGE_INSTANCE_GONE, SAME},
	{TASK_EVENT_INSTANCE_GONE, RECOVERING | RUNNING, ANY_IMAGE, STAGE_INSTANCE_GONE, SAME},
	{TASK_EVENT_IMAGE_GONE, RECOVERING | RUNNING, ANY_IMAGE, STAGE_IMAGE_GONE, SAME},
	{TASK_EVENT_TAKEN, WAITING | RECOVERING, UNTOUCHED, STAGE_LEFT_TO_NOVA, SAME},

	/* A kept image cannot be cancelled. Otherwise the image is not wanted, even if it is
	 * complete. */
	{TASK_EVENT_CANCELLED, WAITING, UNTOUCHED, STAGE_FAILED, SAME},
	{TASK_EVENT_CANCELLED, RECOVERING | RUNNING, UNTOUCHED, STAGE_FAILED, SAME},
	{TASK_EVENT_CANCELLED, RECOVERING | RUNNING, WRITTEN | SENT | STORED | VERIFIED,
	 STAGE_FAILED, TASK_IMAGE_WRITTEN},
	{TASK_EVENT_STOPPED, WAITING, UNTOUCHED, STAGE_LEFT_OPEN, SAME},
	{TASK_EVENT_STOPPED, RECOVERING | RUNNING | ENDING, ANY_IMAGE, STAGE_LEFT_OPEN, SAME},

	{TASK_EVENT_REPORTED, ENDING, ANY_IMAGE, STAGE_CLOSED, SAME},
	{TASK_EVENT_PENDING, ENDING, ANY_IMAGE, SAME, SAME},
	{TASK_EVENT_GIVEN_UP, ENDING, ANY_IMAGE, STAGE_CLOSED, SAME},
};

static const struct {
	const char *name;
	unsigned duties;
} stages[] = {
	[STAGE_WAITING] = {"waiting", 0},
	[STAGE_RECOVERING] = {"recovering", 0},
	[STAGE_RUNNING] = {"running", 0},
	[STAGE_SUCCEEDED] = {"succeeded",
			     TASK_DUTY_EVENT | TASK_DUTY_NOTIFICATION | TASK_DUTY_PROGRESS},
	[STAGE_FAILED] = {"failed", TASK_DUTIES},
	[STAGE_REFUSED] = {"refused", TASK_DUTIES & ~TASK_DUTY_TASK_STATE},
	[STAGE_NOT_OURS] = {"not ours", TASK_DUTY_IMAGE | TASK_DUTY_EVENT | TASK_DUTY_NOTIFICATION |
						TASK_DUTY_PROGRESS},
	[STAGE_INSTANCE_GONE] = {"instance gone", TASK_DUTY_IMAGE | TASK_DUTY_EVENT |
							  TASK_DUTY_NOTIFICATION |
							  TASK_DUTY_PROGRESS},
	[STAGE_IMAGE_GONE] = {"image gone", TASK_DUTY_EVENT | TASK_DUTY_TASK_STATE |
						    TASK_DUTY_NOTIFICATION | TASK_DUTY_PROGRESS},
	[STAGE_LEFT_TO_NOVA] = {"left to nova", 0},
	[STAGE_CLOSED] = {"closed", 0},
	[STAGE_LEFT_OPEN] = {"left open", 0},
};

static const char *const image_names[] = {
	[TASK_IMAGE_UNTOUCHED] = "untouched", [TASK_IMAGE_WRITTEN] = "written",
	[TASK_IMAGE_SENT] = "sent",	      [TASK_IMAGE_STORED] = "stored",
	[TASK_IMAGE_VERIFIED] = "verified",   [TASK_IMAGE_KEPT] = "kept",
};

static const char *const event_names[] = {
	[TASK_EVENT_RECOVER] = "recover",
	[TASK_EVENT_RECOVER_WRITTEN] = "recover, data was sent",
	[TASK_EVENT_RECOVER_SENT] = "recover, all data was sent",
	[TASK_EVENT_RECOVER_STORED] = "recover, image was stored",
	[TASK_EVENT_RECOVER_KEPT] = "recover, image was kept",
	[TASK_EVENT_RUN] = "run",
	[TASK_EVENT_DATA_SENT] = "data sent",
	[TASK_EVENT_IMAGE_SENT] = "all data sent",
	[TASK_EVENT_IMAGE_STORED] = "image stored",
	[TASK_EVENT_IMAGE_VERIFIED] = "image verified",
	[TASK_EVENT_IMAGE_KEPT] = "image kept",
	[TASK_EVENT_SUCCEEDED] = "succeeded",
	[TASK_EVENT_NOTHING_LEFT] = "nothing left to do",
	[TASK_EVENT_FAILED] = "failed",
	[TASK_EVENT_IMAGE_REFUSED] = "image takes no data",
	[TASK_EVENT_IMAGE_DIFFERS] = "image differs",
	[TASK_EVENT_STATE_TAKEN] = "another task state",
	[TASK_EVENT_NOT_OURS] = "instance not ours",
	[TASK_EVENT_INSTANCE_GONE] = "instance gone",
	[TASK_EVENT_IMAGE_GONE] = "image gone",
	[TASK_EVENT_TAKEN] = "taken by nova-compute",
	[TASK_EVENT_CANCELLED] = "cancelled",
	[TASK_EVENT_STOPPED] = "stopped",
	[TASK_EVENT_REPORTED] = "end reported",
	[TASK_EVENT_PENDING] = "end pending",
	[TASK_EVENT_GIVEN_UP] = "end given up",
};

const char *task_stage_name(enum task_stage stage)
{
	return stages[stage].name;
}

const char *task_image_name(enum task_image image)
{
	return image_names[image];
}

const char *task_event_name(enum task_event event)
{
	return event_names[event];
}

struct task_state *task_state_new(void)
{
	return g_new0(struct task_state, 1);
}

void task_state_free(struct task_state *state)
{
	g_free(state);
}

bool task_state_next(enum task_stage stage, enum task_image image, enum task_event event,
		     enum task_stage *ret_stage, enum task_image *ret_image)
{
	for (size_t i = 0; i < G_N_ELEMENTS(transitions); i++) {
		const struct transition *row = &transitions[i];

		if (row->event != event || !(row->stages & BIT(stage)) ||
		    !(row->images & BIT(image)))
			continue;
		*ret_stage = row->to_stage == SAME ? stage : (enum task_stage)row->to_stage;
		*ret_image = row->to_image == SAME ? image : (enum task_image)row->to_image;
		return true;
	}
	return false;
}

int task_state_apply(struct task_state *state, enum task_event event, GError **error)
{
	g_autoptr(GError) local = NULL;
	enum task_stage stage;

	if (task_state_next(state->stage, state->image, event, &stage, &state->image)) {
		state->stage = stage;
		return 0;
	}
	g_set_error(&local, TASK_STATE_ERROR, TASK_STATE_ERROR_ILLEGAL,
		    "the event \"%s\" is illegal for a task that is %s with its image %s",
		    event_names[event], stages[state->stage].name, image_names[state->image]);
	g_critical("%s", local->message);
	g_propagate_error(error, g_steal_pointer(&local));
	return -1;
}

enum task_stage task_state_stage(const struct task_state *state)
{
	return state->stage;
}

enum task_image task_state_image(const struct task_state *state)
{
	return state->image;
}

bool task_state_is_ending(const struct task_state *state)
{
	return ENDING & BIT(state->stage);
}

bool task_state_has_complete_image(const struct task_state *state)
{
	return COMPLETE & BIT(state->image);
}

unsigned task_state_duties(enum task_stage stage, enum task_image image)
{
	unsigned duties = stages[stage].duties;

	if (COMPLETE & BIT(image))
		duties &= ~(unsigned)TASK_DUTY_IMAGE;
	return duties;
}

unsigned task_state_due(const struct task_state *state)
{
	return task_state_duties(state->stage, state->image) & ~state->done;
}

void task_state_set_done(struct task_state *state, unsigned duties)
{
	state->done |= duties;
}

enum task_image_deletion task_image_deletion(enum task_stage stage, enum task_image image)
{
	if (image == TASK_IMAGE_UNTOUCHED)
		return TASK_IMAGE_DELETE_UNUSED;
	if (image == TASK_IMAGE_SENT)
		return TASK_IMAGE_DELETE_WRONG;
	return stage == STAGE_INSTANCE_GONE ? TASK_IMAGE_DELETE_INACTIVE : TASK_IMAGE_DELETE;
}

enum task_image_deletion task_state_image_deletion(const struct task_state *state)
{
	return task_image_deletion(state->stage, state->image);
}
