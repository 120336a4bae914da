/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An NBD server for tests. It does the handshake as the protocol demands (fixed newstyle, see the
 * NBD project's doc/proto.md), and refuses options that it does not know, such as extended headers,
 * which libnbd asks for since 1.18. The test decides how requests are answered.
 */
#ifndef NOVASNAP_TESTS_NBD_PEER_H
#define NOVASNAP_TESTS_NBD_PEER_H

#include <glib.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#define NBD_IHAVEOPT 0x49484156454f5054
#define NBD_OPTION_REPLY_MAGIC 0x0003e889045565a9
#define NBD_REQUEST_MAGIC 0x25609513
#define NBD_STRUCTURED_REPLY_MAGIC 0x668e33ef
#define NBD_SIMPLE_REPLY_MAGIC 0x67446698
#define NBD_REQUEST_LENGTH 28
#define NBD_CONTEXT "base:allocation"
#define NBD_CONTEXT_ID 7
#define NBD_OPTION_DATA_MAX ((size_t)64 * 1024)

enum {
	NBD_OPT_GO = 7,
	NBD_OPT_STRUCTURED_REPLY = 8,
	NBD_OPT_SET_META_CONTEXT = 10,
};
enum {
	NBD_REP_ACK = 1,
	NBD_REP_INFO = 3,
	NBD_REP_META_CONTEXT = 4,
};
#define NBD_REP_ERR_UNSUP 0x80000001
enum {
	NBD_CMD_READ = 0,
	NBD_CMD_BLOCK_STATUS = 7,
};
enum {
	NBD_CHUNK_NONE = 0,
	NBD_CHUNK_DATA = 1,
	NBD_CHUNK_HOLE = 2,
	NBD_CHUNK_BLOCK_STATUS = 5,
	NBD_CHUNK_ERROR = 0x8001,
};
#define NBD_CHUNK_FLAG_DONE 1

struct nbd_peer {
	int fd;		 /* the connection */
	uint64_t size;	 /* bytes of the export */
	bool structured; /* offer structured replies */
	bool context;	 /* offer base:allocation */
	size_t send_max; /* send only so many bytes, then no more; SIZE_MAX: no limit */
	size_t sent;	 /* bytes that were sent */
};

struct nbd_request {
	uint16_t type;
	uint64_t cookie;
	uint64_t offset;
	uint32_t length;
};

/* Appends a big-endian number of `bytes` bytes. */
static inline void nbd_put(GByteArray *to, uint64_t value, unsigned bytes)
{
	while (bytes-- > 0) {
		guint8 byte = (guint8)(value >> (8 * bytes));

		g_byte_array_append(to, &byte, 1);
	}
}

static inline void nbd_put_text(GByteArray *to, const char *text)
{
	g_byte_array_append(to, (const guint8 *)text, (guint)strlen(text));
}

static inline uint64_t nbd_get(const uint8_t *from, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes-- > 0)
		value = value << 8 | *from++;
	return value;
}

/* Returns false if not all could be sent. */
static inline bool nbd_peer_send(struct nbd_peer *peer, const GByteArray *data)
{
	size_t length = MIN((size_t)data->len, peer->send_max - peer->sent);
	bool sent =
		length == 0 || send(peer->fd, data->data, length, MSG_NOSIGNAL) == (ssize_t)length;

	peer->sent += length;
	return sent && length == data->len;
}

static inline bool nbd_peer_receive(const struct nbd_peer *peer, void *buffer, size_t length)
{
	return length == 0 || recv(peer->fd, buffer, length, MSG_WAITALL) == (ssize_t)length;
}

/* `data` may be NULL. */
static inline bool nbd_peer_reply_to_option(struct nbd_peer *peer, uint32_t option, uint32_t type,
					    const GByteArray *data)
{
	g_autoptr(GByteArray) reply = g_byte_array_new();

	nbd_put(reply, NBD_OPTION_REPLY_MAGIC, 8);
	nbd_put(reply, option, 4);
	nbd_put(reply, type, 4);
	nbd_put(reply, data ? data->len : 0, 4);
	if (data)
		g_byte_array_append(reply, data->data, data->len);
	return nbd_peer_send(peer, reply);
}

