/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connection to a child novasnap-rbd.
 */
#include "image/rbd/link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "image/cancel.h"
#include "image/limits.h"
#include "image/rbd/child.h"
#include "image/rbd/frame.h"

#define POLL_MS 100
/* The child's own limit passes first, since its message says more. */
#define CHILD_EXTRA_S 2
/* How long a child may take to end: to unregister from the images that it has open. */
#define END_MS 2000
#define CANCEL_MS 800

struct rbd_link {
	struct rbd_child *child; /* NULL: dead */
	int fd;			 /* -1: dead */
	unsigned timeout_s;
	unsigned grace_ms;
	const atomic_int *cancel;
	char *fsid;
	gint64 progress_us; /* when the last byte came or went */
};

static void bury(struct rbd_link *link, unsigned wait_ms)
{
	if (link->fd >= 0) {
		(void)shutdown(link->fd, SHUT_WR);
		rbd_child_end(link->child, wait_ms);
		(void)close(link->fd);
	}
	link->fd = -1;
	link->child = NULL;
}

static int check_alive(const struct rbd_link *link, const char *action, GError **error)
{
	if (link->fd >= 0)
		return 0;
	g_set_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_DISCONNECTED,
		    "%s: novasnap-rbd was ended after an earlier error", action);
	return -1;
}

int rbd_link_fail(struct rbd_link *link, const char *action, const char *what, GError **error)
{
	g_set_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_DISCONNECTED,
		    "%s: %s; novasnap-rbd was ended: is it of the same version as novasnapd?",
		    action, what);
	bury(link, 0);
	return -1;
}

static int fail_disconnected(struct rbd_link *link, const char *action, GError **error)
{
	g_autofree char *text = rbd_child_error_text(link->child);

	g_set_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_DISCONNECTED,
		    "%s: novasnap-rbd ended unexpectedly%s%s", action, *text ? ": " : "", text);
	bury(link, 0);
	return -1;
}

/* Waits until the socket can be used, at most POLL_MS. Returns 0, or -1 at the end of the time or
 * when cancelled. */
static int wait_once(struct rbd_link *link, short events, const char *action, GError **error)
{
	struct pollfd fd = {.fd = link->fd, .events = events};

	if (image_cancel_is_set(link->cancel)) {
		g_set_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_CANCELLED, "%s was cancelled",
			    action);
		bury(link, link->grace_ms);
		return -1;
	}
	if (poll(&fd, 1, POLL_MS) > 0)
		return 0;
	if (g_get_monotonic_time() - link->progress_us <=
	    ((gint64)link->timeout_s + CHILD_EXTRA_S) * G_USEC_PER_SEC)
		return 0;
	g_set_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_TIMEOUT,
		    "%s: no answer from Ceph within %u s; check the cluster (ceph status)", action,
		    link->timeout_s);
	bury(link, 0);
	return -1;
}

/* Reads exactly `length` bytes. */
static int receive_bytes(struct rbd_link *link, void *buffer, size_t length, const char *action,
			 GError **error)
{
	size_t at = 0;

	while (at < length) {
		ssize_t got = recv(link->fd, (char *)buffer + at, length - at, MSG_DONTWAIT);

		if (got > 0) {
			at += (size_t)got;
			link->progress_us = g_get_monotonic_time();
		} else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
			return fail_disconnected(link, action, error);
		} else if (wait_once(link, POLLIN, action, error) < 0) {
			return -1;
		}
	}
	return 0;
}

int rbd_link_send(struct rbd_link *link, cJSON *request, const char *action, GError **error)
{
	g_autofree char *text = cJSON_PrintUnformatted(request);
	struct rbd_frame_lengths lengths = {.json = (uint32_t)strlen(text)};
	size_t total = RBD_FRAME_HEAD_SIZE + lengths.json, at = 0;
	g_autofree uint8_t *frame = NULL;

	cJSON_Delete(request);
	if (check_alive(link, action, error) < 0)
		return -1;
	if (lengths.json > RBD_FRAME_JSON_MAX) {
		g_set_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_FAILED,
			    "%s: the names are too long", action);
		return -1;
	}
	frame = g_malloc(total);
	rbd_frame_write_head(frame, &lengths);
	memcpy(frame + RBD_FRAME_HEAD_SIZE, text, lengths.json);
	link->progress_us = g_get_monotonic_time();
	while (at < total) {
		ssize_t sent = send(link->fd, frame + at, total - at, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent >= 0)
			at += (size_t)sent;
		else if (errno != EAGAIN && errno != EINTR)
			return fail_disconnected(link, action, error);
		else if (wait_once(link, POLLOUT, action, error) < 0)
			return -1;
	}
	return 0;
}

