/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Both sides of the status socket. The server runs in the main loop and disconnects clients that
 * send no question.
 */
#include "agent/daemon/status.h"

#include <errno.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "rpc/json.h"

#define SOCKET_NAME "journal/status"
#define BACKLOG 8
#define CLIENTS_MAX 8
/* Time for a client to send its question. */
#define CLIENT_LIMIT_MS 2000
#define QUESTION_MAX 1024
#define ANSWER_MAX ((size_t)128 * 1024)
#define ASK_S 10

G_DEFINE_QUARK(status - error - quark, status_error)

struct status_client {
	struct status *status;
	int fd;
	GSource *question;
	GSource *limit;
};

struct status {
	struct manager *manager;
	GMainContext *context;
	char *path;
	int fd;
	GSource *connections;
	GPtrArray *clients; /* struct status_client */
};

static int fail_with_errno(enum status_error code, const char *what, const char *path,
			   GError **error)
{
	g_set_error(error, STATUS_ERROR, code, "%s the status socket %s: %s", what, path,
		    g_strerror(errno));
	return -1;
}

static int open_status_socket(const char *path, struct sockaddr_un *ret_address, GError **error)
{
	int fd;

	*ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (g_strlcpy(ret_address->sun_path, path, sizeof(ret_address->sun_path)) >=
	    sizeof(ret_address->sun_path)) {
		errno = ENAMETOOLONG;
		return fail_with_errno(STATUS_ERROR_FAILED, "naming", path, error);
	}
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	return fd >= 0 ? fd : fail_with_errno(STATUS_ERROR_FAILED, "making", path, error);
}

static GSource *attach_source(GMainContext *context, GSource *source, GSourceFunc callback,
			      gpointer opaque)
{
	g_source_set_callback(source, callback, opaque, NULL);
	(void)g_source_attach(source, context);
	return source;
}

static void drop_source(GSource *source)
{
	g_source_destroy(source);
	g_source_unref(source);
}

static void client_free(void *opaque)
{
	struct status_client *client = opaque;

	drop_source(client->question);
	drop_source(client->limit);
	(void)close(client->fd);
	g_free(client);
}

static cJSON *answer_question(struct manager *manager, const cJSON *question)
{
	const char *ask = json_string(question, "ask");
	const char *id = json_string(question, "id");
	cJSON *answer;

	if (g_strcmp0(ask, "status") == 0)
		return manager_describe(manager);
	answer = cJSON_CreateObject();
	if (g_strcmp0(ask, "cancel") == 0 && id)
		cJSON_AddNumberToObject(answer, "cancelled", manager_cancel(manager, id));
	else
		cJSON_AddStringToObject(answer, "error",
					"ask \"status\", or \"cancel\" with an id");
	return answer;
}

static gboolean drop_client(gpointer opaque)
{
	struct status_client *client = opaque;

	(void)g_ptr_array_remove(client->status->clients, client);
	return G_SOURCE_REMOVE;
}

static gboolean answer_client(gint fd, GIOCondition condition, gpointer opaque)
{
	struct status_client *client = opaque;
	char text[QUESTION_MAX];
	ssize_t length = recv(fd, text, sizeof(text), MSG_DONTWAIT);
	cJSON *question = length > 0 ? json_parse(text, (size_t)length, NULL) : NULL;
	cJSON *answer = answer_question(client->status->manager, question);
	char *reply = cJSON_PrintUnformatted(answer);

	(void)condition;
	/* If the client does not read it, it has disconnected. */
	if (length > 0)
		(void)send(fd, reply, strlen(reply), MSG_DONTWAIT | MSG_NOSIGNAL);
	cJSON_free(reply);
	cJSON_Delete(answer);
	cJSON_Delete(question);
	return drop_client(client);
}

