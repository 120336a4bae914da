/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Plays recordings of a real nova-compute. Beginning with the cast, the messages that we would send
 * are compared with those that it sent, to the letter and in order, and the replies that it got are
 * merged. Ids, times and texts that we cannot know are left out: the text and traceback of an
 * exception.
 */
#include "agent/method/methods.h"
#include "rpc/json.h"
#include "rpc/nova/conductor-args.h"
#include "rpc/nova/instance-save.h"
#include "rpc/nova/payload-exception.h"
#include "rpc/nova/payload-legacy.h"
#include "rpc/nova/payload-versioned.h"
#include "rpc/nova/value.h"

#include <string.h>

#define FOLDER "tests/data/wire/"
#define GLANCE "http://127.0.0.1:9292"

/* A recording, and the version in the record of the nova-compute that was recorded. */
struct recording {
	const char *release;
	int record;
	const char *name;
};

struct play {
	struct nova_payload_kind kind;
	GPtrArray *messages; /* cJSON *: the inner messages */
	GPtrArray *played;   /* char *: the kind of each message that was compared */
	const cJSON *args;   /* of the cast */
	struct nova_instance *instance;
	rpc_context_t *context;
};

static const cJSON *member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

static void take_line(struct play *play, const char *text)
{
	GError *error = NULL;
	cJSON *line = json_parse(text, strlen(text), &error);

	g_assert_no_error(error);
	g_ptr_array_add(play->messages, cJSON_DetachItemFromObjectCaseSensitive(line, "message"));
	cJSON_Delete(line);
}

static cJSON *context_fields(const cJSON *message)
{
	cJSON *fields = cJSON_CreateObject();
	const cJSON *item;

	cJSON_ArrayForEach (item, message) {
		if (g_str_has_prefix(item->string, "_context_"))
			cJSON_AddItemToObject(fields, item->string + strlen("_context_"),
					      cJSON_Duplicate(item, true));
	}
	return fields;
}

static struct play *play_new(const struct recording *recording)
{
	struct play *play = g_new0(struct play, 1);
	g_autofree char *path =
		g_strconcat(FOLDER, recording->release, "/", recording->name, ".jsonl", NULL);
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;
	GError *error = NULL;
	const cJSON *cast;

	g_file_get_contents(path, &text, NULL, &error);
	g_assert_no_error(error);
	play->messages = g_ptr_array_new_with_free_func((GDestroyNotify)cJSON_Delete);
	play->played = g_ptr_array_new_with_free_func(g_free);
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		if (**line)
			take_line(play, *line);
	}
	cast = play->messages->pdata[0];
	play->args = member(cast, "args");
	play->context = rpc_context_new(context_fields(cast));
	play->instance = nova_instance_new(member(play->args, "instance"), &error);
	g_assert_no_error(error);
	play->kind.release = nova_release_of_record(recording->record, play->instance);
	return play;
}

static void play_free(struct play *play)
{
	g_ptr_array_unref(play->messages);
	g_ptr_array_unref(play->played);
	nova_instance_free(play->instance);
	rpc_context_free(play->context);
	g_free(play);
}

static void count(struct play *play, const char *what)
{
	g_ptr_array_add(play->played, g_strdup(what));
}

static void assert_played(const struct play *play, const char *what, unsigned times)
{
	unsigned counted = 0;

	for (guint i = 0; i < play->played->len; i++)
		counted += g_str_equal(play->played->pdata[i], what);
	g_test_message("%s", what);
	g_assert_cmpuint(counted, ==, times);
}

static int by_text(gconstpointer a, gconstpointer b)
{
	return strcmp((*(cJSON *const *)a)->valuestring, (*(cJSON *const *)b)->valuestring);
}

/* The names of changed fields are a set in Python, which has no order. */
static void sort_changes(cJSON *object)
{
	cJSON *changes = cJSON_GetObjectItemCaseSensitive(object, "nova_object.changes");
	g_autoptr(GPtrArray) names = g_ptr_array_new();

	while (changes && changes->child)
		g_ptr_array_add(names, cJSON_DetachItemFromArray(changes, 0));
	g_ptr_array_sort(names, by_text);
	for (guint i = 0; i < names->len; i++)
		cJSON_AddItemToArray(changes, names->pdata[i]);
}

