/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state of a task: a stage, and what has become of its image. What happens to the task is an
 * event; the table in state.c says which events are legal in which state, and where they lead. The
 * stage says what is still to be reported to whom. HACKING.md shows the tables, as
 * tests/tools/task-states prints them.
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
	TASK_STATE_ERROR_ILLEGAL, /* the event cannot happen in this state: a bug of novasnapd */
};

enum task_stage {
	STAGE_WAITING,	  /* for its turn; nothing was begun */
	STAGE_RECOVERING, /* its steps are rolled back; instance and image are asked for */
	STAGE_RUNNING,	  /* the method runs */
	/* The end is being reported. */
	STAGE_SUCCEEDED,
	STAGE_FAILED,	     /* the instance waits for the task, and is told that it failed */
	STAGE_REFUSED,	     /* a save found another task state: that state stays */
	STAGE_NOT_OURS,	     /* the instance is on another host, gone, or waits no more */
	STAGE_INSTANCE_GONE, /* which is no failure of the method */
	STAGE_IMAGE_GONE,    /* which is no failure of the method */
	/* Nothing happens to it in this process any more. */
	STAGE_CLOSED,	 /* it has ended */
	STAGE_LEFT_OPEN, /* the next process takes it up from the journal */
	TASK_STAGES
};

enum task_image {
	TASK_IMAGE_UNTOUCHED, /* no data of this task is in it; also where there is no image */
	TASK_IMAGE_WRITTEN,   /* data of this task may be in it */
	TASK_IMAGE_VERIFIED,  /* it is complete, and is what was sent */
	TASK_IMAGE_KEPT,      /* the same, and a failure does not delete it */
	TASK_IMAGES
};

enum task_event {
	TASK_EVENT_RECOVER,	    /* the journal has it open; no data was sent */
	TASK_EVENT_RECOVER_WRITTEN, /* the same; data was sent */
	TASK_EVENT_RECOVER_KEPT,    /* the same; the image was to be kept */
	TASK_EVENT_RUN,		    /* the method begins */
	TASK_EVENT_DATA_SENT,	    /* data is about to be sent into the image */
	TASK_EVENT_IMAGE_VERIFIED,  /* the store has what was sent */
	TASK_EVENT_IMAGE_KEPT,	    /* from now on a failure does not delete the image */
	TASK_EVENT_SUCCEEDED,	    /* the method has done its work */
	TASK_EVENT_NOTHING_LEFT,    /* recovery found that only the end is to be reported */
	TASK_EVENT_FAILED,
	TASK_EVENT_IMAGE_REFUSED, /* the store takes no data: another one's may be in the image */
	TASK_EVENT_STATE_TAKEN,	  /* the conductor found another task state */
	TASK_EVENT_NOT_OURS,	  /* recovery found that the instance does not wait for the task */
	TASK_EVENT_INSTANCE_GONE,
	TASK_EVENT_IMAGE_GONE,
	TASK_EVENT_CANCELLED, /* by `novasnap cancel` */
	TASK_EVENT_STOPPED,   /* novasnapd stops: SIGTERM, and no time or no answer any more */
	TASK_EVENT_REPORTED,  /* all of the end is reported */
	TASK_EVENT_PENDING,   /* somebody could not be reached: it is tried again */
	TASK_EVENT_GIVEN_UP,  /* it is not tried again */
	TASK_EVENTS
};

/* What is reported of the end, each to somebody else. Bits. */
enum task_duty {
	TASK_DUTY_IMAGE = 1 << 0,	 /* the store: the image is deleted */
	TASK_DUTY_FAULT = 1 << 1,	 /* the conductor: the instance's fault */
	TASK_DUTY_EVENT = 1 << 2,	 /* the conductor: the action's event is finished */
	TASK_DUTY_TASK_STATE = 1 << 3,	 /* the conductor: the instance's task state is cleared */
	TASK_DUTY_NOTIFICATION = 1 << 4, /* listeners, and the caller of a call */
	TASK_DUTIES = (1 << 5) - 1
};

struct task_state;

/* STAGE_WAITING, TASK_IMAGE_UNTOUCHED. */
struct task_state *task_state_new(void);
/* Takes NULL. */
void task_state_free(struct task_state *state);

/* Returns 0. An event that is illegal in this state is refused: -1 with TASK_STATE_ERROR_ILLEGAL,
 * which is also logged as critical, and the state stays. */
int task_state_apply(struct task_state *state, enum task_event event, GError **error);

enum task_stage task_state_stage(const struct task_state *state);
enum task_image task_state_image(const struct task_state *state);
/* Whether the end is being reported. */
bool task_state_is_ending(const struct task_state *state);
/* Whether the image is verified or kept. */
bool task_state_has_complete_image(const struct task_state *state);

/* The duties of the stage that are still to be done. */
unsigned task_state_due(const struct task_state *state);
/* From now on they are done, or need not be done; kept over all further events. */
void task_state_set_done(struct task_state *state, unsigned duties);
/* For TASK_DUTY_IMAGE: an image that is active stays, because it may be another one's. */
bool task_state_spares_active_image(const struct task_state *state);

/* For whoever shows or checks the tables. Where the event leads from that state; false: it is
 * illegal there. */
bool task_state_next(enum task_stage stage, enum task_image image, enum task_event event,
		     enum task_stage *ret_stage, enum task_image *ret_image);
/* What is reported of a task that ends in this state. */
unsigned task_state_duties(enum task_stage stage, enum task_image image);

/* Whether it is only deleted where it is not active. */
bool task_image_is_spared_if_active(enum task_stage stage, enum task_image image);

/* The names in logs and documents: "running", "written", "data sent". */
const char *task_stage_name(enum task_stage stage);
const char *task_image_name(enum task_image image);
const char *task_event_name(enum task_event event);

#endif
