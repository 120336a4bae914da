/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state of a task: a stage, and the state of its image. Everything that happens to the task is
 * an event; the table in state.c defines which events are legal in which state, and the next state.
 * The stage determines what must still be reported. HACKING.md contains the tables, as printed by
 * tests/tools/task-states.
 *
 * Do not confuse it with nova's task state of the instance, which is one of the things reported.
 */
#ifndef NOVASNAP_AGENT_STATE_H
#define NOVASNAP_AGENT_STATE_H

#include <glib.h>
#include <stdbool.h>

#define TASK_STATE_ERROR task_state_error_quark()
GQuark task_state_error_quark(void);

enum task_state_error {
	TASK_STATE_ERROR_ILLEGAL, /* the event is illegal in this state: a bug in novasnapd */
};

enum task_stage {
	STAGE_WAITING,	  /* for its turn; nothing was begun */
	STAGE_RECOVERING, /* rolling back steps, querying instance and image */
	STAGE_RUNNING,	  /* the method is running */
	/* The end is being reported. */
	STAGE_SUCCEEDED,
	STAGE_FAILED,	     /* the instance waits for the task; the failure is reported */
	STAGE_REFUSED,	     /* a save found another task state, which is not changed */
	STAGE_NOT_OURS,	     /* on another host, gone, or no longer waiting for the task */
	STAGE_INSTANCE_GONE, /* no failure for the method */
	STAGE_IMAGE_GONE,    /* no failure for the method */
	STAGE_LEFT_TO_NOVA,  /* nova-compute has begun the request, or may have it: no report */
	/* Final in this process. */
	STAGE_CLOSED,	 /* ended */
	STAGE_LEFT_OPEN, /* the next process resumes it from the journal */
	TASK_STAGES
};

enum task_image {
	TASK_IMAGE_UNTOUCHED, /* no data of this task is in it, or there is no image */
	TASK_IMAGE_WRITTEN, /* an incomplete part of the data, or data that differs, may be in it */
	TASK_IMAGE_SENT,    /* it may be complete: all data was sent, without a confirmation */
	TASK_IMAGE_STORED,  /* complete according to the store, but not verified */
	TASK_IMAGE_VERIFIED, /* complete, and equal to what was sent */
	TASK_IMAGE_KEPT,     /* as verified, and the job cannot be cancelled any more */
	TASK_IMAGES
};

enum task_event {
	TASK_EVENT_RECOVER,	    /* it is open in the journal; no data was sent */
	TASK_EVENT_RECOVER_WRITTEN, /* as TASK_EVENT_RECOVER, but data was sent */
	TASK_EVENT_RECOVER_SENT,    /* as TASK_EVENT_RECOVER, but all data may have been sent */
	TASK_EVENT_RECOVER_STORED, /* as TASK_EVENT_RECOVER, but the store has confirmed all data */
	TASK_EVENT_RECOVER_KEPT,   /* as TASK_EVENT_RECOVER, but the image is kept */
	TASK_EVENT_RUN,		   /* the method begins */
	TASK_EVENT_DATA_SENT,	   /* data is about to be sent */
	TASK_EVENT_IMAGE_SENT,	   /* the store may have all data: its reply is missing */
	TASK_EVENT_IMAGE_STORED,   /* the store has confirmed that it has all data */
	TASK_EVENT_IMAGE_VERIFIED, /* the store has the data that was sent */
	TASK_EVENT_IMAGE_KEPT,	   /* the image can no longer be cancelled */
	TASK_EVENT_SUCCEEDED,	   /* the method has finished its work */
	TASK_EVENT_NOTHING_LEFT,   /* recovery found that only the end must be reported */
	TASK_EVENT_FAILED,
	TASK_EVENT_IMAGE_REFUSED, /* the store rejects data; the image may be another task's */
	TASK_EVENT_IMAGE_DIFFERS, /* the store has other data than was sent */
	TASK_EVENT_STATE_TAKEN,	  /* the conductor found another task state */
	TASK_EVENT_NOT_OURS,	  /* recovery found that the instance does not wait for it */
	TASK_EVENT_INSTANCE_GONE,
	TASK_EVENT_IMAGE_GONE,
	TASK_EVENT_TAKEN,     /* nova-compute has begun the request, or may have it */
	TASK_EVENT_CANCELLED, /* by `novasnap cancel` */
	TASK_EVENT_STOPPED,   /* SIGTERM, and the time is over or there is no answer */
	TASK_EVENT_REPORTED,  /* the end is completely reported */
	TASK_EVENT_PENDING,   /* part of the end is not reported yet, and is retried */
	TASK_EVENT_GIVEN_UP,  /* it is not retried any more */
	TASK_EVENTS
};

/* Parts of the report of the end, each to another receiver. Bits. */
enum task_duty {
	TASK_DUTY_IMAGE = 1 << 0,	 /* the store: the image is deleted */
	TASK_DUTY_FAULT = 1 << 1,	 /* the conductor: the instance's fault */
	TASK_DUTY_EVENT = 1 << 2,	 /* the conductor: the action's event is finished */
	TASK_DUTY_TASK_STATE = 1 << 3,	 /* the conductor: the instance's task state is cleared */
	TASK_DUTY_NOTIFICATION = 1 << 4, /* listeners, and the caller of a call */
	TASK_DUTY_PROGRESS = 1 << 5,	 /* the conductor: the instance's progress is 0 again */
	TASK_DUTIES = (1 << 6) - 1
};

struct task_state;

/* Creates the state STAGE_WAITING, TASK_IMAGE_UNTOUCHED. */
struct task_state *task_state_new(void);
/* Accepts NULL. */
void task_state_free(struct task_state *state);

/* Returns 0. An event that is illegal in this state is rejected: -1 with TASK_STATE_ERROR_ILLEGAL,
 * which is also logged as critical, and the state does not change. */
int task_state_apply(struct task_state *state, enum task_event event, GError **error);

/* Any thread. */
enum task_stage task_state_stage(const struct task_state *state);
enum task_image task_state_image(const struct task_state *state);
/* Whether the end is being reported. */
bool task_state_is_ending(const struct task_state *state);
/* Whether the image is stored, verified or kept. */
bool task_state_has_complete_image(const struct task_state *state);

/* The duties of the stage that are not done yet. */
unsigned task_state_due(const struct task_state *state);
/* Marks duties as done or not needed, for all following stages as well. */
void task_state_set_done(struct task_state *state, unsigned duties);

/* Which images TASK_DUTY_IMAGE deletes. */
enum task_image_deletion {
	TASK_IMAGE_DELETE,	    /* in any status */
	TASK_IMAGE_DELETE_INACTIVE, /* unless it is active */
	TASK_IMAGE_DELETE_UNUSED,   /* unless it has data, or receives it: another task's */
	TASK_IMAGE_DELETE_WRONG,    /* only if it is known to be incomplete or different */
};
enum task_image_deletion task_state_image_deletion(const struct task_state *state);

/* The functions below are for showing and testing the tables.
 *
 * Returns the next state for an event; false: the event is illegal. */
bool task_state_next(enum task_stage stage, enum task_image image, enum task_event event,
		     enum task_stage *ret_stage, enum task_image *ret_image);
/* The duties of a task that ends in this state. */
unsigned task_state_duties(enum task_stage stage, enum task_image image);
/* Which images are deleted for a task that ends in this state. */
enum task_image_deletion task_image_deletion(enum task_stage stage, enum task_image image);

/* The names in logs and documents: "running", "written", "data sent". */
const char *task_stage_name(enum task_stage stage);
const char *task_image_name(enum task_image image);
const char *task_event_name(enum task_event event);

#endif
