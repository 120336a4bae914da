/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The calls in progress, the sockets of their connections, and the thread that shuts down a socket
 * when a call on it is overdue.
 */
#include "virt/libvirt/call-timeout.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "virt/virt.h"

#define DESCRIPTORS_FOLDER "/proc/self/fd"

/* The socket of a connection. It belongs to libvirt, which may close it at any time; its descriptor
 * may then refer to another file. The inode shows whether it is still the same socket. */
struct libvirt_socket {
	int fd;
	ino_t inode;
};

static struct {
	pthread_mutex_t opening; /* held while a connection is opened */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	const struct virt_config *config; /* NULL: no thread is running, calls have no limit */
	pthread_t thread;
	GHashTable *sockets;	    /* connection -> struct libvirt_socket */
	GArray *sockets_before;	    /* struct libvirt_socket: those open before virConnectOpen */
	struct call_timeout *calls; /* those in progress */
	gint64 wake_at;		    /* when the thread checks the calls next */
	bool stopping;
	bool warned;
} timeouts = {
	.opening = PTHREAD_MUTEX_INITIALIZER,
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
};

static _Thread_local struct {
	const char *name;
	unsigned seconds;
} exceeded;

/* 0: it is not a socket. Another thread may close the descriptor meanwhile: its file is looked up
 * by path, so that the descriptor itself is not used. */
static ino_t socket_inode(int fd)
{
	g_autofree char *path = g_strdup_printf(DESCRIPTORS_FOLDER "/%d", fd);
	struct stat file;

	return stat(path, &file) == 0 && S_ISSOCK(file.st_mode) ? file.st_ino : 0;
}

/* The names of libvirt's sockets end in "-sock", unless the URI names a socket. */
static bool is_libvirt_socket(int fd, const char *uri)
{
	struct sockaddr_un peer = {0};
	socklen_t length = sizeof(peer) - 1;

	return getpeername(fd, (struct sockaddr *)&peer, &length) == 0 &&
	       peer.sun_family == AF_UNIX && *peer.sun_path &&
	       (g_str_has_suffix(peer.sun_path, "-sock") || strstr(uri, peer.sun_path));
}

static bool contains_socket(const GArray *sockets, ino_t inode)
{
	for (guint i = 0; i < sockets->len; i++) {
		if (g_array_index(sockets, struct libvirt_socket, i).inode == inode)
			return true;
	}
	return false;
}

/* All sockets of this process that are connected to libvirt, except the known ones. */
static GArray *find_sockets(const char *uri, const GArray *known)
{
	GArray *found = g_array_new(FALSE, FALSE, sizeof(struct libvirt_socket));
	GDir *folder = g_dir_open(DESCRIPTORS_FOLDER, 0, NULL);
	const char *name;

	while (folder && (name = g_dir_read_name(folder))) {
		struct libvirt_socket socket = {.fd = (int)strtol(name, NULL, 10)};

		socket.inode = socket_inode(socket.fd);
		if (socket.inode != 0 && is_libvirt_socket(socket.fd, uri) &&
		    !(known && contains_socket(known, socket.inode)))
			g_array_append_val(found, socket);
	}
	if (folder)
		g_dir_close(folder);
	return found;
}

/* Uses a duplicate of the descriptor, which libvirt cannot close meanwhile. */
static void shut_down_socket(const struct libvirt_socket *socket)
{
	int fd = fcntl(socket->fd, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (socket_inode(fd) == socket->inode && shutdown(fd, SHUT_RDWR) < 0)
		g_info("cannot shut down a connection to libvirt: %s", g_strerror(errno));
	(void)close(fd);
}

/* With the lock held. */
static void end_overdue_call(struct call_timeout *call)
{
	call->overdue = true;
	call->until = 0;
	g_info("libvirt did not answer %s in %u s: shutting down its connection", call->name,
	       call->seconds);
	if (call->connection) {
		const struct libvirt_socket *socket =
			g_hash_table_lookup(timeouts.sockets, call->connection);

		if (socket)
			shut_down_socket(socket);
	} else {
		g_autoptr(GArray) sockets =
			find_sockets(timeouts.config->connection_uri, timeouts.sockets_before);

		for (guint i = 0; i < sockets->len; i++)
			shut_down_socket(&g_array_index(sockets, struct libvirt_socket, i));
	}
}

/* Ends the overdue calls, and returns when the next call will be overdue. With the lock held. */
static gint64 end_overdue_calls(void)
{
	gint64 now = g_get_monotonic_time(), next = G_MAXINT64;

	for (struct call_timeout *call = timeouts.calls; call; call = call->next) {
		if (call->until > 0 && call->until <= now)
			end_overdue_call(call);
		if (call->until > 0)
			next = MIN(next, call->until);
	}
	return next;
}

static void *timeouts_main(void *opaque)
{
	(void)opaque;
	pthread_mutex_lock(&timeouts.lock);
	while (!timeouts.stopping) {
		timeouts.wake_at = end_overdue_calls();
		if (timeouts.wake_at == G_MAXINT64) {
			pthread_cond_wait(&timeouts.changed, &timeouts.lock);
		} else {
			struct timespec until = {
				.tv_sec = timeouts.wake_at / G_USEC_PER_SEC,
				.tv_nsec = timeouts.wake_at % G_USEC_PER_SEC * 1000,
			};

			(void)pthread_cond_clockwait(&timeouts.changed, &timeouts.lock,
						     CLOCK_MONOTONIC, &until);
		}
	}
	pthread_mutex_unlock(&timeouts.lock);
	return NULL;
}

int call_timeouts_start(const struct virt_config *config, GError **error)
{
	int rc;

	timeouts.sockets = g_hash_table_new_full(NULL, NULL, NULL, g_free);
	timeouts.wake_at = G_MAXINT64;
	timeouts.stopping = false;
	timeouts.config = config;
	rc = pthread_create(&timeouts.thread, NULL, timeouts_main, NULL);
	if (rc == 0)
		return 0;
	timeouts.config = NULL;
	g_hash_table_unref(timeouts.sockets);
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
		    "cannot start the thread that limits libvirt calls: %s", g_strerror(rc));
	return -1;
}

