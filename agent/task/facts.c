/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Facts that a life before this one noted in the journal: short texts, each with its word first.
 */
#include <string.h>

#include "agent/recovery/recovery.h"

const char *recovery_fact(const struct journal_job *left, const char *word)
{
	size_t length = strlen(word);

	for (guint i = left->steps->len; i > 0; i--) {
		const struct journal_step *step = left->steps->pdata[i - 1];

		if (!step->cleared && *step->undo == '\0' && g_str_has_prefix(step->name, word) &&
		    (step->name[length] == '\0' || step->name[length] == ' '))
			return step->name;
	}
	return NULL;
}

bool recovery_knows(const struct journal_job *left, const char *word)
{
	return recovery_fact(left, word) != NULL;
}

char *recovery_checksum_text(const struct image_checksum *checksum)
{
	return g_strdup_printf(RECOVERY_CHECKSUM " %s %s %" G_GUINT64_FORMAT, checksum->hash_name,
			       checksum->hash, checksum->size);
}

bool recovery_is_whole(const struct journal_job *left, const struct image_record *record)
{
	const char *fact = recovery_fact(left, RECOVERY_CHECKSUM);
	g_auto(GStrv) words = fact ? g_strsplit(fact, " ", 4) : NULL;
	struct image_checksum checksum;
	g_autoptr(GError) error = NULL;

	if (!words || g_strv_length(words) != 4)
		return false;
	checksum =
		(struct image_checksum){words[1], words[2], g_ascii_strtoull(words[3], NULL, 10)};
	if (image_record_verify(record, &checksum, &error) == 0)
		return true;
	g_warning("instance %s: %s", left->instance, error->message);
	return false;
}

/* The errors' domains, as they are called in the journal. */
static const struct {
	const char *name;
	GQuark (*quark)(void);
} domains[] = {{"rpc", rpc_error_quark}, {"image", image_error_quark}, {"virt", virt_error_quark}};

void recovery_note_failure(struct task *task, const GError *error)
{
	struct journal *journal = task->manager->journal;
	g_autoptr(GError) local = NULL;
	g_autofree char *fact = NULL;

	for (size_t i = 0; i < G_N_ELEMENTS(domains); i++) {
		if (error->domain == domains[i].quark())
			fact = g_strdup_printf(RECOVERY_FAILURE " %s %d", domains[i].name,
					       error->code);
	}
	/* What cannot be noted is less than what can. */
	(void)journal_step(journal, task->journal_job, fact ? fact : RECOVERY_FAILURE, "", NULL);
	if (task->keep_image)
		(void)journal_step(journal, task->journal_job, RECOVERY_KEEP, "", NULL);
	if (journal_fail_job(journal, task->journal_job, error->message, &local) < 0)
		g_warning("instance %s: %s", nova_instance_uuid(task->instance), local->message);
}

int recovery_fail_again(const struct journal_job *left, GError **error)
{
	const char *fact = recovery_fact(left, RECOVERY_FAILURE);
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
	g_set_error(error, domain, code, "%s", left->reason);
	return -1;
}
