/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The states of a task: what must hold for every event in every state, and the ways that tasks go.
 */
#include "agent/task/state.h"

#include <string.h>

#include "tests/unit/state-table.h"

#define DOCUMENT "HACKING.md"
#define BEGIN "<!-- task-states -->\n\n"
#define END "\n<!-- /task-states -->"

/* Calls `check` for each event in each state that a task can come to; `to_*` are those of the state
 * where it leads, or the same where it is illegal. */
struct step {
	enum task_stage stage, to_stage;
	enum task_image image, to_image;
	enum task_event event;
	bool legal;
};

static void walk(void (*check)(const struct step *step))
{
	struct reachable reachable = find_reachable();
	struct step step;

	for (step.stage = 0; step.stage < TASK_STAGES; step.stage++) {
		for (step.image = 0; step.image < TASK_IMAGES; step.image++) {
			if (!(reachable.images[step.stage] & (1U << step.image)))
				continue;
			for (step.event = 0; step.event < TASK_EVENTS; step.event++) {
				step.to_stage = step.stage;
				step.to_image = step.image;
				step.legal = task_state_next(step.stage, step.image, step.event,
							     &step.to_stage, &step.to_image);
				check(&step);
			}
		}
	}
}

static bool is_live(enum task_stage stage)
{
	return stage < STAGE_SUCCEEDED;
}

static bool is_final(enum task_stage stage)
{
	return stage == STAGE_CLOSED || stage == STAGE_LEFT_OPEN;
}

static bool is_ending(enum task_stage stage)
{
	return !is_live(stage) && !is_final(stage);
}

/* The events that lead a task to a state. */
static struct task_state *make(const enum task_event *events, size_t count)
{
	struct task_state *state = task_state_new();

	for (size_t i = 0; i < count; i++) {
		g_autoptr(GError) error = NULL;

		g_assert_cmpint(task_state_apply(state, events[i], &error), ==, 0);
		g_assert_no_error(error);
	}
	return state;
}
#define MAKE(...)                                                                                  \
	make((const enum task_event[]){__VA_ARGS__},                                               \
	     sizeof((const enum task_event[]){__VA_ARGS__}) / sizeof(enum task_event))

static void check_is(const struct task_state *state, enum task_stage stage, enum task_image image)
{
	g_assert_cmpstr(task_stage_name(task_state_stage(state)), ==, task_stage_name(stage));
	g_assert_cmpstr(task_image_name(task_state_image(state)), ==, task_image_name(image));
}

/* Applies every event to a task that has come to its state by the path, and so on for each state
 * that was not seen yet. */
static void apply_all(enum task_event *path, size_t length, unsigned *seen)
{
	struct task_state *state = make(path, length);
	unsigned at = (unsigned)task_state_stage(state) * TASK_IMAGES + task_state_image(state);
	enum task_stage stage = task_state_stage(state);
	enum task_image image = task_state_image(state);

	task_state_free(state);
	if (seen[at]++ > 0)
		return;
	for (unsigned event = 0; event < TASK_EVENTS; event++) {
		g_autoptr(GError) error = NULL;
		enum task_stage to_stage = stage;
		enum task_image to_image = image;
		bool legal = task_state_next(stage, image, event, &to_stage, &to_image);

		state = make(path, length);
		if (!legal)
			g_test_expect_message("agent", G_LOG_LEVEL_CRITICAL, "*is illegal for*");
		g_assert_cmpint(task_state_apply(state, event, &error), ==, legal ? 0 : -1);
		if (!legal) {
			g_test_assert_expected_messages();
			g_assert_error(error, TASK_STATE_ERROR, TASK_STATE_ERROR_ILLEGAL);
		}
		check_is(state, to_stage, to_image);
		task_state_free(state);
		if (legal) {
			path[length] = event;
			apply_all(path, length + 1, seen);
		}
	}
}

