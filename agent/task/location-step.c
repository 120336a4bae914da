/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See location-step.h.
 */
#include "agent/task/location-step.h"

#include "agent/task/facts.h"
#include "agent/task/step.h"

#define URL_KEY "url"
#define SIZE_KEY "size"

int location_step_begin(struct task *task, const char *url, uint64_t size, GError **error)
{
	cJSON *undo = cJSON_CreateObject();
	char *text;
	int rc;

	cJSON_AddStringToObject(undo, URL_KEY, url);
	cJSON_AddNumberToObject(undo, SIZE_KEY, (double)size);
	text = cJSON_PrintUnformatted(undo);
	rc = task_step_begin(task, LOCATION_STEP, text, error);
	cJSON_free(text);
	cJSON_Delete(undo);
	return rc;
}

void location_step_clear(struct task *task)
{
	task_step_clear(task, LOCATION_STEP);
}

char *location_step_url(const struct journal_step *step, GError **error)
{
	cJSON *undo = cJSON_Parse(step->undo);
	char *url = g_strdup(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(undo, URL_KEY)));

	cJSON_Delete(undo);
	if (!url)
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
			    "the step \"%s\" in the journal cannot be read: it has no location",
			    step->name);
	return url;
}

int location_note_sending(struct task *task, const char *url, uint64_t size, GError **error)
{
	g_free(task->checksum);
	task->checksum = fact_location_text(url, size);
	task->image_asked_at = 0;
	task->location_sent_at = g_get_real_time() / G_USEC_PER_SEC;
	return task->journal_job > 0 ? journal_step_add(task->agent->journal, task->journal_job,
							task->checksum, "", error)
				     : 0;
}

void location_forget_sending(struct task *task)
{
	if (!fact_location_is_sent(task))
		return;
	task_step_clear(task, task->checksum);
	task_step_clear(task, FACT_DATA_SENT);
	g_clear_pointer(&task->checksum, g_free);
	task->location_sent_at = 0;
}

bool location_may_arrive(const struct config *config, int64_t sent_at)
{
	int64_t now = g_get_real_time() / G_USEC_PER_SEC;

	/* Two requests may follow each other, and Glance works on after novasnapd or a proxy has
	 * given one up. */
	int64_t limit_s =
		2 * (int64_t)config->image.request_timeout_s + config->image.saving_timeout_s;

	/* A clock that was set back does not prolong this. */
	return sent_at > 0 && now >= sent_at && now < sent_at + limit_s;
}

bool location_may_come(const struct task *task, const struct image_record *record)
{
	return fact_location_is_sent(task) &&
	       (image_record_is_importing(record) ||
		location_may_arrive(task->agent->config, task->location_sent_at));
}