void call_timeouts_stop(void)
{
	if (!timeouts.config)
		return;
	pthread_mutex_lock(&timeouts.lock);
	timeouts.stopping = true;
	pthread_cond_broadcast(&timeouts.changed);
	pthread_mutex_unlock(&timeouts.lock);
	pthread_join(timeouts.thread, NULL);
	timeouts.config = NULL;
	g_hash_table_unref(timeouts.sockets);
}

/* With the lock held. */
static void add_call(struct call_timeout *call, unsigned seconds)
{
	call->seconds = seconds;
	call->until = g_get_monotonic_time() + (gint64)seconds * G_USEC_PER_SEC;
	call->next = timeouts.calls;
	timeouts.calls = call;
	if (call->until < timeouts.wake_at)
		pthread_cond_broadcast(&timeouts.changed);
}

/* With the lock held. */
static unsigned limit_of(enum call_timeout_kind kind)
{
	const struct virt_config *config = timeouts.config;

	switch (kind) {
	case CALL_TIMEOUT_SAVE:
		return config->save_timeout_s;
	case CALL_TIMEOUT_AGENT:
		return config->call_timeout_s + config->agent_timeout_s;
	case CALL_TIMEOUT_CALL:
	default:
		return config->call_timeout_s;
	}
}

void call_timeout_begin(struct call_timeout *call, virConnectPtr connection,
			enum call_timeout_kind kind, const char *name)
{
	*call = (struct call_timeout){.connection = connection, .name = name};
	pthread_mutex_lock(&timeouts.lock);
	if (timeouts.config && g_hash_table_contains(timeouts.sockets, connection))
		add_call(call, limit_of(kind));
	pthread_mutex_unlock(&timeouts.lock);
}

void call_timeout_end(struct call_timeout *call)
{
	pthread_mutex_lock(&timeouts.lock);
	for (struct call_timeout **at = &timeouts.calls; *at; at = &(*at)->next) {
		if (*at == call) {
			*at = call->next;
			break;
		}
	}
	pthread_mutex_unlock(&timeouts.lock);
	exceeded.name = call->overdue ? call->name : NULL;
	exceeded.seconds = call->seconds;
}

const char *call_timeout_exceeded(unsigned *ret_seconds)
{
	*ret_seconds = exceeded.seconds;
	return exceeded.name;
}

static gboolean is_socket_closed(gpointer connection, gpointer value, gpointer opaque)
{
	const struct libvirt_socket *socket = value;

	(void)connection;
	(void)opaque;
	return socket_inode(socket->fd) != socket->inode;
}

/* Records the socket of a new connection, and removes those that were closed. With the lock
 * held. */
static void note_socket(virConnectPtr connection, const GArray *found)
{
	(void)g_hash_table_foreach_remove(timeouts.sockets, is_socket_closed, NULL);
	(void)g_hash_table_remove(timeouts.sockets, connection);
	if (found->len == 1) {
		struct libvirt_socket *socket =
			g_memdup2(found->data, sizeof(struct libvirt_socket));

		(void)g_hash_table_insert(timeouts.sockets, connection, socket);
	} else if (!timeouts.warned) {
		timeouts.warned = true;
		g_warning("cannot find the socket of the connection to libvirt at %s: its calls "
			  "have no time limit",
			  timeouts.config->connection_uri);
	}
}

virConnectPtr call_timeout_connect(const char *uri)
{
	struct call_timeout call = {.name = "virConnectOpen"};
	virConnectPtr connection;
	GArray *found;

	if (!timeouts.config)
		return virConnectOpen(uri);
	/* The new connection's socket is the one that did not exist before. */
	pthread_mutex_lock(&timeouts.opening);
	found = find_sockets(uri, NULL);
	pthread_mutex_lock(&timeouts.lock);
	timeouts.sockets_before = found;
	add_call(&call, timeouts.config->connect_timeout_s);
	pthread_mutex_unlock(&timeouts.lock);
	connection = virConnectOpen(uri);
	call_timeout_end(&call);
	found = find_sockets(uri, timeouts.sockets_before);
	pthread_mutex_lock(&timeouts.lock);
	if (connection)
		note_socket(connection, found);
	g_array_unref(timeouts.sockets_before);
	timeouts.sockets_before = NULL;
	pthread_mutex_unlock(&timeouts.lock);
	g_array_unref(found);
	pthread_mutex_unlock(&timeouts.opening);
	return connection;
}