static void test_every_event_in_every_state(void)
{
	enum task_event path[TASK_STAGES * TASK_IMAGES + 1];
	unsigned seen[TASK_STAGES * TASK_IMAGES] = {0};
	struct reachable reachable = find_reachable();

	apply_all(path, 0, seen);
	for (unsigned i = 0; i < G_N_ELEMENTS(seen); i++) {
		bool reached = reachable.images[i / TASK_IMAGES] & (1U << i % TASK_IMAGES);

		g_assert_cmpint(seen[i] > 0, ==, reached);
	}
}

static void check_order(const struct step *step)
{
	if (!step->legal)
		return;
	/* A task never goes back to an earlier stage... */
	g_assert_true(step->to_stage == step->stage ||
		      (is_live(step->stage) && step->to_stage > step->stage) ||
		      (is_ending(step->stage) && is_final(step->to_stage)));
	/* ... and forgets of its image only what the store has proved wrong. */
	g_assert_true(step->to_image >= step->image || step->event == TASK_EVENT_IMAGE_REFUSED ||
		      step->event == TASK_EVENT_IMAGE_DIFFERS ||
		      step->event == TASK_EVENT_CANCELLED ||
		      (step->event == TASK_EVENT_DATA_SENT && step->image == TASK_IMAGE_SENT) ||
		      (step->event == TASK_EVENT_RUN &&
		       (step->image == TASK_IMAGE_WRITTEN || step->image == TASK_IMAGE_SENT)));
}

static void check_kept_image(const struct step *step)
{
	if (step->image != TASK_IMAGE_KEPT)
		return;
	g_assert_cmpint(step->to_image, ==, TASK_IMAGE_KEPT);
	g_assert_false(task_state_duties(step->to_stage, step->to_image) & TASK_DUTY_IMAGE);
	if (step->event == TASK_EVENT_CANCELLED)
		g_assert_false(step->legal);
}

/* Data that may be somebody else's is never deleted without a look. */
static void check_untouched_image(const struct step *step)
{
	if (step->image == TASK_IMAGE_UNTOUCHED &&
	    task_state_duties(step->stage, step->image) & TASK_DUTY_IMAGE)
		g_assert_cmpint(task_image_deletion(step->stage, step->image), ==,
				TASK_IMAGE_DELETE_UNUSED);
}

static void check_ends(const struct step *step)
{
	bool legal_at_end = step->event == TASK_EVENT_REPORTED ||
			    step->event == TASK_EVENT_PENDING ||
			    step->event == TASK_EVENT_GIVEN_UP || step->event == TASK_EVENT_STOPPED;

	if (is_final(step->stage))
		g_assert_false(step->legal);
	if (is_ending(step->stage))
		g_assert_cmpint(step->legal, ==, legal_at_end);
	if (is_live(step->stage) && legal_at_end)
		g_assert_cmpint(step->legal, ==, step->event == TASK_EVENT_STOPPED);
	if (step->legal && step->to_stage == STAGE_CLOSED)
		g_assert_true(is_ending(step->stage));
}

/* An image that may be complete is deleted only after a cancel, or a comparison with its data. */
static void check_complete_image(const struct step *step)
{
	bool may_be_complete = step->image >= TASK_IMAGE_SENT;
	bool is_unwanted = step->event == TASK_EVENT_CANCELLED ||
			   step->event == TASK_EVENT_IMAGE_DIFFERS ||
			   step->event == TASK_EVENT_RUN || step->event == TASK_EVENT_DATA_SENT;

	if (!may_be_complete || !step->legal || is_unwanted)
		return;
	g_assert_cmpint(step->to_image, >=, step->image);
	if (task_state_duties(step->to_stage, step->to_image) & TASK_DUTY_IMAGE)
		g_assert_cmpint(task_image_deletion(step->to_stage, step->to_image), ==,
				TASK_IMAGE_DELETE_WRONG);
}

