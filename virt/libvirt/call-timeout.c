/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The calls under way, the sockets of the connections they are on, and the thread that shuts one
 * down when a call on it is overdue.
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

#define FOLDER "/proc/self/fd"

/* The socket of a connection, which is libvirt's: it may be closed, and its number be another's, at
 * any time. Its inode is not. */
struct line {
	int fd;
	ino_t inode;
};

static struct {
	pthread_mutex_t opening; /* held by whoever opens a connection */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	const struct virt_config *config; /* NULL: there is no thread, and no limit */
	pthread_t thread;
	GHashTable *lines; /* connection -> struct line */
	GArray *before;	   /* struct line: what was there before the one that is just opened */
	struct limit_call *calls;
	gint64 look_at; /* when the thread looks next */
	bool stopping;
	bool complained;
} limits = {
	.opening = PTHREAD_MUTEX_INITIALIZER,
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
};

static _Thread_local struct {
	const char *name;
	unsigned seconds;
} exceeded;

/* 0: it is no socket. */
static ino_t socket_inode(int fd)
{
	struct stat file;

	return fstat(fd, &file) == 0 && S_ISSOCK(file.st_mode) ? file.st_ino : 0;
}

/* Its daemons' sockets are named so, but for one that the URI names. */
static bool is_libvirts(int fd, const char *uri)
{
	struct sockaddr_un peer = {0};
	socklen_t length = sizeof(peer) - 1;

	return getpeername(fd, (struct sockaddr *)&peer, &length) == 0 &&
	       peer.sun_family == AF_UNIX && *peer.sun_path &&
	       (g_str_has_suffix(peer.sun_path, "-sock") || strstr(uri, peer.sun_path));
}

static bool has_line(const GArray *lines, ino_t inode)
{
	for (guint i = 0; i < lines->len; i++) {
		if (g_array_index(lines, struct line, i).inode == inode)
			return true;
	}
	return false;
}

/* Of all of this process's connections, but for those that are known. */
static GArray *find_lines(const char *uri, const GArray *known)
{
	GArray *found = g_array_new(FALSE, FALSE, sizeof(struct line));
	GDir *folder = g_dir_open(FOLDER, 0, NULL);
	const char *name;

	while (folder && (name = g_dir_read_name(folder))) {
		struct line line = {.fd = (int)strtol(name, NULL, 10)};

		line.inode = socket_inode(line.fd);
		if (line.inode != 0 && is_libvirts(line.fd, uri) &&
		    !(known && has_line(known, line.inode)))
			g_array_append_val(found, line);
	}
	if (folder)
		g_dir_close(folder);
	return found;
}

/* By a descriptor of our own, which nobody else closes meanwhile. */
static void shut_down(const struct line *line)
{
	int fd = fcntl(line->fd, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (socket_inode(fd) == line->inode && shutdown(fd, SHUT_RDWR) < 0)
		g_info("a connection to libvirt cannot be shut down: %s", g_strerror(errno));
	(void)close(fd);
}

/* With the lock held. */
static void end_call(struct limit_call *call)
{
	call->overdue = true;
	call->until = 0;
	g_info("libvirt did not answer %s in %u s: the connection is shut down", call->name,
	       call->seconds);
	if (call->connection) {
		const struct line *line = g_hash_table_lookup(limits.lines, call->connection);

		if (line)
			shut_down(line);
	} else {
		g_autoptr(GArray) lines = find_lines(limits.config->connection_uri, limits.before);

		for (guint i = 0; i < lines->len; i++)
			shut_down(&g_array_index(lines, struct line, i));
	}
}

/* Ends what is overdue, and returns when the next call will be. With the lock held. */
static gint64 look(void)
{
	gint64 now = g_get_monotonic_time(), next = G_MAXINT64;

	for (struct limit_call *call = limits.calls; call; call = call->next) {
		if (call->until > 0 && call->until <= now)
			end_call(call);
		if (call->until > 0)
			next = MIN(next, call->until);
	}
	return next;
}

static void *limits_main(void *opaque)
{
	(void)opaque;
	pthread_mutex_lock(&limits.lock);
	while (!limits.stopping) {
		limits.look_at = look();
		if (limits.look_at == G_MAXINT64) {
			pthread_cond_wait(&limits.changed, &limits.lock);
		} else {
			struct timespec until = {
				.tv_sec = limits.look_at / G_USEC_PER_SEC,
				.tv_nsec = limits.look_at % G_USEC_PER_SEC * 1000,
			};

			(void)pthread_cond_clockwait(&limits.changed, &limits.lock, CLOCK_MONOTONIC,
						     &until);
		}
	}
	pthread_mutex_unlock(&limits.lock);
	return NULL;
}

int limits_start(const struct virt_config *config, GError **error)
{
	int rc;

	limits.lines = g_hash_table_new_full(NULL, NULL, NULL, g_free);
	limits.look_at = G_MAXINT64;
	limits.stopping = false;
	limits.config = config;
	rc = pthread_create(&limits.thread, NULL, limits_main, NULL);
	if (rc == 0)
		return 0;
	limits.config = NULL;
	g_hash_table_unref(limits.lines);
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
		    "cannot start the thread that limits libvirt's calls: %s", g_strerror(rc));
	return -1;
}

