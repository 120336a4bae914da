/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What novasnap-rbd sends.
 */
#include "image/rbd/server/reply.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define PROGRESS_INTERVAL_US (G_USEC_PER_SEC / 4)

/* novasnapd is gone. */
static G_NORETURN void give_up(void)
{
	_exit(0);
}

static void send_all(int fd, struct iovec *parts, size_t count)
{
	size_t first = 0;

	while (first < count) {
		struct msghdr message = {.msg_iov = parts + first, .msg_iovlen = count - first};
		ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);

		if (sent < 0 && errno != EINTR)
			give_up();
		while (sent > 0) {
			size_t part = MIN((size_t)sent, parts[first].iov_len);

			parts[first].iov_base = (char *)parts[first].iov_base + part;
			parts[first].iov_len -= part;
			sent -= (ssize_t)part;
			if (parts[first].iov_len == 0)
				first++;
		}
		while (first < count && parts[first].iov_len == 0)
			first++;
	}
}

static void send_locked(struct server *server, const cJSON *json, const void *data,
			uint32_t data_length)
{
	g_autofree char *text = cJSON_PrintUnformatted(json);
	struct rbd_frame_lengths lengths = {(uint32_t)strlen(text), data_length};
	uint8_t head[RBD_FRAME_HEAD_SIZE];
	struct iovec parts[] = {
		{head, sizeof(head)}, {text, lengths.json}, {(void *)(uintptr_t)data, data_length}};

	rbd_frame_write_head(head, &lengths);
	send_all(server->fd, parts, G_N_ELEMENTS(parts));
}

void reply_send(struct server *server, cJSON *json, const void *data, uint32_t data_length)
{
	(void)pthread_mutex_lock(&server->lock);
	send_locked(server, json, data, data_length);
	(void)pthread_mutex_unlock(&server->lock);
	cJSON_Delete(json);
}

void reply_progress(struct server *server, uint64_t done, uint64_t total)
{
	gint64 now_us = g_get_monotonic_time();
	cJSON *json;

	(void)pthread_mutex_lock(&server->lock);
	if (now_us - server->progress_us >= PROGRESS_INTERVAL_US) {
		server->progress_us = now_us;
		json = cJSON_CreateObject();
		(void)cJSON_AddTrueToObject(json, "progress");
		if (total > 0) {
			(void)cJSON_AddNumberToObject(json, "done", (double)done);
			(void)cJSON_AddNumberToObject(json, "total", (double)total);
		}
		send_locked(server, json, NULL, 0);
		cJSON_Delete(json);
	}
	(void)pthread_mutex_unlock(&server->lock);
}