/* A cancel fails what is not kept. A stop fails nothing. */
static void check_stop_and_cancel(const struct step *step)
{
	if (step->event == TASK_EVENT_CANCELLED)
		g_assert_cmpint(step->to_stage, ==,
				is_live(step->stage) && step->image != TASK_IMAGE_KEPT
					? STAGE_FAILED
					: step->stage);
	if (step->event == TASK_EVENT_STOPPED && !is_final(step->stage))
		g_assert_cmpint(step->to_stage, ==, STAGE_LEFT_OPEN);
}

static void test_stages_follow_each_other(void)
{
	walk(check_order);
}

static void test_a_kept_image_stays(void)
{
	walk(check_kept_image);
}

static void test_an_untouched_image_may_be_of_another(void)
{
	walk(check_untouched_image);
}

static void test_every_end_is_reported_or_left_open(void)
{
	walk(check_ends);
}

static void test_an_image_that_may_be_complete_is_not_deleted(void)
{
	walk(check_complete_image);
}

static void test_stopping_is_not_cancelling(void)
{
	walk(check_stop_and_cancel);
}

static void test_what_each_stage_reports(void)
{
	static const unsigned duties[TASK_STAGES] = {
		[STAGE_SUCCEEDED] = TASK_DUTY_EVENT | TASK_DUTY_NOTIFICATION | TASK_DUTY_PROGRESS,
		[STAGE_FAILED] = TASK_DUTY_IMAGE | TASK_DUTY_FAULT | TASK_DUTY_EVENT |
				 TASK_DUTY_TASK_STATE | TASK_DUTY_NOTIFICATION | TASK_DUTY_PROGRESS,
		[STAGE_REFUSED] = TASK_DUTY_IMAGE | TASK_DUTY_FAULT | TASK_DUTY_EVENT |
				  TASK_DUTY_NOTIFICATION | TASK_DUTY_PROGRESS,
		[STAGE_NOT_OURS] = TASK_DUTY_IMAGE | TASK_DUTY_EVENT | TASK_DUTY_NOTIFICATION |
				   TASK_DUTY_PROGRESS,
		[STAGE_INSTANCE_GONE] = TASK_DUTY_IMAGE | TASK_DUTY_EVENT | TASK_DUTY_NOTIFICATION |
					TASK_DUTY_PROGRESS,
		[STAGE_IMAGE_GONE] = TASK_DUTY_EVENT | TASK_DUTY_TASK_STATE |
				     TASK_DUTY_NOTIFICATION | TASK_DUTY_PROGRESS,
	};

	for (unsigned stage = 0; stage < TASK_STAGES; stage++)
		g_assert_cmpuint(task_state_duties(stage, TASK_IMAGE_WRITTEN), ==, duties[stage]);
}

static void test_what_is_reported_once_is_not_due_again(void)
{
	struct task_state *state = MAKE(TASK_EVENT_RUN, TASK_EVENT_DATA_SENT, TASK_EVENT_FAILED);

	g_assert_true(task_state_is_ending(state));
	g_assert_cmpuint(task_state_due(state), ==, TASK_DUTIES);
	task_state_set_done(state, TASK_DUTY_FAULT | TASK_DUTY_IMAGE);
	g_assert_cmpint(task_state_apply(state, TASK_EVENT_PENDING, NULL), ==, 0);
	g_assert_cmpuint(task_state_due(state), ==,
			 TASK_DUTY_EVENT | TASK_DUTY_TASK_STATE | TASK_DUTY_NOTIFICATION |
				 TASK_DUTY_PROGRESS);
	task_state_set_done(state, TASK_DUTIES);
	g_assert_cmpuint(task_state_due(state), ==, 0);
	task_state_free(state);
}