G_NORETURN static void report_difference(const char *ours, const char *theirs)
{
	size_t same = 0;
	size_t start;

	while (ours[same] && ours[same] == theirs[same])
		same++;
	start = same > 60 ? same - 60 : 0;
	g_error("ours: ...%.160s\ntheirs: ...%.160s", ours + start, theirs + start);
}

/* Takes `ours`. */
static void assert_same(cJSON *ours, const cJSON *recorded)
{
	cJSON *theirs = cJSON_Duplicate(recorded, true);
	char *our_text, *their_text;

	sort_changes(cJSON_GetObjectItemCaseSensitive(ours, "objinst"));
	sort_changes(cJSON_GetObjectItemCaseSensitive(theirs, "objinst"));
	our_text = json_print(ours);
	their_text = json_print(theirs);
	if (strcmp(our_text, their_text) != 0)
		report_difference(our_text, their_text);
	cJSON_free(our_text);
	cJSON_free(their_text);
	cJSON_Delete(theirs);
	cJSON_Delete(ours);
}

static const cJSON *reply_to(const struct play *play, const cJSON *call)
{
	const char *id = json_string(call, "_msg_id");

	for (guint i = 0; i < play->messages->len; i++) {
		const cJSON *message = play->messages->pdata[i];

		if (member(message, "result") && g_str_equal(json_string(message, "_msg_id"), id))
			return member(message, "result");
	}
	g_error("no reply to %s", id);
}

/* Sets the fields that nova-compute had set at that point. */
static void set_changes(struct play *play, const cJSON *object)
{
	const cJSON *data = member(object, "nova_object.data");
	const cJSON *change;
	int64_t power_state;

	cJSON_ArrayForEach (change, member(object, "nova_object.changes")) {
		if (g_str_equal(change->valuestring, "task_state")) {
			nova_instance_set_task_state(play->instance,
						     json_string(data, "task_state"));
		} else if (g_str_equal(change->valuestring, "power_state")) {
			g_assert_true(json_int64(data, "power_state", &power_state));
			nova_instance_set_power_state(play->instance, (int)power_state);
		} else {
			/* Set when the flavor was loaded. */
			g_assert_true(g_str_has_suffix(change->valuestring, "_flavor"));
		}
	}
}

static void play_save(struct play *play, const cJSON *call)
{
	const cJSON *args = member(call, "args");
	GError *error = NULL;

	set_changes(play, member(args, "objinst"));
	assert_same(nova_instance_save_args(play->instance, json_string(member(args, "kwargs"),
									"expected_task_state")),
		    args);
	nova_instance_merge(play->instance, reply_to(play, call), &error);
	g_assert_no_error(error);
}

static void play_load(struct play *play, const cJSON *call)
{
	GError *error = NULL;

	g_assert_false(nova_instance_has_flavor(play->instance));
	assert_same(nova_load_flavor_args(play->kind.release, nova_instance_uuid(play->instance)),
		    member(call, "args"));
	nova_instance_take_flavor(play->instance, reply_to(play, call), &error);
	g_assert_no_error(error);
	g_assert_true(nova_instance_has_flavor(play->instance));
}

static void play_fault(struct play *play, const cJSON *call)
{
	const cJSON *args = member(call, "args");
	const cJSON *data = member(member(args, "objinst"), "nova_object.data");

	assert_same(nova_fault_args(nova_instance_uuid(play->instance), 500,
				    json_string(data, "message"), json_string(data, "details"),
				    json_string(data, "host")),
		    args);
}

static void play_event(struct play *play, const cJSON *call, const char *method)
{
	const cJSON *args = member(call, "args");
	const cJSON *kwargs = member(args, "kwargs");
	const char *uuid = nova_instance_uuid(play->instance);
	g_autofree char *event =
		g_strconcat("compute_", json_string(play->messages->pdata[0], "method"), NULL);

	if (g_str_equal(method, "event_start"))
		assert_same(nova_event_start_args(play->kind.release, uuid, event, "lab"), args);
	else
		assert_same(nova_event_finish_args(play->kind.release, uuid, event,
						   json_string(kwargs, "exc_val"),
						   json_string(kwargs, "exc_tb")),
			    args);
}

