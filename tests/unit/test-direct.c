/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The copy of a direct snapshot, with a real journal: when it is removed and when it is kept, in
 * the process that makes it and in the next one. The linker puts the functions below in the place
 * of Ceph, Glance and the abort monitor.
 */
#include "agent/method/image-direct.h"
#include "agent/method/methods.h"
#include "agent/recovery/location.h"
#include "agent/recovery/rollback.h"
#include "agent/task/facts.h"
#include "agent/task/location-step.h"
#include "tests/unit/journal-folder.h"

#define INSTANCE_UUID "8a2f4c1e-0000-4000-8000-000000000001"
#define IMAGE_UUID "8a2f4c1e-0000-4000-8000-000000000002"
#define BASE_UUID "8a2f4c1e-0000-4000-8000-000000000003"
#define URL "rbd://fsid/glance pool/" IMAGE_UUID "/snap"
#define SIZE 4096

static struct {
	bool copy_fails, is_not_possible;
	enum image_location_result added;
	enum image_location_answer has;
	const char *status; /* of the image; NULL: it is gone */
	bool is_silent;	    /* the store does not answer a query for the image */
	unsigned away;	    /* how often Ceph does not remove the copy first */
	unsigned removals, additions, answers, rollbacks;
} fake;
static atomic_int no_abort;
static struct journal *journal;

__typeof__(snapshot_copy_direct) __wrap_snapshot_copy_direct;
__typeof__(virt_direct_copy_remove) __wrap_virt_direct_copy_remove;
__typeof__(virt_guest_rollback_step) __wrap_virt_guest_rollback_step;
__typeof__(image_store_add_location) __wrap_image_store_add_location;
__typeof__(image_store_has_location) __wrap_image_store_has_location;
__typeof__(image_store_get) __wrap_image_store_get;
__typeof__(image_store_update) __wrap_image_store_update;
__typeof__(abort_monitor_flag) __wrap_abort_monitor_flag;
__typeof__(abort_monitor_watch_guest) __wrap_abort_monitor_watch_guest;

char *__wrap_snapshot_copy_direct(struct snapshot *snapshot, const struct snapshot_direct *direct,
				  bool *ret_not_possible, GError **error)
{
	(void)snapshot;
	g_assert_cmpstr(direct->image_id, ==, IMAGE_UUID);
	g_assert_cmpstr(direct->base_locations[0], ==, "rbd://fsid/b");
	g_assert_cmpstr(direct->base_locations[1], ==, "rbd://fsid/a");
	*ret_not_possible = fake.is_not_possible;
	if (fake.is_not_possible) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED, "other cluster");
		return NULL;
	}
	if (direct->begin_copy(direct->opaque, URL, SIZE, error) < 0)
		return NULL;
	direct->progress(direct->opaque, 1, 2);
	if (!fake.copy_fails)
		return g_strdup(URL);
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FAILED, "simulated: the pool is full");
	return NULL;
}

int __wrap_virt_direct_copy_remove(struct virt_host *host, const char *location, GError **error)
{
	(void)host;
	g_assert_cmpstr(location, ==, URL);
	fake.removals++;
	if (fake.away == 0)
		return 0;
	fake.away--;
	g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT, "simulated: Ceph is away");
	return -1;
}

int __wrap_virt_guest_rollback_step(struct virt_host *host, const char *uuid, const char *step,
				    const char *undo, GError **error)
{
	(void)host;
	(void)uuid;
	(void)undo;
	(void)error;
	g_assert_cmpstr(step, ==, "rbd-snap");
	fake.rollbacks++;
	return 0;
}

static struct journal_job *read_job(int64_t job)
{
	g_autofree char *id = g_strdup_printf("%" G_GINT64_FORMAT, job);

	return journal_find(journal, id, NULL);
}

static unsigned open_steps(int64_t job)
{
	g_autoptr(journal_job_t) left = read_job(job);

	return journal_job_count_open_steps(left);
}

static int64_t job_in_work;