static void test_a_snapshot(void)
{
	struct task_state *state = MAKE(TASK_EVENT_RUN, TASK_EVENT_DATA_SENT, TASK_EVENT_DATA_SENT,
					TASK_EVENT_IMAGE_STORED, TASK_EVENT_IMAGE_VERIFIED);

	check_is(state, STAGE_RUNNING, TASK_IMAGE_VERIFIED);
	g_assert_true(task_state_has_complete_image(state));
	g_assert_cmpint(task_state_apply(state, TASK_EVENT_SUCCEEDED, NULL), ==, 0);
	g_assert_cmpuint(task_state_due(state), ==,
			 TASK_DUTY_EVENT | TASK_DUTY_NOTIFICATION | TASK_DUTY_PROGRESS);
	g_assert_cmpint(task_state_apply(state, TASK_EVENT_REPORTED, NULL), ==, 0);
	check_is(state, STAGE_CLOSED, TASK_IMAGE_VERIFIED);
	task_state_free(state);
}

static void test_a_backup_whose_rotation_fails(void)
{
	struct task_state *state =
		MAKE(TASK_EVENT_RUN, TASK_EVENT_DATA_SENT, TASK_EVENT_IMAGE_STORED,
		     TASK_EVENT_IMAGE_VERIFIED, TASK_EVENT_IMAGE_KEPT, TASK_EVENT_FAILED);

	g_assert_cmpuint(task_state_due(state), ==, TASK_DUTIES & ~TASK_DUTY_IMAGE);
	task_state_free(state);
}

static void test_a_cast_that_came_twice(void)
{
	struct task_state *state =
		MAKE(TASK_EVENT_RUN, TASK_EVENT_DATA_SENT, TASK_EVENT_IMAGE_REFUSED);

	check_is(state, STAGE_FAILED, TASK_IMAGE_UNTOUCHED);
	g_assert_cmpint(task_state_image_deletion(state), ==, TASK_IMAGE_DELETE_UNUSED);
	task_state_free(state);
}

static void test_a_crash_during_the_upload(void)
{
	struct task_state *state = MAKE(TASK_EVENT_RECOVER_WRITTEN, TASK_EVENT_RUN);

	/* The store waits for data again. */
	check_is(state, STAGE_RUNNING, TASK_IMAGE_UNTOUCHED);
	task_state_free(state);
	state = MAKE(TASK_EVENT_RECOVER_WRITTEN, TASK_EVENT_FAILED);
	g_assert_cmpint(task_state_image_deletion(state), ==, TASK_IMAGE_DELETE);
	task_state_free(state);
	state = MAKE(TASK_EVENT_RECOVER_WRITTEN, TASK_EVENT_IMAGE_VERIFIED, TASK_EVENT_IMAGE_KEPT,
		     TASK_EVENT_NOTHING_LEFT);
	check_is(state, STAGE_SUCCEEDED, TASK_IMAGE_KEPT);
	task_state_free(state);
}

static void test_the_document_shows_the_tables(void)
{
	g_autofree char *expected = state_table_markdown();
	g_autofree char *text = NULL;
	char *begin, *end;

	g_assert_true(g_file_get_contents(DOCUMENT, &text, NULL, NULL));
	begin = strstr(text, BEGIN);
	end = strstr(text, END);
	if (!begin || !end)
		g_error(DOCUMENT " lacks the markers of the task states");
	*end = '\0';
	if (!g_str_equal(begin + strlen(BEGIN), expected))
		g_error("the task states in " DOCUMENT " are not those of the code: put the output "
			"of build/tests/tools/task-states between the markers");
}

#define TEST(name) g_test_add_func("/task-state/" #name, test_##name)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(every_event_in_every_state);
	TEST(stages_follow_each_other);
	TEST(a_kept_image_stays);
	TEST(an_untouched_image_may_be_of_another);
	TEST(every_end_is_reported_or_left_open);
	TEST(an_image_that_may_be_complete_is_not_deleted);
	TEST(stopping_is_not_cancelling);
	TEST(what_each_stage_reports);
	TEST(what_is_reported_once_is_not_due_again);
	TEST(a_snapshot);
	TEST(a_backup_whose_rotation_fails);
	TEST(a_cast_that_came_twice);
	TEST(a_crash_during_the_upload);
	TEST(the_document_shows_the_tables);
	return g_test_run();
}
