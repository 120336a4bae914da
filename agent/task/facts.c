/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See facts.h.
 */
#include "agent/task/facts.h"

#include <string.h>

static bool is_fact(const struct journal_step *step, const char *word)
{
	size_t length = strlen(word);

	return !step->cleared && *step->undo == '\0' && g_str_has_prefix(step->name, word) &&
	       (step->name[length] == '\0' || step->name[length] == ' ');
}

/* The newest fact with that word, including its values. NULL: none. `ret_index`: its place among
 * the steps; may be NULL. */
static const char *find_fact(const struct journal_job *job, const char *word, guint *ret_index)
{
	for (guint i = job->steps->len; i > 0; i--) {
		const struct journal_step *step = job->steps->pdata[i - 1];

		if (!is_fact(step, word))
			continue;
		if (ret_index)
			*ret_index = i - 1;
		return step->name;
	}
	return NULL;
}

bool fact_is_known(const struct journal_job *job, const char *word)
{
	return find_fact(job, word, NULL) != NULL;
}

unsigned fact_count(const struct journal_job *job, const char *word)
{
	unsigned count = 0;

	for (guint i = 0; i < job->steps->len; i++)
		count += is_fact(job->steps->pdata[i], word);
	return count;
}

bool fact_all_data_was_sent(const struct journal_job *job)
{
	guint checksum, sent;

	return find_fact(job, FACT_CHECKSUM, &checksum) && find_fact(job, FACT_DATA_SENT, &sent) &&
	       checksum > sent;
}

int64_t fact_data_sent_at(const struct journal_job *job)
{
	const struct journal_step *step;
	guint sent;

	if (!find_fact(job, FACT_DATA_SENT, &sent))
		return 0;
	step = job->steps->pdata[sent];
	return step->at;
}

char *fact_checksum_text(const struct image_checksum *checksum)
{
	return g_strdup_printf(FACT_CHECKSUM " %s %s %" G_GUINT64_FORMAT, checksum->hash_name,
			       checksum->hash, checksum->size);
}

char *fact_find_checksum(const struct journal_job *job)
{
	return g_strdup(find_fact(job, FACT_CHECKSUM, NULL));
}

char *fact_location_text(const char *url, uint64_t size)
{
	/* The values of a fact are separated by spaces. */
	g_autofree char *escaped = g_uri_escape_string(url, ":/", FALSE);

	return g_strdup_printf(FACT_LOCATION " %s %" G_GUINT64_FORMAT, escaped, size);
}

bool fact_location_is_sent(const struct task *task)
{
	return task->checksum && g_str_has_prefix(task->checksum, FACT_LOCATION " ");
}

int fact_verify_image(const struct task *task, const struct image_record *record, GError **error)
{
	g_auto(GStrv) words = task->checksum ? g_strsplit(task->checksum, " ", 4) : NULL;
	struct image_checksum checksum;

	if (!words || g_strv_length(words) != 4) {
		g_set_error(error, IMAGE_ERROR, IMAGE_ERROR_MISMATCH,
			    "image %s is active, although not all of its data was sent",
			    record->id);
		return -1;
	}
	if (fact_location_is_sent(task)) {
		g_autofree char *url = g_uri_unescape_string(words[2], NULL);

		return image_record_verify_location(record, url ? url : words[2],
						    g_ascii_strtoull(words[3], NULL, 10), error);
	}
	checksum =
		(struct image_checksum){words[1], words[2], g_ascii_strtoull(words[3], NULL, 10)};
	return image_record_verify(record, &checksum, error);
}

void fact_note(struct task *task, const char *word)
{
	g_autoptr(GError) error = NULL;

	if (task->journal_job > 0 &&
	    journal_step_add(task->agent->journal, task->journal_job, word, "", &error) < 0)
		g_warning("instance %s: %s", nova_instance_uuid(task->instance), error->message);
}

void fact_note_image_asked(struct task *task)
{
	if (task->image_asked_at > 0)
		return;
	task->image_asked_at = g_get_real_time() / G_USEC_PER_SEC;
	fact_note(task, FACT_IMAGE_ASKED);
}

int64_t fact_image_asked(const struct journal_job *job)
{
	guint asked, sent;
	const struct journal_step *step;

	if (!find_fact(job, FACT_IMAGE_ASKED, &asked) ||
	    (find_fact(job, FACT_DATA_SENT, &sent) && sent > asked))
		return 0;
	step = job->steps->pdata[asked];
	return step->at;
}