enum image_location_result __wrap_image_store_add_location(struct image_store *store,
							   const struct image_identity *identity,
							   const char *id, const char *url,
							   const atomic_int *cancel, GError **error)
{
	g_autoptr(journal_job_t) left = read_job(job_in_work);

	(void)store;
	(void)identity;
	(void)cancel;
	g_assert_cmpstr(id, ==, IMAGE_UUID);
	g_assert_cmpstr(url, ==, URL);
	fake.additions++;
	/* A process that dies now must be known to have sent it. */
	g_assert_cmpuint(journal_job_count_open_steps(left), ==, 1);
	g_assert_true(fact_all_data_was_sent(left));
	if (fake.added != IMAGE_LOCATION_ADDED)
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE, "simulated");
	return fake.added;
}

enum image_location_answer __wrap_image_store_has_location(struct image_store *store,
							   const struct image_identity *identity,
							   const char *id, const char *url,
							   GError **error)
{
	(void)store;
	(void)identity;
	(void)id;
	g_assert_cmpstr(url, ==, URL);
	fake.answers++;
	if (fake.has == IMAGE_LOCATION_NOT_KNOWN)
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE, "no answer");
	return fake.has;
}

int __wrap_image_store_get(struct image_store *store, const struct image_identity *identity,
			   const char *id, struct image_record **ret_record, GError **error)
{
	struct image_record *record;
	bool is_base = g_str_equal(id, BASE_UUID);

	(void)store;
	(void)identity;
	if (!is_base && fake.is_silent) {
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_UNAVAILABLE, "no answer");
		return -1;
	}
	if (!is_base && !fake.status) {
		g_set_error_literal(error, IMAGE_ERROR, IMAGE_ERROR_NOT_FOUND, "gone");
		return -1;
	}
	record = g_new0(struct image_record, 1);
	record->id = g_strdup(id);
	record->status = g_strdup(is_base ? "active" : fake.status);
	record->size = SIZE;
	record->document = cJSON_Parse(
		is_base ? "{\"locations\":[{\"url\":\"rbd://fsid/"
			  "a\",\"metadata\":{\"store\":\"x\"}},"
			  "{\"url\":\"rbd://fsid/b\",\"metadata\":{\"store\":\"mine\"}}]}"
			: "{}");
	*ret_record = record;
	return 0;
}

int __wrap_image_store_update(struct image_store *store, const struct image_identity *identity,
			      const char *id, const struct image_meta *meta, GError **error)
{
	(void)store;
	(void)identity;
	(void)id;
	(void)error;
	g_assert_cmpstr(meta->disk_format, ==, "raw");
	return 0;
}

const atomic_int *__wrap_abort_monitor_flag(const struct abort_monitor *monitor)
{
	(void)monitor;
	return &no_abort;
}

void __wrap_abort_monitor_watch_guest(struct abort_monitor *monitor, struct snapshot *snapshot)
{
	(void)monitor;
	(void)snapshot;
}

struct fixture {
	char *dir;
	struct config config;
	struct agent agent;
	struct task *task;
};

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	struct journal_cast cast = {.method = "snapshot_instance",
				    .instance = INSTANCE_UUID,
				    .image = IMAGE_UUID,
				    .message = "{}"};
	cJSON *message = cJSON_Parse(
		"{\"version\": \"6.0\", \"method\": \"snapshot_instance\", \"args\": "
		"{\"image_id\": "
		"\"" IMAGE_UUID "\", \"instance\": {\"nova_object.name\": \"Instance\", "
		"\"nova_object.data\": {\"uuid\": \"" INSTANCE_UUID "\", \"image_ref\": "
		"\"" BASE_UUID "\"}}}}");

	(void)unused;
	memset(&fake, 0, sizeof(fake));
	fake.status = "queued";
	fixture->dir = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	journal = journal_open(fixture->dir, 1, NULL);
	fixture->config.rbd_glance_store_name = "mine";
	fixture->config.image.request_timeout_s = 60;
	fixture->agent.config = &fixture->config;
	fixture->agent.journal = journal;
	fixture->task = task_new(&fixture->agent, &method_snapshot_instance,
				 rpc_request_new_local(message), NULL);
	g_assert_nonnull(fixture->task);
	g_assert_cmpint(journal_casts_add(journal, &cast, 1, NULL), ==, 0);
	fixture->task->journal_job = job_in_work = cast.job;
	g_assert_cmpint(task_state_apply(fixture->task->state, TASK_EVENT_RUN, NULL), ==, 0);
	/* Failures to remove the copy are logged as warnings. */
	g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	task_free(fixture->task);
	journal_close(journal);
	journal_folder_remove(fixture->dir);
	g_free(fixture->dir);
}

