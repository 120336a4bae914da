/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See forward-answers.h.
 */
#include "rpc/amqp/forward-answers.h"

#include <pthread.h>

struct forward_answers {
	pthread_mutex_t lock;
	GArray *added; /* struct forward_answer; guarded by the lock */

	GArray *taken; /* the same; used only by the thread */
};

static void clear_answer(gpointer data)
{
	struct forward_answer *answer = data;

	if (answer->wait)
		ack_wait_end(answer->wait, false);
	ack_wait_unref(answer->wait);
	g_free(answer->body);
}

static GArray *list_new(void)
{
	GArray *list = g_array_new(FALSE, FALSE, sizeof(struct forward_answer));

	g_array_set_clear_func(list, clear_answer);
	return list;
}

struct forward_answers *forward_answers_new(void)
{
	struct forward_answers *answers = g_new0(struct forward_answers, 1);

	pthread_mutex_init(&answers->lock, NULL);
	answers->added = list_new();
	answers->taken = list_new();
	return answers;
}

void forward_answers_free(struct forward_answers *answers)
{
	g_array_unref(answers->added);
	g_array_unref(answers->taken);
	pthread_mutex_destroy(&answers->lock);
	g_free(answers);
}

void forward_answers_add(struct forward_answers *answers, const struct forward_answer *answer)
{
	pthread_mutex_lock(&answers->lock);
	g_array_append_vals(answers->added, answer, 1);
	pthread_mutex_unlock(&answers->lock);
}

const struct forward_answer *forward_answers_take(struct forward_answers *answers, guint *ret_count)
{
	GArray *empty = answers->taken;

	g_array_set_size(empty, 0);
	pthread_mutex_lock(&answers->lock);
	answers->taken = answers->added;
	answers->added = empty;
	pthread_mutex_unlock(&answers->lock);
	*ret_count = answers->taken->len;
	return (const struct forward_answer *)answers->taken->data;
}
