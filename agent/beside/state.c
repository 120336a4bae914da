/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See state.h.
 */
#include "agent/beside/state.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "rpc/json.h"

#define FOLDER "journal"
#define STATE_FILE "beside.json"
#define INTERCEPTING_FILE "beside-intercepting"
#define LOCK_FILE "beside.lock"
#define LOCK_POLL_US (100 * 1000)
#define STATE_MAX_BYTES 4096
/* Everyone may read them: the folder keeps others out. root's files are for novasnapd, too. */
#define MODE 0644

static const char *const stage_names[] = {
	[BESIDE_OFF] = "off",		[BESIDE_ENABLING] = "enabling",
	[BESIDE_ENABLED] = "enabled",	[BESIDE_DISABLING] = "disabling",
	[BESIDE_REMOVING] = "removing",
};

const char *beside_stage_name(enum beside_stage stage)
{
	return stage_names[stage];
}

static char *file_path(const char *state_dir, const char *name)
{
	return g_build_filename(state_dir, FOLDER, name, NULL);
}

/* Returns the content of a small file; NULL without an error if it does not exist. */
static char *read_file(const char *path, GError **error)
{
	g_autoptr(GError) problem = NULL;
	char *text = NULL;

	if (g_file_get_contents(path, &text, NULL, &problem))
		return text;
	if (!g_error_matches(problem, G_FILE_ERROR, G_FILE_ERROR_NOENT))
		g_propagate_error(error, g_steal_pointer(&problem));
	return NULL;
}

static int replace_file(const char *path, const char *text, GError **error)
{
	GFileSetContentsFlags flags = G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE;

	return g_file_set_contents_full(path, text, -1, flags, MODE, error) ? 0 : -1;
}

static int remove_file(const char *path, GError **error)
{
	if (g_unlink(path) == 0 || errno == ENOENT)
		return 0;
	g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(errno),
		    "cannot remove %s: %s", path, g_strerror(errno));
	return -1;
}

/* Returns false if the object is not what state_text writes. */
static bool parse_state(const cJSON *object, struct beside_state *state)
{
	const char *stage = json_string(object, "stage");
	const char *marker = json_string(object, "marker");
	const char *exchange = json_string(object, "exchange");

	if (!stage || !marker || strlen(marker) >= sizeof(state->marker))
		return false;
	(void)g_strlcpy(state->marker, marker, sizeof(state->marker));
	(void)g_strlcpy(state->exchange, exchange ? exchange : "", sizeof(state->exchange));
	state->given_back = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, "given_back"));
	for (size_t i = BESIDE_ENABLING; i < G_N_ELEMENTS(stage_names); i++) {
		if (g_str_equal(stage_names[i], stage))
			state->stage = (enum beside_stage)i;
	}
	return state->stage != BESIDE_OFF;
}

int beside_state_read(const char *state_dir, struct beside_state *ret_state, GError **error)
{
	g_autofree char *path = file_path(state_dir, STATE_FILE);
	GError *problem = NULL;
	g_autofree char *text = read_file(path, &problem);
	cJSON *object;
	bool valid;

	*ret_state = (struct beside_state){.stage = BESIDE_OFF};
	if (!text && problem)
		g_propagate_error(error, problem);
	if (!text)
		return problem ? -1 : 0;
	object = strlen(text) < STATE_MAX_BYTES ? json_parse(text, strlen(text), NULL) : NULL;
	valid = parse_state(object, ret_state);
	cJSON_Delete(object);
	if (valid)
		return 0;
	g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
		    "%s is damaged; `novasnap beside --enable` or --disable writes it again", path);
	return -1;
}

static char *state_text(const struct beside_state *state)
{
	cJSON *object = cJSON_CreateObject();
	char *text;

	cJSON_AddStringToObject(object, "stage", stage_names[state->stage]);
	cJSON_AddBoolToObject(object, "given_back", state->given_back);
	cJSON_AddStringToObject(object, "marker", state->marker);
	if (*state->exchange)
		cJSON_AddStringToObject(object, "exchange", state->exchange);
	text = cJSON_PrintUnformatted(object);
	cJSON_Delete(object);
	return text;
}

int beside_state_write(const char *state_dir, const struct beside_state *state, GError **error)
{
	g_autofree char *path = file_path(state_dir, STATE_FILE);
	char *text;
	int rc;

	if (state->stage == BESIDE_OFF) {
		rc = beside_intercepting_write(state_dir, NULL, error);
		return rc == 0 ? remove_file(path, error) : rc;
	}
	text = state_text(state);
	rc = replace_file(path, text, error);
	cJSON_free(text);
	return rc;
}

int beside_intercepting_write(const char *state_dir, const char *marker, GError **error)
{
	g_autofree char *path = file_path(state_dir, INTERCEPTING_FILE);

	return marker ? replace_file(path, marker, error) : remove_file(path, error);
}

bool beside_state_takes_requests(const struct beside_state *state)
{
	return !state->given_back &&
	       (state->stage == BESIDE_ENABLING || state->stage == BESIDE_ENABLED);
}

bool beside_is_intercepting(const char *state_dir, const struct beside_state *state)
{
	g_autofree char *path = file_path(state_dir, INTERCEPTING_FILE);
	g_autofree char *marker = NULL;

	if (!state->marker[0] || !beside_state_takes_requests(state))
		return false;
	marker = read_file(path, NULL);
	return g_strcmp0(marker, state->marker) == 0;
}

int beside_lock(const char *state_dir, unsigned limit_s, GError **error)
{
	g_autofree char *path = file_path(state_dir, LOCK_FILE);
	gint64 until = g_get_monotonic_time() + (gint64)limit_s * G_USEC_PER_SEC;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, MODE);
	int problem;

	/* root's lock file must not keep novasnapd's user out: flock does not need to write. */
	if (fd < 0 && errno == EACCES)
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		problem = errno;
		g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(problem),
			    "cannot open %s: %s; %s", path, g_strerror(problem),
			    problem == ENOENT ? "start novasnapd first, which makes the folder"
					      : "run this as root or as novasnapd's user");
		return -1;
	}
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		problem = errno;
		if (problem == EWOULDBLOCK && g_get_monotonic_time() < until) {
			g_usleep(LOCK_POLL_US);
			continue;
		}
		g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(problem),
			    problem == EWOULDBLOCK ? "%s is locked: another `novasnap beside` is "
						     "running, or novasnapd starts or stops"
						   : "cannot lock %s",
			    path);
		(void)close(fd);
		return -1;
	}
	return fd;
}

void beside_unlock(int fd)
{
	(void)close(fd);
}
