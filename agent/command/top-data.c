/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See top-data.h. A question may take ten seconds, so that a thread asks it. The rate of an upload
 * is that of the last ten seconds.
 */
#include "agent/command/top-data.h"

#include <string.h>

#include "agent/daemon/status.h"
#include "rpc/json.h"

#define WINDOW_US (10 * G_USEC_PER_SEC)
/* A rate over less time is not meaningful. */
#define RATE_US (G_USEC_PER_SEC / 4)
/* How long a restart is shown. */
#define RESTART_SHOWN_US (10 * G_USEC_PER_SEC)

struct sample {
	gint64 at;
	double done;
};

struct top_data {
	char *host;
	char *state_dir;
	cJSON *json;
	GHashTable *uploads; /* instance and image -> GArray of struct sample, oldest first */
	double pid;	     /* of the last answer; 0: none yet */
	gint64 restarted_at; /* 0: it was not */
	gint64 asked_at;     /* 0: no question is open */
	bool abandoned;	     /* freed when the open question is answered */
};

struct question {
	struct top_data *data;
	char *state_dir;
	void (*answered)(void *opaque);
	void *opaque;
	cJSON *answer;
	char *problem;
};

static void array_unref(void *array)
{
	g_array_unref(array);
}

/* Adds a sample, and drops old ones. An attempt that began again has fewer bytes. */
static void add_sample(GArray *samples, gint64 now, double done)
{
	struct sample sample = {now, done};

	if (samples->len > 0 && g_array_index(samples, struct sample, samples->len - 1).done > done)
		g_array_set_size(samples, 0);
	while (samples->len > 1 && now - g_array_index(samples, struct sample, 0).at > WINDOW_US)
		g_array_remove_index(samples, 0);
	g_array_append_val(samples, sample);
}

static void add_rate(struct top_data *data, GHashTable *kept, cJSON *job, gint64 now)
{
	double total = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(job, "total"));
	double done = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(job, "done"));
	const char *image = json_string(job, "image");
	g_autofree char *id =
		g_strdup_printf("%s %s", json_string(job, "instance"), image ? image : "");
	const struct sample *first;
	GArray *samples;
	double rate;

	/* Before the first byte `done` is the largest number. */
	if (!(total > 0) || !(done <= total))
		return;
	samples = g_hash_table_lookup(data->uploads, id);
	samples = samples ? g_array_ref(samples) : g_array_new(FALSE, FALSE, sizeof(struct sample));
	add_sample(samples, now, done);
	g_hash_table_replace(kept, g_steal_pointer(&id), samples);
	first = &g_array_index(samples, struct sample, 0);
	if (now - first->at < RATE_US)
		return;
	rate = (done - first->done) * G_USEC_PER_SEC / (double)(now - first->at);
	cJSON_AddNumberToObject(job, "bytes_per_second", rate);
	if (rate > 0)
		cJSON_AddNumberToObject(job, "seconds_left", (total - done) / rate);
}

static void add_rates(struct top_data *data, cJSON *answer, gint64 now)
{
	GHashTable *kept = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, array_unref);
	cJSON *job;

	cJSON_ArrayForEach (job, cJSON_GetObjectItemCaseSensitive(answer, "jobs"))
		add_rate(data, kept, job, now);
	g_hash_table_unref(data->uploads);
	data->uploads = kept;
}

void top_data_take(struct top_data *data, cJSON *answer, const char *problem, gint64 now)
{
	double pid = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(answer, "pid"));
	cJSON *json = answer ? answer : cJSON_CreateObject();

	if (answer && data->pid > 0 && pid != data->pid) {
		data->restarted_at = now;
		g_hash_table_remove_all(data->uploads);
	}
	if (answer)
		data->pid = pid;
	add_rates(data, json, now);
	cJSON_AddStringToObject(json, "host", data->host);
	cJSON_AddNumberToObject(json, "time", (double)g_get_real_time() / G_USEC_PER_SEC);
	cJSON_AddBoolToObject(json, "answers", answer != NULL);
	cJSON_AddBoolToObject(json, "restarted",
			      data->restarted_at > 0 &&
				      now - data->restarted_at < RESTART_SHOWN_US);
	if (!answer)
		cJSON_AddStringToObject(json, "problem", problem);
	cJSON_Delete(data->json);
	data->json = json;
}

struct top_data *top_data_new(const char *host, const char *state_dir)
{
	struct top_data *data = g_new0(struct top_data, 1);

	data->host = g_strdup(host);
	data->state_dir = g_strdup(state_dir);
	data->uploads = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, array_unref);
	top_data_take(data, NULL, "it was not asked yet", 0);
	return data;
}

static gboolean take_answer(gpointer opaque)
{
	struct question *question = opaque;
	struct top_data *data = question->data;

	data->asked_at = 0;
	if (data->abandoned) {
		cJSON_Delete(question->answer);
		top_data_free(data);
	} else {
		top_data_take(data, question->answer, question->problem, g_get_monotonic_time());
		question->answered(question->opaque);
	}
	g_free(question->state_dir);
	g_free(question->problem);
	g_free(question);
	return G_SOURCE_REMOVE;
}

static gpointer ask_main(gpointer opaque)
{
	struct question *question = opaque;
	g_autoptr(GError) error = NULL;

	question->answer = status_ask(question->state_dir, "status", NULL, &error);
	if (!question->answer)
		question->problem = g_strdup(error->message);
	(void)g_idle_add(take_answer, question);
	return NULL;
}

double top_data_ask(struct top_data *data, void (*answered)(void *opaque), void *opaque)
{
	gint64 now = g_get_monotonic_time();
	struct question *question;

	if (data->asked_at > 0)
		return (double)(now - data->asked_at) / G_USEC_PER_SEC;
	data->asked_at = now;
	question = g_new0(struct question, 1);
	question->data = data;
	question->state_dir = g_strdup(data->state_dir);
	question->answered = answered;
	question->opaque = opaque;
	g_thread_unref(g_thread_new("ask", ask_main, question));
	return 0;
}

const cJSON *top_data_json(const struct top_data *data)
{
	return data->json;
}

bool top_data_lacks_rate(const struct top_data *data)
{
	const cJSON *job;

	cJSON_ArrayForEach (job, cJSON_GetObjectItemCaseSensitive(data->json, "jobs")) {
		if (cJSON_HasObjectItem(job, "total") &&
		    !cJSON_HasObjectItem(job, "bytes_per_second"))
			return true;
	}
	return false;
}

void top_data_free(struct top_data *data)
{
	if (!data)
		return;
	if (data->asked_at > 0) {
		data->abandoned = true;
		return;
	}
	g_hash_table_unref(data->uploads);
	cJSON_Delete(data->json);
	g_free(data->host);
	g_free(data->state_dir);
	g_free(data);
}