static void expect_sent(struct fixture *fixture, enum image_direct_result expected,
			enum task_image image, unsigned removals, unsigned open)
{
	struct image_direct *direct = image_direct_new(fixture->task);
	struct image_base *base = image_base_new(fixture->task);
	const struct image_sending sending = {.task = fixture->task, .base = base, .name = "name"};
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(image_direct_send(direct, &sending, &error), ==, expected);
	g_assert_cmpint(error == NULL, ==, expected == IMAGE_DIRECT_STORED);
	g_assert_cmpint(task_state_image(fixture->task->state), ==, image);
	g_assert_cmpuint(fake.removals, ==, removals);
	g_assert_cmpuint(open_steps(job_in_work), ==, open);
	image_base_free(base);
	image_direct_free(direct);
}

static void test_stored(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(journal_job_t) left = NULL;

	(void)unused;
	expect_sent(fixture, IMAGE_DIRECT_STORED, TASK_IMAGE_STORED, 0, 0);
	left = read_job(job_in_work);
	g_assert_true(fact_is_known(left, FACT_IMAGE_STORED));
	g_assert_true(fact_location_is_sent(fixture->task));
}

static void test_not_possible(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.is_not_possible = true;
	expect_sent(fixture, IMAGE_DIRECT_NOT_POSSIBLE, TASK_IMAGE_UNTOUCHED, 0, 0);
}

static void test_copy_fails(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.copy_fails = true;
	expect_sent(fixture, IMAGE_DIRECT_FAILED, TASK_IMAGE_UNTOUCHED, 1, 0);
	g_assert_cmpuint(fake.additions, ==, 0);
}

/* Nothing in the journal may look as if the store had data. */
static void test_refused(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(journal_job_t) left = NULL;

	(void)unused;
	fake.added = IMAGE_LOCATION_REFUSED;
	expect_sent(fixture, IMAGE_DIRECT_NOT_POSSIBLE, TASK_IMAGE_UNTOUCHED, 1, 0);
	left = read_job(job_in_work);
	g_assert_false(fact_is_known(left, FACT_DATA_SENT));
	g_assert_false(fact_is_known(left, FACT_CHECKSUM));
	g_assert_null(fixture->task->checksum);
}

/* Glance would store uploaded data under the name of the copy. */
static void test_refused_and_not_removed(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.added = IMAGE_LOCATION_REFUSED;
	fake.away = 1;
	expect_sent(fixture, IMAGE_DIRECT_FAILED, TASK_IMAGE_UNTOUCHED, 1, 1);
}

static void test_failed(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.added = IMAGE_LOCATION_FAILED;
	expect_sent(fixture, IMAGE_DIRECT_FAILED, TASK_IMAGE_UNTOUCHED, 1, 0);
}

static void test_unknown(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.added = IMAGE_LOCATION_UNKNOWN;
	expect_sent(fixture, IMAGE_DIRECT_FAILED, TASK_IMAGE_SENT, 0, 1);
	/* The image has it after all: it is compared by size and location. */
	g_assert_true(fact_location_is_sent(fixture->task));
}

/* The journal of a process that has died: "-" is the step of the disk's snapshot, "location" the
 * one of the copy, and other words are facts. */
static struct journal_job *leave(struct fixture *fixture, const char *steps)
{
	g_auto(GStrv) words = g_strsplit(steps, " ", -1);