cJSON *rbd_link_receive(struct rbd_link *link, rbd_link_data_fn data_for, void *opaque,
			const char *action, GError **error)
{
	uint8_t head[RBD_FRAME_HEAD_SIZE];
	struct rbd_frame_lengths lengths;
	g_autofree char *text = NULL;
	void *data;
	cJSON *json;

	if (check_alive(link, action, error) < 0)
		return NULL;
	link->progress_us = g_get_monotonic_time();
	if (receive_bytes(link, head, sizeof(head), action, error) < 0)
		return NULL;
	if (!rbd_frame_read_head(head, &lengths)) {
		(void)rbd_link_fail(link, action, "it sent a frame of an invalid length", error);
		return NULL;
	}
	text = g_malloc(lengths.json);
	if (receive_bytes(link, text, lengths.json, action, error) < 0)
		return NULL;
	json = rbd_frame_read_json(text, lengths.json);
	if (!json) {
		(void)rbd_link_fail(link, action, "it sent a frame that is not JSON", error);
		return NULL;
	}
	if (lengths.data == 0)
		return json;
	data = data_for ? data_for(opaque, json, lengths.data) : NULL;
	if (!data)
		(void)rbd_link_fail(link, action, "it sent data that was not asked for", error);
	else if (receive_bytes(link, data, lengths.data, action, error) == 0)
		return json;
	cJSON_Delete(json);
	return NULL;
}

int rbd_link_check(struct rbd_link *link, const cJSON *answer, const char *action, GError **error)
{
	const char *message = rbd_frame_string(answer, "error");
	g_autofree char *text = NULL;
	uint64_t code;

	if (!message)
		return 0;
	if (!rbd_frame_number(answer, "code", IMAGE_RBD_ERROR_CANCELLED, &code))
		return rbd_link_fail(link, action, "it reported an error without a code", error);
	text = g_utf8_make_valid(message, -1);
	g_set_error(error, IMAGE_RBD_ERROR, (int)code, "%s: %s", action, text);
	if (code >= IMAGE_RBD_ERROR_TIMEOUT)
		bury(link, 0);
	return -1;
}

cJSON *rbd_link_answer(struct rbd_link *link, rbd_link_each_fn each, void *opaque,
		       const char *action, GError **error)
{
	for (;;) {
		cJSON *json = rbd_link_receive(link, NULL, NULL, action, error);

		if (!json)
			return NULL;
		if (!cJSON_HasObjectItem(json, "progress")) {
			if (rbd_link_check(link, json, action, error) == 0)
				return json;
			cJSON_Delete(json);
			return NULL;
		}
		if (each)
			each(opaque, json);
		cJSON_Delete(json);
	}
}

const char *rbd_link_fsid(const struct rbd_link *link)
{
	return link->fsid;
}

void rbd_link_set_grace(struct rbd_link *link, unsigned grace_ms)
{
	link->grace_ms = grace_ms ? grace_ms : CANCEL_MS;
}

/* The first frame of the child says which protocol it speaks. */
static int check_protocol(struct rbd_link *link, const char *program, GError **error)
{
	g_autofree char *action = g_strdup_printf("starting %s", program);
	g_autoptr(GError) local = NULL;
	cJSON *hello = rbd_link_receive(link, NULL, NULL, action, &local);
	uint64_t protocol = 0;

	if (!hello) {
		/* It cannot be executed, for example without a library. */
		if (g_error_matches(local, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_DISCONNECTED))
			local->code = IMAGE_RBD_ERROR_NO_PROGRAM;
		g_propagate_error(error, g_steal_pointer(&local));
		return -1;
	}
	(void)rbd_frame_number(hello, "protocol", UINT32_MAX, &protocol);
	cJSON_Delete(hello);
	if (protocol == RBD_PROTOCOL)
		return 0;
	g_set_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_NO_PROGRAM,
		    "%s: it speaks protocol %u and not %d: install novasnap-rbd of novasnapd's "
		    "version, and restart novasnapd",
		    action, (unsigned)protocol, RBD_PROTOCOL);
	return -1;
}

static int connect_cluster(struct rbd_link *link, const struct image_rbd_cluster *cluster,
			   GError **error)
{
	const char *user = cluster->user && *cluster->user ? cluster->user : "admin";
	g_autofree char *action = g_strdup_printf("connecting to Ceph as client.%s", user);
	cJSON *request = cJSON_CreateObject(), *answer;
	const char *fsid;

	(void)cJSON_AddStringToObject(request, "op", "connect");
	(void)cJSON_AddStringToObject(request, "user", user);
	if (cluster->conf && *cluster->conf)
		(void)cJSON_AddStringToObject(request, "conf", cluster->conf);
	(void)cJSON_AddNumberToObject(request, "timeout_s", cluster->timeout_s);
	if (rbd_link_send(link, request, action, error) < 0)
		return -1;
	answer = rbd_link_answer(link, NULL, NULL, action, error);
	if (!answer)
		return -1;
	fsid = rbd_frame_string(answer, "fsid");
	link->fsid = g_strdup(fsid);
	cJSON_Delete(answer);
	return fsid ? 0 : rbd_link_fail(link, action, "it reported no id of the cluster", error);
}

struct rbd_link *rbd_link_open(const struct image_rbd_cluster *cluster, const atomic_int *cancel,
			       GError **error)
{
	struct rbd_link *link = g_new0(struct rbd_link, 1);

	link->timeout_s = cluster->timeout_s;
	link->cancel = cancel;
	link->grace_ms = CANCEL_MS;
	link->child = rbd_child_start(cluster->program, &link->fd, error);
	if (link->child && check_protocol(link, cluster->program, error) == 0 &&
	    connect_cluster(link, cluster, error) == 0)
		return link;
	rbd_link_close(link);
	return NULL;
}

void rbd_link_close(struct rbd_link *link)
{
	if (!link)
		return;
	bury(link, END_MS);
	g_free(link->fsid);
	g_free(link);
}
