/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection to an NBD server, with libnbd: structured replies, and the metadata context
 * base:allocation.
 */
#include "image/source/nbd-connection.h"

#include <pthread.h>

#include "image/cancel.h"
#include "image/source/nbd-server.h"

#define POLL_MS 250

struct nbd_connection {
	struct nbd_handle *nbd; /* NULL: closed after an error */
	unsigned timeout_s;
	const atomic_int *cancel;
	uint64_t answers; /* number of requests that were answered */
	pthread_mutex_t server_lock;
	struct nbd_server *server; /* NULL: not started by novasnap; guarded by the lock */
};

/* A request in flight. libnbd frees it, also when the connection is closed. */
struct nbd_request {
	struct nbd_connection *connection;
	struct image_read *read;
	uint64_t offset;
};

/* A new connection can help if this one is dead, but not if the server rejected a request. */
static int nbd_error_code(const struct nbd_connection *connection)
{
	bool gone = connection->nbd && (nbd_aio_is_dead(connection->nbd) == 1 ||
					nbd_aio_is_closed(connection->nbd) == 1);

	return gone ? IMAGE_SOURCE_ERROR_DISCONNECTED : IMAGE_SOURCE_ERROR_FAILED;
}

static int set_libnbd_error(const struct nbd_connection *connection, GError **error,
			    const char *action)
{
	const char *reason = nbd_get_error();

	g_set_error(error, IMAGE_SOURCE_ERROR, nbd_error_code(connection), "%s: %s", action,
		    reason ? reason : "libnbd reports no reason");
	return -1;
}

/* If novasnap started the server, its message is more precise than libnbd's, which only reports a
 * closed connection. */
static int set_connect_error(const struct nbd_connection *connection, GError **error)
{
	static const char action[] = "connecting to the disk's NBD export";
	g_autofree char *text =
		connection->server ? nbd_server_error_text(connection->server) : NULL;

	if (!text || *text == '\0')
		return set_libnbd_error(connection, error, action);
	g_set_error(error, IMAGE_SOURCE_ERROR, nbd_error_code(connection), "%s: %s", action, text);
	return -1;
}

static int nbd_check_cancelled(const struct nbd_connection *connection, GError **error)
{
	return image_cancel_check(connection->cancel, "reading the disk", error);
}

static void close_connection(struct nbd_connection *connection)
{
	struct nbd_server *server;

	nbd_close(connection->nbd);
	connection->nbd = NULL;
	/* Once it is waited for, its pid may be another process's. */
	pthread_mutex_lock(&connection->server_lock);
	server = g_steal_pointer(&connection->server);
	pthread_mutex_unlock(&connection->server_lock);
	nbd_server_stop(server);
}

void nbd_connection_kill_server(struct nbd_connection *connection)
{
	pthread_mutex_lock(&connection->server_lock);
	if (connection->server)
		nbd_server_kill(connection->server);
	pthread_mutex_unlock(&connection->server_lock);
}

struct nbd_handle *nbd_connection_handle(const struct nbd_connection *connection, GError **error)
{
	if (!connection->nbd)
		g_set_error_literal(
			error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED,
			"the connection to the disk's NBD export was closed after an error");
	return connection->nbd;
}

/* `reason` is NULL if libnbd knows it. */
static void set_request_error(const struct nbd_connection *connection,
			      const struct image_read *read, const char *action, const char *reason,
			      GError **error)
{
	if (!reason)
		reason = nbd_get_error();
	g_set_error(error, IMAGE_SOURCE_ERROR, nbd_error_code(connection),
		    "%s at byte %" G_GUINT64_FORMAT ": %s", action, read->offset,
		    reason ? reason : "libnbd reports no reason");
}

int nbd_connection_fail(struct nbd_connection *connection, const struct image_read *read,
			const char *action, GError **error)
{
	/* libnbd would only complain about the state of its handle. */
	bool gone = nbd_error_code(connection) == IMAGE_SOURCE_ERROR_DISCONNECTED;

	set_request_error(connection, read, action,
			  gone ? "the server closed the connection" : NULL, error);
	close_connection(connection);
	return -1;
}

/* Runs within calls of libnbd, in the thread that uses the connection. */
static int request_completed(void *opaque, int *error)
{
	const struct nbd_request *request = opaque;
	struct image_read *read = request->read;

	request->connection->answers++;
	read->pending--;
	if (*error != 0 && read->error_code == 0) {
		read->error_code = *error;
		read->offset = request->offset;
	}
	return 1; /* libnbd frees the request */
}

nbd_completion_callback nbd_connection_expect(struct nbd_connection *connection,
					      struct image_read *read, uint64_t offset)
{
	struct nbd_request *request = g_new(struct nbd_request, 1);

