/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What stands between deliveries and their handlers without a broker: duplicates, the outbox, and
 * the folder of what was rejected.
 */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

#include "rpc/amqp/outbox.h"
#include "rpc/internal.h"

#define SEEN_MAX 4096

static void test_duplicates(void)
{
	struct server_state *state = server_state_new();
	char id[16];

	for (int i = 0; i < SEEN_MAX; i++) {
		g_snprintf(id, sizeof(id), "id-%d", i);
		g_assert_true(server_note_unique(state, id));
		g_assert_false(server_note_unique(state, id));
	}
	g_assert_false(server_note_unique(state, "id-0"));
	/* One more, and the oldest is forgotten; the next one is not. */
	g_assert_true(server_note_unique(state, "id-more"));
	g_assert_false(server_note_unique(state, "id-1"));
	g_assert_true(server_note_unique(state, "id-0"));
	server_state_free(state);
}

static struct outgoing_message outgoing(const char *key)
{
	struct outgoing_message content = {.exchange = "", .key = key, .timeout_s = 60};

	content.body = cJSON_malloc(3);
	memcpy(content.body, "{}", 3);
	return content;
}

static void test_outbox_order(void)
{
	struct outbox *outbox = outbox_new(3);
	struct outgoing_message a = outgoing("a"), b = outgoing("b"), c = outgoing("c"),
				d = outgoing("d");
	g_autoptr(GError) error = NULL;
	gint64 next = G_MAXINT64;
	struct outbox_message *first, *second;

	g_assert_nonnull(outbox_add(outbox, &a, false, NULL));
	g_assert_nonnull(outbox_add(outbox, &b, false, NULL));
	g_assert_nonnull(outbox_add(outbox, &c, false, NULL));
	g_assert_null(outbox_add(outbox, &d, false, &error));
	g_assert_error(error, RPC_ERROR, RPC_ERROR_OUTBOX_FULL);

	/* Messages that a broken connection left unconfirmed come first again, in their order. */
	first = outbox_take(outbox, &next);
	second = outbox_take(outbox, &next);
	g_assert_cmpstr(first->content.key, ==, "a");
	g_assert_cmpstr(second->content.key, ==, "b");
	outbox_requeue(outbox, second, false);
	outbox_requeue(outbox, first, false);
	first = outbox_take(outbox, &next);
	g_assert_cmpstr(first->content.key, ==, "a");

	/* A message that no queue took becomes the last, and is not taken before its time. */
	first->not_before = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
	outbox_requeue(outbox, first, true);
	for (const char *const *key = (const char *const[]){"b", "c", NULL}; *key; key++) {
		struct outbox_message *message = outbox_take(outbox, &next);

		g_assert_cmpstr(message->content.key, ==, *key);
		outbox_end(outbox, message, NULL);
	}
	g_assert_null(outbox_take(outbox, &next));
	g_assert_cmpint(next, ==, first->not_before);
	g_assert_false(outbox_is_empty(outbox));
	g_test_expect_message("rpc", G_LOG_LEVEL_WARNING, "*a message for a is lost*");
	outbox_free(outbox);
	g_test_assert_expected_messages();
}

static void test_outbox_closed(void)
{
	struct outbox *outbox = outbox_new(3);
	struct outgoing_message a = outgoing("a");
	g_autoptr(GError) error = NULL;

	outbox_close(outbox);
	g_assert_null(outbox_add(outbox, &a, false, &error));
	g_assert_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED);
	outbox_free(outbox);
}

/* A sender that waits gives up at its deadline, whatever the publishing thread does. */
static void test_outbox_deadline(void)
{
	struct outbox *outbox = outbox_new(3);
	struct outgoing_message a = outgoing("a"), b = outgoing("b");
	struct outbox_message *waits, *sent, *taken;
	GError *error = NULL;
	gint64 next = G_MAXINT64;

	a.timeout_s = b.timeout_s = 1;
	sent = outbox_add(outbox, &a, true, NULL);
	taken = outbox_take(outbox, &next);
	g_assert_true(sent == taken);
	waits = outbox_add(outbox, &b, true, NULL);
	outbox_set_broker_error(outbox, "the broker is blocked");
	g_assert_cmpint(outbox_wait(outbox, waits, &error), ==, -1);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED);
	g_assert_nonnull(strstr(error->message, "the broker is blocked"));
	g_clear_error(&error);
	g_assert_true(outbox_is_empty(outbox));

	g_assert_cmpint(outbox_wait(outbox, sent, &error), ==, -1);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED);
	g_clear_error(&error);
	/* Its sender has given up, so it is not published again. */
	outbox_requeue(outbox, taken, false);
	g_assert_true(outbox_is_empty(outbox));
	outbox_free(outbox);
}