static inline bool nbd_peer_take_option(struct nbd_peer *peer, uint32_t option)
{
	g_autoptr(GByteArray) data = g_byte_array_new();
	bool supported = true;

	switch (option) {
	case NBD_OPT_STRUCTURED_REPLY:
		supported = peer->structured;
		break;
	case NBD_OPT_SET_META_CONTEXT:
		nbd_put(data, NBD_CONTEXT_ID, 4);
		nbd_put_text(data, NBD_CONTEXT);
		if (peer->context &&
		    !nbd_peer_reply_to_option(peer, option, NBD_REP_META_CONTEXT, data))
			return false;
		break;
	case NBD_OPT_GO:
		nbd_put(data, 0, 2); /* NBD_INFO_EXPORT */
		nbd_put(data, peer->size, 8);
		nbd_put(data, 1 | 2, 2); /* NBD_FLAG_HAS_FLAGS, NBD_FLAG_READ_ONLY */
		if (!nbd_peer_reply_to_option(peer, option, NBD_REP_INFO, data))
			return false;
		break;
	default:
		supported = false;
		break;
	}
	return nbd_peer_reply_to_option(peer, option, supported ? NBD_REP_ACK : NBD_REP_ERR_UNSUP,
					NULL);
}

/* Answers options until the client chooses the export. Returns false if the client is gone. */
static inline bool nbd_peer_shake_hands(struct nbd_peer *peer)
{
	g_autoptr(GByteArray) greeting = g_byte_array_new();
	uint8_t buffer[NBD_OPTION_DATA_MAX];
	uint32_t option = 0;

	nbd_put_text(greeting, "NBDMAGIC");
	nbd_put(greeting, NBD_IHAVEOPT, 8);
	nbd_put(greeting, 1 | 2, 2); /* NBD_FLAG_FIXED_NEWSTYLE, NBD_FLAG_NO_ZEROES */
	if (!nbd_peer_send(peer, greeting) || !nbd_peer_receive(peer, buffer, 4))
		return false;
	while (option != NBD_OPT_GO) {
		uint32_t length;

		if (!nbd_peer_receive(peer, buffer, 16) || nbd_get(buffer, 8) != NBD_IHAVEOPT)
			return false;
		option = (uint32_t)nbd_get(buffer + 8, 4);
		length = (uint32_t)nbd_get(buffer + 12, 4);
		if (length > sizeof(buffer) || !nbd_peer_receive(peer, buffer, length) ||
		    !nbd_peer_take_option(peer, option))
			return false;
	}
	return true;
}

/* Returns false at the end of the connection. */
static inline bool nbd_peer_next_request(const struct nbd_peer *peer,
					 struct nbd_request *ret_request)
{
	uint8_t buffer[NBD_REQUEST_LENGTH];

	if (!nbd_peer_receive(peer, buffer, sizeof(buffer)) ||
	    nbd_get(buffer, 4) != NBD_REQUEST_MAGIC)
		return false;
	*ret_request = (struct nbd_request){
		.type = (uint16_t)nbd_get(buffer + 6, 2),
		.cookie = nbd_get(buffer + 8, 8),
		.offset = nbd_get(buffer + 16, 8),
		.length = (uint32_t)nbd_get(buffer + 24, 4),
	};
	return true;
}

/* Sends a chunk of a structured reply. */
static inline bool nbd_peer_send_chunk(struct nbd_peer *peer, const struct nbd_request *request,
				       uint16_t type, bool done, const GByteArray *payload)
{
	g_autoptr(GByteArray) chunk = g_byte_array_new();

	nbd_put(chunk, NBD_STRUCTURED_REPLY_MAGIC, 4);
	nbd_put(chunk, done ? NBD_CHUNK_FLAG_DONE : 0, 2);
	nbd_put(chunk, type, 2);
	nbd_put(chunk, request->cookie, 8);
	nbd_put(chunk, payload->len, 4);
	g_byte_array_append(chunk, payload->data, payload->len);
	return nbd_peer_send(peer, chunk);
}

#endif