	*request = (struct nbd_request){connection, read, offset};
	if (read->pending++ == 0 && read->error_code == 0)
		read->offset = offset;
	return (nbd_completion_callback){
		.callback = request_completed, .user_data = request, .free = g_free};
}

/* The limit is for each answer: it starts again with the answer of any request. */
static int wait_for_answers(struct nbd_connection *connection, const struct image_read *read,
			    const char *action, GError **error)
{
	gint64 progress_us = g_get_monotonic_time();
	uint64_t answers_before = connection->answers;

	while (read->pending > 0) {
		int rc = nbd_poll(connection->nbd, POLL_MS);

		if (connection->answers > answers_before) {
			answers_before = connection->answers;
			progress_us = g_get_monotonic_time();
		}
		if (rc < 0) {
			set_request_error(connection, read, action, NULL, error);
			return -1;
		}
		if (nbd_check_cancelled(connection, error) < 0)
			return -1;
		if (g_get_monotonic_time() - progress_us >
		    (gint64)connection->timeout_s * G_USEC_PER_SEC) {
			g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED,
				    "%s at byte %" G_GUINT64_FORMAT ": no answer within %u s",
				    action, read->offset, connection->timeout_s);
			return -1;
		}
	}
	if (read->error_code == 0)
		return 0;
	set_request_error(connection, read, action, g_strerror(read->error_code), error);
	return -1;
}

int nbd_connection_wait(struct nbd_connection *connection, struct image_read *read,
			const char *action, GError **error)
{
	if (!nbd_connection_handle(connection, error))
		return -1;
	if (wait_for_answers(connection, read, action, error) == 0)
		return 0;
	close_connection(connection);
	return -1;
}

/* Waits until the handshake is complete. */
static int wait_for_handshake(struct nbd_connection *connection, GError **error)
{
	gint64 until_us = g_get_monotonic_time() + (gint64)connection->timeout_s * G_USEC_PER_SEC;

	while (nbd_aio_is_ready(connection->nbd) != 1) {
		if (nbd_poll(connection->nbd, POLL_MS) < 0 ||
		    nbd_aio_is_dead(connection->nbd) == 1 ||
		    nbd_aio_is_closed(connection->nbd) == 1)
			return set_connect_error(connection, error);
		if (nbd_check_cancelled(connection, error) < 0)
			return -1;
		if (g_get_monotonic_time() > until_us) {
			g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_DISCONNECTED,
				    "connecting to the disk's NBD export: no answer within %u s",
				    connection->timeout_s);
			return -1;
		}
	}
	return 0;
}

static int start_and_connect(struct nbd_connection *connection, const struct image_nbd *nbd,
			     GError **error)
{
	int client;

	connection->server = nbd_server_start(nbd->argv, nbd->socket, &client, error);
	if (!connection->server)
		return -1;
	/* libnbd closes the socket, also after an error. */
	return nbd_aio_connect_socket(connection->nbd, client) < 0
		       ? set_connect_error(connection, error)
		       : 0;
}

static int connect_to_server(struct nbd_connection *connection, const struct image_nbd *nbd,
			     GError **error)
{
	/* libnbd would zero each buffer before reading into it, which costs a tenth of the CPU
	 * time. It is not needed, because the buffer of a failed read is not used. */
	if (nbd_set_pread_initialize(connection->nbd, false) < 0 ||
	    nbd_set_export_name(connection->nbd, nbd->export_name) < 0 ||
	    nbd_add_meta_context(connection->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
	    (!nbd->argv && nbd_aio_connect_unix(connection->nbd, nbd->socket) < 0))
		return set_connect_error(connection, error);
	if (nbd->argv && start_and_connect(connection, nbd, error) < 0)
		return -1;
	return wait_for_handshake(connection, error);
}

struct nbd_connection *nbd_connection_open(const struct image_nbd *nbd, GError **error)
{
	struct nbd_connection *connection = g_new0(struct nbd_connection, 1);

	connection->timeout_s = nbd->timeout_s;
	connection->cancel = nbd->cancel;
	pthread_mutex_init(&connection->server_lock, NULL);
	connection->nbd = nbd_create();
	if (!connection->nbd)
		(void)set_libnbd_error(connection, error, "initializing libnbd");
	else if (connect_to_server(connection, nbd, error) == 0)
		return connection;
	nbd_connection_free(connection);
	return NULL;
}

void nbd_connection_free(struct nbd_connection *connection)
{
	if (!connection)
		return;
	close_connection(connection);
	pthread_mutex_destroy(&connection->server_lock);
	g_free(connection);
}