	for (char **word = words; *word; word++) {
		if (g_str_equal(*word, LOCATION_STEP))
			g_assert_cmpint(location_step_begin(fixture->task, URL, SIZE, NULL), ==, 0);
		else if (g_str_equal(*word, "-"))
			g_assert_cmpint(
				journal_step_add(journal, job_in_work, "rbd-snap", "{}", NULL), ==,
				0);
		else
			g_assert_cmpint(journal_step_add(journal, job_in_work, *word, "", NULL), ==,
					0);
	}
	fixture->task->recovered_job = read_job(job_in_work);
	return fixture->task->recovered_job;
}

/* Before the location was given away, Glance need not be asked, and the copy goes first. */
static void test_rollback_unsent(struct fixture *fixture, gconstpointer unused)
{
	const struct journal_job *left = leave(fixture, "- location");

	(void)unused;
	g_assert_cmpint(recovery_rollback(&fixture->agent, NULL, left, 1, NULL), ==, 0);
	g_assert_cmpuint(fake.removals, ==, 1);
	g_assert_cmpuint(fake.rollbacks, ==, 1);
	g_assert_cmpuint(fake.answers, ==, 0);
	g_assert_cmpuint(open_steps(job_in_work), ==, 0);
}

static void test_rollback_stored(struct fixture *fixture, gconstpointer unused)
{
	const struct journal_job *left = leave(fixture, "- location upload stored");

	(void)unused;
	g_assert_cmpint(recovery_rollback(&fixture->agent, NULL, left, 1, NULL), ==, 0);
	g_assert_cmpuint(fake.removals, ==, 0);
	g_assert_cmpuint(open_steps(job_in_work), ==, 0);
}

/* The rollback neither removes nor forgets a copy that the image may use. */
static void test_rollback_sent(struct fixture *fixture, gconstpointer unused)
{
	const struct journal_job *left = leave(fixture, "- location upload");

	(void)unused;
	g_assert_cmpint(recovery_rollback(&fixture->agent, NULL, left, 1, NULL), ==, 0);
	g_assert_cmpuint(fake.removals, ==, 0);
	g_assert_cmpuint(fake.rollbacks, ==, 1);
	g_assert_cmpuint(open_steps(job_in_work), ==, 1);
}

/* An older upload says nothing about a newer copy. */
static void test_rollback_after_an_older_upload(struct fixture *fixture, gconstpointer unused)
{
	const struct journal_job *left = leave(fixture, "upload stored location");

	(void)unused;
	g_assert_cmpint(recovery_rollback(&fixture->agent, NULL, left, 1, NULL), ==, 0);
	g_assert_cmpuint(fake.removals, ==, 1);
}

static void expect_closed(struct fixture *fixture, enum image_standing image, unsigned removals,
			  unsigned open)
{
	(void)leave(fixture, "location upload");
	g_assert_cmpint(recovery_location_close(fixture->task, image, NULL), ==, 0);
	g_assert_cmpuint(fake.removals, ==, removals);
	g_assert_cmpuint(open_steps(job_in_work), ==, open);
}

static void test_close_complete(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	expect_closed(fixture, IMAGE_COMPLETE, 0, 0);
}

static void test_close_waits(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	expect_closed(fixture, IMAGE_WAITS, 1, 0);
}

static void test_close_unknown(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	expect_closed(fixture, IMAGE_UNKNOWN, 0, 1);
}

static void test_close_unusable(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	expect_closed(fixture, IMAGE_UNUSABLE, 0, 1);
}

static void expect_settled(struct fixture *fixture, const char *status,
			   enum image_location_answer has, unsigned removals, unsigned open)
{
	g_autoptr(GError) error = NULL;
	struct journal_job *left = leave(fixture, "location upload");