void limits_stop(void)
{
	if (!limits.config)
		return;
	pthread_mutex_lock(&limits.lock);
	limits.stopping = true;
	pthread_cond_broadcast(&limits.changed);
	pthread_mutex_unlock(&limits.lock);
	pthread_join(limits.thread, NULL);
	limits.config = NULL;
	g_hash_table_unref(limits.lines);
}

/* With the lock held. */
static void add_call(struct limit_call *call, unsigned seconds)
{
	call->seconds = seconds;
	call->until = g_get_monotonic_time() + (gint64)seconds * G_USEC_PER_SEC;
	call->next = limits.calls;
	limits.calls = call;
	if (call->until < limits.look_at)
		pthread_cond_broadcast(&limits.changed);
}

void limit_begin(struct limit_call *call, virConnectPtr connection, enum limit_kind kind,
		 const char *name)
{
	*call = (struct limit_call){.connection = connection, .name = name};
	pthread_mutex_lock(&limits.lock);
	if (limits.config && g_hash_table_contains(limits.lines, connection))
		add_call(call, kind == LIMIT_SAVE ? limits.config->save_timeout_s
						  : limits.config->call_timeout_s);
	pthread_mutex_unlock(&limits.lock);
}

void limit_end(struct limit_call *call)
{
	pthread_mutex_lock(&limits.lock);
	for (struct limit_call **at = &limits.calls; *at; at = &(*at)->next) {
		if (*at == call) {
			*at = call->next;
			break;
		}
	}
	pthread_mutex_unlock(&limits.lock);
	exceeded.name = call->overdue ? call->name : NULL;
	exceeded.seconds = call->seconds;
}

const char *limit_exceeded(unsigned *ret_seconds)
{
	*ret_seconds = exceeded.seconds;
	return exceeded.name;
}

static gboolean is_closed(gpointer connection, gpointer value, gpointer opaque)
{
	const struct line *line = value;

	(void)connection;
	(void)opaque;
	return socket_inode(line->fd) != line->inode;
}

/* Those that were closed are forgotten by the way. With the lock held. */
static void note_line(virConnectPtr connection, const GArray *found)
{
	(void)g_hash_table_foreach_remove(limits.lines, is_closed, NULL);
	(void)g_hash_table_remove(limits.lines, connection);
	if (found->len == 1) {
		struct line *line = g_memdup2(found->data, sizeof(struct line));

		(void)g_hash_table_insert(limits.lines, connection, line);
	} else if (!limits.complained) {
		limits.complained = true;
		g_warning("the socket of the connection to libvirt at %s is not found: calls have "
			  "no limit",
			  limits.config->connection_uri);
	}
}

virConnectPtr limit_open(const char *uri)
{
	struct limit_call call = {.name = "virConnectOpen"};
	virConnectPtr connection;
	GArray *found;

	if (!limits.config)
		return virConnectOpen(uri);
	pthread_mutex_lock(&limits.opening);
	found = find_lines(uri, NULL);
	pthread_mutex_lock(&limits.lock);
	limits.before = found;
	add_call(&call, limits.config->connect_timeout_s);
	pthread_mutex_unlock(&limits.lock);
	connection = virConnectOpen(uri);
	limit_end(&call);
	found = find_lines(uri, limits.before);
	pthread_mutex_lock(&limits.lock);
	if (connection)
		note_line(connection, found);
	g_array_unref(limits.before);
	limits.before = NULL;
	pthread_mutex_unlock(&limits.lock);
	g_array_unref(found);
	pthread_mutex_unlock(&limits.opening);
	return connection;
}