/* The outbox is bounded in bytes too; one message is always accepted. */
static void test_outbox_bytes(void)
{
	struct outbox *outbox = outbox_new(1000);
	struct outgoing_message large = {.exchange = "", .key = "k", .timeout_s = 60};
	g_autoptr(GError) error = NULL;
	gint64 next = G_MAXINT64;
	struct outbox_message *message;
	unsigned count = 0;

	do {
		struct outgoing_message content = large;
		size_t length = RPC_MAX_OUTBOX_BYTES / 3;

		content.body = cJSON_malloc(length + 1);
		memset(content.body, 'x', length);
		content.body[length] = '\0';
		message = outbox_add(outbox, &content, false, &error);
	} while (message && ++count < 10);
	g_assert_cmpuint(count, ==, 3);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_OUTBOX_FULL);
	/* Each message that leaves makes room for another one. */
	for (unsigned i = 0; i < 3; i++) {
		struct outgoing_message content = outgoing("a");

		message = outbox_take(outbox, &next);
		g_assert_cmpuint(message->body_bytes, >, 2);
		outbox_requeue(outbox, message, false);
		message = outbox_take(outbox, &next);
		outbox_end(outbox, message, NULL);
		g_assert_nonnull(outbox_add(outbox, &content, false, NULL));
	}
	while ((message = outbox_take(outbox, &next)))
		outbox_end(outbox, message, NULL);
	outbox_free(outbox);
}

static amqp_frame_t header_of(uint64_t size)
{
	amqp_frame_t frame = {.frame_type = AMQP_FRAME_HEADER, .channel = CHANNEL_SERVER};

	frame.payload.properties.body_size = size;
	return frame;
}

static amqp_frame_t piece_of(const char *bytes, size_t length)
{
	amqp_frame_t frame = {.frame_type = AMQP_FRAME_BODY, .channel = CHANNEL_SERVER};

	frame.payload.body_fragment.bytes = (void *)bytes;
	frame.payload.body_fragment.len = length;
	return frame;
}

static void test_pieces(void)
{
	struct incoming incoming = {0};
	amqp_frame_t header = header_of(6), empty = header_of(0);
	amqp_frame_t one = piece_of("abcdef", 6), half = piece_of("abc", 3);

	/* After a method that is no delivery. */
	g_assert_cmpint(incoming_take(&incoming, &one, NULL), ==, 0);
	incoming_begin(&incoming, 7);
	g_assert_cmpint(incoming_take(&incoming, &header, NULL), ==, 0);
	g_assert_cmpint(incoming_take(&incoming, &one, NULL), ==, 1);
	g_assert_cmpmem(incoming.body, incoming.length, "abcdef", 6);
	g_assert_true(incoming.body == one.payload.body_fragment.bytes);
	incoming_begin(&incoming, 8);
	g_assert_cmpint(incoming_take(&incoming, &header, NULL), ==, 0);
	g_assert_cmpint(incoming_take(&incoming, &half, NULL), ==, 0);
	g_assert_cmpint(incoming_take(&incoming, &half, NULL), ==, 1);
	g_assert_cmpmem(incoming.body, incoming.length, "abcabc", 6);
	incoming_begin(&incoming, 9);
	g_assert_cmpint(incoming_take(&incoming, &empty, NULL), ==, 1);
	g_assert_cmpuint(incoming.length, ==, 0);
	incoming_forget(&incoming);
}

static void expect_no_place(struct incoming *incoming, const amqp_frame_t *frame)
{
	g_autoptr(GError) error = NULL;

	g_assert_cmpint(incoming_take(incoming, frame, &error), ==, -1);
	g_assert_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED);
	incoming_forget(incoming);
}

static void test_pieces_out_of_place(void)
{
	struct incoming incoming = {0};
	amqp_frame_t header = header_of(5), half = piece_of("abc", 3);
	amqp_frame_t other = {.frame_type = AMQP_FRAME_HEARTBEAT, .channel = CHANNEL_SERVER};

	incoming_begin(&incoming, 1);
	g_assert_cmpint(incoming_take(&incoming, &header, NULL), ==, 0);
	g_assert_cmpint(incoming_take(&incoming, &half, NULL), ==, 0);
	expect_no_place(&incoming, &half);
	incoming_begin(&incoming, 2);
	expect_no_place(&incoming, &half);
	incoming_begin(&incoming, 3);
	expect_no_place(&incoming, &other);
	incoming_begin(&incoming, 4);
	g_assert_cmpint(incoming_take(&incoming, &header, NULL), ==, 0);
	expect_no_place(&incoming, &header);
}

