/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Acks and requeues, from any thread to the consumer's.
 */
#include "rpc/amqp/answers.h"

#include <pthread.h>

struct delivery_answer {
	struct delivery_tag tag;
	bool requeue;
};

struct delivery_answers {
	pthread_mutex_t lock;
	GArray *added; /* struct delivery_answer; guarded by the lock */

	GArray *taken; /* the same; used only by the thread */
};

struct delivery_answers *delivery_answers_new(void)
{
	struct delivery_answers *answers = g_new0(struct delivery_answers, 1);

	pthread_mutex_init(&answers->lock, NULL);
	answers->added = g_array_new(FALSE, FALSE, sizeof(struct delivery_answer));
	answers->taken = g_array_new(FALSE, FALSE, sizeof(struct delivery_answer));
	return answers;
}

void delivery_answers_free(struct delivery_answers *answers)
{
	g_array_unref(answers->added);
	g_array_unref(answers->taken);
	pthread_mutex_destroy(&answers->lock);
	g_free(answers);
}

bool delivery_answers_add(struct delivery_answers *answers, const struct delivery_tag *tag,
			  bool requeue)
{
	struct delivery_answer answer = {*tag, requeue};
	bool first;

	pthread_mutex_lock(&answers->lock);
	first = answers->added->len == 0;
	g_array_append_val(answers->added, answer);
	pthread_mutex_unlock(&answers->lock);
	return first;
}

static void take_added(struct delivery_answers *answers)
{
	pthread_mutex_lock(&answers->lock);
	g_array_append_vals(answers->taken, answers->added->data, answers->added->len);
	g_array_set_size(answers->added, 0);
	pthread_mutex_unlock(&answers->lock);
}

static int send_answer(struct broker_connection *connection, const struct delivery_answer *answer,
		       GError **error)
{
	amqp_connection_state_t state = broker_amqp_state(connection);
	const struct delivery_tag *tag = &answer->tag;
	/* For a reject of a stream's message, the broker closes the connection. */
	bool from_stream = tag->next_offset > 0;
	int rc = answer->requeue && !from_stream
			 ? amqp_basic_reject(state, tag->channel, tag->number, 1)
			 : amqp_basic_ack(state, tag->channel, tag->number, 0);

	if (answer->requeue && from_stream && tag->position)
		stream_position_rewind(tag->position, tag->next_offset - 1);
	if (rc == AMQP_STATUS_OK)
		return 0;
	g_set_error(error, RPC_ERROR, RPC_ERROR_DISCONNECTED, "%s a message at %s: %s",
		    answer->requeue ? "requeuing" : "acking", broker_peer(connection),
		    amqp_error_string2(rc));
	return -1;
}

int delivery_answers_send(struct delivery_answers *answers, struct broker_connection *connection,
			  unsigned connection_number,
			  bool (*holds_requeues)(amqp_channel_t channel, void *opaque),
			  void *opaque, GError **error)
{
	GArray *taken = answers->taken;
	guint held = 0;

	take_added(answers);
	for (guint i = 0; i < taken->len; i++) {
		struct delivery_answer answer = g_array_index(taken, struct delivery_answer, i);

		/* From an earlier connection: the broker delivers that message again. */
		if (answer.tag.connection != connection_number)
			continue;
		if (answer.requeue && holds_requeues(answer.tag.channel, opaque))
			g_array_index(taken, struct delivery_answer, held++) = answer;
		else if (send_answer(connection, &answer, error) < 0)
			return -1;
	}
	g_array_set_size(taken, held);
	return 0;
}

void delivery_answers_clear(struct delivery_answers *answers)
{
	take_added(answers);
	g_array_set_size(answers->taken, 0);
}