static gboolean accept_client(gint fd, GIOCondition condition, gpointer opaque)
{
	struct status *status = opaque;
	int client_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct status_client *client;

	(void)condition;
	if (client_fd >= 0 && status->clients->len >= CLIENTS_MAX)
		(void)close(client_fd);
	else if (client_fd >= 0) {
		client = g_new0(struct status_client, 1);
		client->status = status;
		client->fd = client_fd;
		client->question =
			attach_source(status->context, g_unix_fd_source_new(client_fd, G_IO_IN),
				      G_SOURCE_FUNC(answer_client), client);
		client->limit =
			attach_source(status->context, g_timeout_source_new(CLIENT_LIMIT_MS),
				      drop_client, client);
		g_ptr_array_add(status->clients, client);
	}
	return G_SOURCE_CONTINUE;
}

static int listen_at(struct status *status, GError **error)
{
	struct sockaddr_un address;

	status->fd = open_status_socket(status->path, &address, error);
	if (status->fd < 0)
		return -1;
	/* An existing socket belongs to an earlier process, because this process holds the
	 * journal's lock. */
	if ((g_unlink(status->path) == 0 || errno == ENOENT) &&
	    bind(status->fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
	    listen(status->fd, BACKLOG) == 0)
		return 0;
	return fail_with_errno(STATUS_ERROR_FAILED, "opening", status->path, error);
}

struct status *status_start(const char *state_dir, struct manager *manager, GMainContext *context,
			    GError **error)
{
	struct status *status = g_new0(struct status, 1);

	status->manager = manager;
	status->context = context;
	status->path = g_build_filename(state_dir, SOCKET_NAME, NULL);
	status->clients = g_ptr_array_new_with_free_func(client_free);
	if (listen_at(status, error) < 0) {
		if (status->fd >= 0)
			(void)close(status->fd);
		g_ptr_array_unref(status->clients);
		g_free(status->path);
		g_free(status);
		return NULL;
	}
	status->connections = attach_source(context, g_unix_fd_source_new(status->fd, G_IO_IN),
					    G_SOURCE_FUNC(accept_client), status);
	return status;
}

void status_stop(struct status *status)
{
	if (!status)
		return;
	drop_source(status->connections);
	(void)g_unlink(status->path);
	(void)close(status->fd);
	g_ptr_array_unref(status->clients);
	g_free(status->path);
	g_free(status);
}

static cJSON *receive_answer(int fd, const char *path, GError **error)
{
	g_autofree char *text = g_malloc(ANSWER_MAX);
	ssize_t length = recv(fd, text, ANSWER_MAX, 0);
	cJSON *answer = length > 0 ? json_parse(text, (size_t)length, NULL) : NULL;

	if (length < 0)
		(void)fail_with_errno(STATUS_ERROR_FAILED, "reading from", path, error);
	else if (!cJSON_IsObject(answer)) {
		g_set_error(error, STATUS_ERROR, STATUS_ERROR_FAILED,
			    "the answer from the status socket %s is not a JSON object", path);
		g_clear_pointer(&answer, cJSON_Delete);
	}
	return answer;
}

/* The caller frees it with cJSON_free. */
static char *question_text(const char *ask, const char *id)
{
	cJSON *question = cJSON_CreateObject();
	char *text;

	cJSON_AddStringToObject(question, "ask", ask);
	if (id)
		cJSON_AddStringToObject(question, "id", id);
	text = cJSON_PrintUnformatted(question);
	cJSON_Delete(question);
	return text;
}

cJSON *status_ask(const char *state_dir, const char *ask, const char *id, GError **error)
{
	const struct timeval limit = {.tv_sec = ASK_S};
	g_autofree char *path = g_build_filename(state_dir, SOCKET_NAME, NULL);
	char *text = question_text(ask, id);
	struct sockaddr_un address;
	int fd = open_status_socket(path, &address, error);
	cJSON *answer = NULL;

	if (fd >= 0) {
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
		if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
			(void)fail_with_errno(STATUS_ERROR_NOBODY, "asking at", path, error);
		else if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
			(void)fail_with_errno(STATUS_ERROR_FAILED, "asking at", path, error);
		else
			answer = receive_answer(fd, path, error);
		(void)close(fd);
	}
	cJSON_free(text);
	return answer;
}