static void play_call(struct play *play, const cJSON *call)
{
	const cJSON *args = member(call, "args");
	const char *method = json_string(args, "objmethod");

	count(play, method);
	if (g_str_equal(method, "save"))
		play_save(play, call);
	else if (g_str_equal(method, "get_by_uuid"))
		play_load(play, call);
	else if (g_str_equal(method, "create"))
		play_fault(play, call);
	else
		play_event(play, call, method);
}

static const struct nova_exception glance_failed = {
	.class_name = "GlanceConnectionFailed",
	.module = "nova.exception",
	.message = "Connection to glance host " GLANCE " failed",
	.function = "snapshot_instance",
	.code = 500,
};

static void drop_member(cJSON *object, const char *name)
{
	g_assert_nonnull(member(object, name));
	cJSON_DeleteItemFromObjectCaseSensitive(object, name);
}

/* Two things differ: the exception's text, which we cannot know, and the context in the info cache,
 * which we leave out because it has the token. */
static void play_legacy_error(struct play *play, const cJSON *recorded)
{
	bool is_early = nova_release_has(play->kind.release, NOVA_HABIT_EARLY_EVENT);
	cJSON *args = cJSON_Duplicate(play->args, true);
	cJSON *theirs = cJSON_Duplicate(recorded, true);
	cJSON *ours;
	const char *text;

	if (is_early) {
		/* In the order of the function's arguments. */
		cJSON_DeleteItemFromObjectCaseSensitive(args, "instance");
		nova_put_member(args, "instance", nova_instance_object(play->instance));
		cJSON_AddStringToObject(args, "expected_task_state",
					method_snapshot_instance.rest_expected_state);
	} else {
		nova_put_member(args, "instance", nova_instance_object(play->instance));
	}
	ours = nova_legacy_exception_payload(&glance_failed, args);
	text = json_string(ours, "exception");
	g_assert_cmpstr(text, ==,
			"{'kwargs': {'code': 500}, 'message': 'Connection to glance host " GLANCE
			" failed', 'class': 'GlanceConnectionFailed'}");
	g_assert_true(g_str_has_suffix(json_string(theirs, "exception"),
				       ", 'class': 'GlanceConnectionFailed'}"));
	cJSON_ReplaceItemInObjectCaseSensitive(theirs, "exception", cJSON_CreateString(text));
	drop_member(cJSON_GetObjectItemCaseSensitive(
			    cJSON_GetObjectItemCaseSensitive(
				    cJSON_GetObjectItemCaseSensitive(theirs, "args"), "instance"),
			    "info_cache"),
		    "_context");
	assert_same(ours, theirs);
	cJSON_Delete(theirs);
	cJSON_Delete(args);
}

static void play_versioned_error(const cJSON *recorded)
{
	static const char *const texts[] = {"module_name", "function_name", "exception_message",
					    "traceback"};
	cJSON *theirs = cJSON_Duplicate(recorded, true);
	cJSON *ours = nova_versioned_exception_payload(&glance_failed);
	cJSON *data = cJSON_GetObjectItemCaseSensitive(theirs, "nova_object.data");

	for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
		const char *text = json_string(member(ours, "nova_object.data"), texts[i]);

		g_assert_nonnull(json_string(data, texts[i]));
		cJSON_ReplaceItemInObjectCaseSensitive(data, texts[i], cJSON_CreateString(text));
	}
	assert_same(ours, theirs);
	cJSON_Delete(theirs);
}

/* The name of the legacy notification about a failure after the first save. */
static const char *failed_function(const struct nova_release *release)
{
	return nova_release_has(release, NOVA_HABIT_EARLY_EVENT)
		       ? method_snapshot_instance.rest_function
		       : method_snapshot_instance.name;
}