	/* The facts of an ended job are cleared. */
	g_assert_cmpint(journal_job_end(journal, job_in_work, "failed", NULL), ==, 0);
	journal_job_free(left);
	left = fixture->task->recovered_job = read_job(job_in_work);
	fake.status = status;
	fake.has = has;
	g_assert_cmpint(recovery_location_settle(fixture->task, left, &error), ==, open ? -1 : 0);
	g_assert_cmpuint(fake.answers, ==, 1);
	g_assert_cmpuint(fake.removals, ==, removals);
	g_assert_cmpuint(open_steps(job_in_work), ==, open);
	if (open)
		g_assert_nonnull(strstr(error->message, URL));
}

static void test_settle_used(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	expect_settled(fixture, "active", IMAGE_LOCATION_USED, 0, 0);
}

static void test_settle_importing(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	expect_settled(fixture, "queued", IMAGE_LOCATION_USED, 0, 1);
}

static void test_settle_gone(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	expect_settled(fixture, NULL, IMAGE_LOCATION_UNUSED, 1, 0);
}

static void test_settle_not_known(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	expect_settled(fixture, "queued", IMAGE_LOCATION_NOT_KNOWN, 0, 1);
}

/* The request may still arrive at an image that waits. */
static void test_settle_early(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	expect_settled(fixture, "queued", IMAGE_LOCATION_UNUSED, 0, 1);
}

/* No answer does not mean that it will not arrive. */
static void test_settle_unanswered(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fake.is_silent = true;
	expect_settled(fixture, "queued", IMAGE_LOCATION_UNUSED, 0, 1);
}

static void test_settle_late(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fixture->config.image.request_timeout_s = 0;
	expect_settled(fixture, "queued", IMAGE_LOCATION_UNUSED, 1, 0);
}

/* What a process reads again from the journal. */
static void test_fact(struct fixture *fixture, gconstpointer unused)
{
	struct image_record record = {
		.id = (char *)IMAGE_UUID, .status = (char *)"active", .size = SIZE};
	g_autoptr(GError) error = NULL;

	(void)unused;
	fixture->task->checksum = fact_location_text(URL, SIZE);
	g_assert_cmpint(fact_verify_image(fixture->task, &record, &error), ==, 0);
	record.document = cJSON_Parse("{\"direct_url\":\"" URL "\"}");
	g_assert_cmpint(fact_verify_image(fixture->task, &record, &error), ==, 0);
	record.size = SIZE + 1;
	g_assert_cmpint(fact_verify_image(fixture->task, &record, &error), ==, -1);
	g_assert_error(error, IMAGE_ERROR, IMAGE_ERROR_MISMATCH);
	cJSON_Delete(record.document);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *path;
		void (*run)(struct fixture *fixture, gconstpointer unused);
	} tests[] = {
		{"/direct/stored", test_stored},
		{"/direct/not_possible", test_not_possible},
		{"/direct/copy_fails", test_copy_fails},
		{"/direct/refused", test_refused},
		{"/direct/refused_and_not_removed", test_refused_and_not_removed},
		{"/direct/failed", test_failed},
		{"/direct/unknown", test_unknown},
		{"/direct/rollback_unsent", test_rollback_unsent},
		{"/direct/rollback_stored", test_rollback_stored},
		{"/direct/rollback_sent", test_rollback_sent},
		{"/direct/rollback_after_an_older_upload", test_rollback_after_an_older_upload},
		{"/direct/close_complete", test_close_complete},
		{"/direct/close_waits", test_close_waits},
		{"/direct/close_unknown", test_close_unknown},
		{"/direct/close_unusable", test_close_unusable},
		{"/direct/settle_used", test_settle_used},
		{"/direct/settle_importing", test_settle_importing},
		{"/direct/settle_gone", test_settle_gone},
		{"/direct/settle_not_known", test_settle_not_known},
		{"/direct/settle_early", test_settle_early},
		{"/direct/settle_unanswered", test_settle_unanswered},
		{"/direct/settle_late", test_settle_late},
		{"/direct/fact", test_fact},
	};

	g_test_init(&argc, &argv, NULL);
	for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
		g_test_add(tests[i].path, struct fixture, NULL, set_up, tests[i].run, tear_down);
	return g_test_run();
}