/* Of what is too long the beginning is kept, however it is cut. */
static void test_pieces_too_many(void)
{
	static const size_t sizes[] = {1000003, RPC_MAX_BODY_BYTES + 1};

	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		g_autofree char *bytes = g_strnfill(sizes[i], 'x');
		struct incoming incoming = {0};
		amqp_frame_t header = header_of(sizes[i] * 17), piece = piece_of(bytes, sizes[i]);

		incoming_begin(&incoming, 1);
		g_assert_cmpint(incoming_take(&incoming, &header, NULL), ==, 0);
		for (int j = 1; j <= 17; j++)
			g_assert_cmpint(incoming_take(&incoming, &piece, NULL), ==, j == 17);
		g_assert_cmpuint(incoming.size, >, RPC_MAX_BODY_BYTES);
		g_assert_cmpuint(incoming.length, ==, RPC_MAX_KEPT_BYTES);
		incoming_forget(&incoming);
	}
}

struct kept {
	GPtrArray *names;
	guint64 bytes;
};

static struct kept look_at(const char *path)
{
	struct kept kept = {g_ptr_array_new_with_free_func(g_free), 0};
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		char *file = g_build_filename(path, name, NULL);
		struct stat st;

		g_assert_cmpint(stat(file, &st), ==, 0);
		g_assert_cmpint(st.st_mode & 0777, ==, 0600);
		kept.bytes += (guint64)st.st_size;
		g_ptr_array_add(kept.names, file);
	}
	return kept;
}

static void forget(const struct kept *kept)
{
	for (guint i = 0; i < kept->names->len; i++)
		g_unlink(g_ptr_array_index(kept->names, i));
	g_ptr_array_unref(kept->names);
}

static void test_rejected(void)
{
	g_autofree char *tmp = g_dir_make_tmp("novasnap-test-XXXXXX", NULL);
	g_autofree char *dir = g_build_filename(tmp, "rejected", NULL);
	g_autofree char *content = NULL;
	struct rpc_config config = {
		.rejected_dir = dir, .rejected_max_files = 3, .rejected_max_bytes = 1000};
	g_autofree char *long_body = g_strnfill(600, 'x');
	g_autofree char *too_long = g_strnfill(2000, 'x');
	static const char secret[] = "{\"_context_auth_token\": \"SECRET\", \"broken\"";
	struct kept kept;

	rejected_keep(&config, secret, strlen(secret), "first line\nno second");
	kept = look_at(dir);
	g_assert_cmpuint(kept.names->len, ==, 1);
	g_assert_true(g_file_get_contents(g_ptr_array_index(kept.names, 0), &content, NULL, NULL));
	g_assert_true(g_str_has_prefix(content, "# first line no second\n"));
	g_assert_null(strstr(content, "SECRET"));
	g_assert_nonnull(strstr(content, "broken"));
	g_ptr_array_unref(kept.names);

	/* No more files than allowed, the newest stay. */
	for (int i = 0; i < 5; i++)
		rejected_keep(&config, "x", 1, "again");
	kept = look_at(dir);
	g_assert_cmpuint(kept.names->len, ==, 3);
	g_ptr_array_unref(kept.names);

	/* Nor more bytes: two of 600 do not fit. */
	rejected_keep(&config, long_body, strlen(long_body), "long");
	rejected_keep(&config, long_body, strlen(long_body), "long");
	kept = look_at(dir);
	g_assert_cmpuint(kept.names->len, ==, 1);
	g_assert_cmpuint(kept.bytes, <=, 1000);
	g_ptr_array_unref(kept.names);

	g_test_expect_message("rpc", G_LOG_LEVEL_WARNING, "*cannot keep a rejected message*");
	rejected_keep(&config, too_long, strlen(too_long), "too long");
	g_test_assert_expected_messages();
	kept = look_at(dir);
	g_assert_cmpuint(kept.names->len, ==, 1);
	forget(&kept);
	g_rmdir(dir);
	g_rmdir(tmp);
}

static void test_rejected_nowhere(void)
{
	struct rpc_config config = {.rejected_max_files = 3, .rejected_max_bytes = 1000};

	rejected_keep(&config, "x", 1, "no folder");
	config.rejected_dir = "/proc/novasnap/rejected";
	g_test_expect_message("rpc", G_LOG_LEVEL_WARNING, "*cannot keep a rejected message*");
	rejected_keep(&config, "x", 1, "no such folder");
	g_test_assert_expected_messages();
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/rpc/server/duplicates", test_duplicates);
	g_test_add_func("/rpc/outbox/order", test_outbox_order);
	g_test_add_func("/rpc/outbox/closed", test_outbox_closed);
	g_test_add_func("/rpc/outbox/deadline", test_outbox_deadline);
	g_test_add_func("/rpc/outbox/bytes", test_outbox_bytes);
	g_test_add_func("/rpc/incoming/pieces", test_pieces);
	g_test_add_func("/rpc/incoming/out-of-place", test_pieces_out_of_place);
	g_test_add_func("/rpc/incoming/too-many", test_pieces_too_many);
	g_test_add_func("/rpc/rejected/caps", test_rejected);
	g_test_add_func("/rpc/rejected/nowhere", test_rejected_nowhere);
	return g_test_run();
}