gint64 fact_image_asked_until(const struct task *task, gint64 limit_us)
{
	gint64 now_s = g_get_real_time() / G_USEC_PER_SEC;
	/* A clock that was set back shows a negative time. */
	gint64 asked_s = task->image_asked_at > 0 ? MAX(now_s - task->image_asked_at, 0) : 0;
	gint64 left_us = limit_us - asked_s * G_USEC_PER_SEC;
	gint64 least_us = MIN(limit_us, (gint64)FACT_ASK_MIN_S * G_USEC_PER_SEC);

	return g_get_monotonic_time() + MAX(left_us, least_us);
}

void fact_note_fault_sent(struct task *task)
{
	g_autofree char *fact =
		g_strdup_printf(FACT_FAULT_SENT " %" G_GINT64_FORMAT, task->fault_sent_at);

	fact_note(task, fact);
}

int64_t fact_fault_sent(const struct journal_job *job)
{
	const char *fact = find_fact(job, FACT_FAULT_SENT, NULL);

	return fact ? g_ascii_strtoll(fact + strlen(FACT_FAULT_SENT), NULL, 10) : 0;
}

/* The names of the error domains in the journal. */
static const struct {
	const char *name;
	GQuark (*quark)(void);
} domains[] = {{"rpc", rpc_error_quark}, {"image", image_error_quark}, {"virt", virt_error_quark}};

int fact_note_image_stored(struct task *task, GError **error)
{
	/* If this fails, a later process still finds the image by its checksum. */
	if (task->journal_job > 0 && journal_step_add(task->agent->journal, task->journal_job,
						      FACT_IMAGE_STORED, "", NULL) < 0)
		g_info("instance %s: image %s: its confirmation could not be journaled",
		       nova_instance_uuid(task->instance), task->image_id);
	return task_state_apply(task->state, TASK_EVENT_IMAGE_STORED, error);
}

int fact_keep_image(struct task *task, GError **error)
{
	bool is_noted = task_state_image(task->state) == TASK_IMAGE_KEPT;
	g_autoptr(GError) local = NULL;

	if (task_state_apply(task->state, TASK_EVENT_IMAGE_KEPT, error) < 0)
		return -1;
	/* If this fails, a later process still finds the image by its checksum. */
	if (!is_noted && task->journal_job > 0 &&
	    journal_step_add(task->agent->journal, task->journal_job, FACT_KEEP_IMAGE, "", &local) <
		    0)
		g_warning("instance %s: %s", nova_instance_uuid(task->instance), local->message);
	return 0;
}

void fact_note_failure(struct task *task, const GError *error)
{
	struct journal *journal = task->agent->journal;
	g_autofree char *redacted = rpc_log_redact(error->message);
	g_autoptr(GError) local = NULL;
	g_autofree char *fact = NULL;

	for (size_t i = 0; i < G_N_ELEMENTS(domains); i++) {
		if (error->domain == domains[i].quark())
			fact = g_strdup_printf(FACT_FAILURE " %s %d", domains[i].name, error->code);
	}
	/* journal_job_fail, which is called next, logs why the journal cannot be written. */
	(void)journal_step_add(journal, task->journal_job, fact ? fact : FACT_FAILURE, "", NULL);
	if (journal_job_fail(journal, task->journal_job, redacted ? redacted : error->message,
			     &local) < 0)
		g_warning("instance %s: %s", nova_instance_uuid(task->instance), local->message);
}

int fact_restore_failure(const struct journal_job *job, GError **error)
{
	const char *fact = find_fact(job, FACT_FAILURE, NULL);
	g_auto(GStrv) words = fact ? g_strsplit(fact, " ", 3) : NULL;
	bool known = words && g_strv_length(words) == 3;
	GQuark domain = VIRT_ERROR;
	int code = VIRT_ERROR_FAILED;

	for (size_t i = 0; known && i < G_N_ELEMENTS(domains); i++) {
		if (!g_str_equal(words[1], domains[i].name))
			continue;
		domain = domains[i].quark();
		code = (int)g_ascii_strtoll(words[2], NULL, 10);
	}
	g_set_error(error, domain, code, "%s", job->reason);
	return -1;
}