static void play_notification(struct play *play, const cJSON *message)
{
	const char *type = json_string(message, "event_type");
	const cJSON *payload = member(message, "payload");

	count(play, type);
	if (g_str_has_prefix(type, "compute.instance.snapshot."))
		assert_same(nova_legacy_payload(play->instance, GLANCE), payload);
	else if (g_str_has_prefix(type, "instance.snapshot."))
		assert_same(nova_versioned_payload(&play->kind, play->instance, play->context,
						   json_string(play->args, "image_id")),
			    payload);
	else if (g_str_equal(type, failed_function(play->kind.release)))
		play_legacy_error(play, payload);
	else
		play_versioned_error(payload);
}

static struct play *play_through(const struct recording *recording)
{
	struct play *play = play_new(recording);

	for (guint i = 1; i < play->messages->len; i++) {
		const cJSON *message = play->messages->pdata[i];

		g_test_message("line %u", i + 1);
		if (member(message, "event_type"))
			play_notification(play, message);
		else if (member(message, "method"))
			play_call(play, message);
	}
	return play;
}

/* Whether nova-compute finished the event before the rest of the messages. */
static bool has_early_event(const struct play *play)
{
	return !g_str_equal(play->played->pdata[play->played->len - 1],
			    "event_finish_with_failure");
}

static void test_success(gconstpointer opaque)
{
	const struct recording *recording = opaque;
	struct play *play = play_through(recording);
	bool is_backup = g_str_has_prefix(recording->name, "backup");

	g_assert_cmpint(has_early_event(play), ==,
			!is_backup && nova_release_has(play->kind.release, NOVA_HABIT_EARLY_EVENT));
	if (has_early_event(play)) {
		g_assert_cmpstr(play->played->pdata[1], ==, "save");
		g_assert_cmpstr(play->played->pdata[2], ==, "event_finish_with_failure");
	}
	assert_played(play, "event_start", 1);
	assert_played(play, "save", is_backup ? 6 : 7);
	assert_played(play, "get_by_uuid", is_backup ? 1 : 0);
	assert_played(play, "compute.instance.snapshot.start", 1);
	assert_played(play, "instance.snapshot.start", 1);
	assert_played(play, "compute.instance.snapshot.end", 1);
	assert_played(play, "instance.snapshot.end", 1);
	assert_played(play, "event_finish_with_failure", 1);
	g_assert_null(nova_instance_string(play->instance, "task_state"));
	play_free(play);
}

static void test_failure(gconstpointer opaque)
{
	struct play *play = play_through(opaque);

	assert_played(play, "event_start", 1);
	assert_played(play, "save", 3);
	assert_played(play, "create", 1);
	assert_played(play, "event_finish_with_failure", 1);
	assert_played(play, failed_function(play->kind.release), 1);
	assert_played(play, "compute.exception", 1);
	play_free(play);
}

/* Those of a failure are played by test_failure. */
#define FAILURE "glance-down"

static const struct {
	const char *name;
	int record;
} releases[] = {{"26.2", 64}, {"31.0", 68}, {"34.0", 74}};

static const char *const names[] = {"live",	"live-paused", "cold-stopped",	  "cold-running",
				    "backup-1", FAILURE,       "backup-2-rotates"};

/* Not every release has every recording. */
static void add_recordings(const char *release, int record, GPtrArray *recordings)
{
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *file = g_strconcat(FOLDER, release, "/", names[i], ".jsonl", NULL);
		g_autofree char *path = g_strconcat("/nova/", release, "/", names[i], NULL);
		struct recording *recording;

		if (!g_file_test(file, G_FILE_TEST_EXISTS))
			continue;
		recording = g_new0(struct recording, 1);
		*recording = (struct recording){release, record, names[i]};
		g_ptr_array_add(recordings, recording);
		g_test_add_data_func(path, recording,
				     g_str_equal(names[i], FAILURE) ? test_failure : test_success);
	}
}

int main(int argc, char **argv)
{
	g_autoptr(GPtrArray) recordings = g_ptr_array_new_with_free_func(g_free);

	g_test_init(&argc, &argv, NULL);
	for (size_t i = 0; i < G_N_ELEMENTS(releases); i++) {
		guint before = recordings->len;

		add_recordings(releases[i].name, releases[i].record, recordings);
		g_assert_cmpuint(recordings->len - before, >=, 5);
	}
	return g_test_run();
}
