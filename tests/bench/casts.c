/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How many casts a second novasnapd takes up to the point where one would become a job. Everything
 * before that point is novasnapd's own code (server, dispatch, intake, task); the linker puts a
 * handler that does nothing in the place of worker_pool_submit.
 *   casts decode CONFIG BODY [ROUNDS]  no broker: a recorded body, each time with another id
 *   casts broker CONFIG COUNT          takes that many from the queue of the configured host
 *   casts jobs CONFIG COUNT            the same, and each is a job: a thread that ends at once
 *   casts journal CONFIG COUNT         the same, and each is journaled before it is acked
 * CONFIG is a novasnap.conf. Prints {"name": ..., "rounds": [casts a second, ...]}.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/daemon/dispatch.h"
#include "rpc/server.h"

#define ROUNDS 5
#define ROUND_US G_USEC_PER_SEC
#define WAIT_S 240
#define ID_DIGITS 32

enum handler { DECODE, BROKER, JOBS, JOURNAL };

/* Of the whole program: a function that the linker puts in has no argument of ours. */
static struct bench {
	enum handler handler;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	unsigned taken;
	unsigned ended;
	unsigned wanted;    /* to end; 0: nobody waits */
	gint64 first, last; /* monotonic us: when the first and the last one ended */
} bench = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* So that the compiler checks them against worker-pool.h. */
__typeof__(worker_pool_submit) __wrap_worker_pool_submit, __real_worker_pool_submit;

static void note_end(void)
{
	pthread_mutex_lock(&bench.lock);
	bench.last = g_get_monotonic_time();
	if (bench.ended++ == 0)
		bench.first = bench.last;
	if (bench.ended == bench.wanted)
		pthread_cond_signal(&bench.changed);
	pthread_mutex_unlock(&bench.lock);
}

static void run_job(struct job *job, void *opaque)
{
	(void)job;
	(void)opaque;
	note_end();
}

static void free_job(void *opaque)
{
	task_free(opaque);
}

static const struct job_ops noop = {.run = run_job, .free = free_job};

void __wrap_worker_pool_submit(struct worker_pool *pool, const char *key, const char *name,
			       const struct job_ops *ops, void *opaque)
{
	bench.taken++;
	switch (bench.handler) {
	case JOBS:
	case JOURNAL:
		__real_worker_pool_submit(pool, key, name, ops, opaque);
		return;
	case BROKER:
		note_end();
		break;
	case DECODE:
	default:
		break;
	}
	free_job(opaque);
}

/* The journal must not fail here. */
static void pause_consuming(const GError *why, void *opaque)
{
	(void)opaque;
	g_error("%s", why->message);
}

static const struct intake_ops intake_ops = {.job = &noop, .pause_consuming = pause_consuming};

static int fail(const char *what, const GError *error)
{
	(void)fprintf(stderr, "casts: %s%s%s\n", what, error ? ": " : "",
		      error ? error->message : "");
	return EXIT_FAILURE;
}

/* Where the digits of _unique_id stand in a body; NULL: nowhere. */
static char *find_id(char *body)
{
	char *at = strstr(body, "_unique_id");

	at = at ? strchr(at, ':') : NULL;
	at = at ? strpbrk(at, "0123456789abcdef") : NULL;
	return at && strspn(at, "0123456789abcdef") == ID_DIGITS ? at : NULL;
}

/* What came lately is dropped as a duplicate. */
static void number_id(char *id, unsigned number)
{
	for (int i = ID_DIGITS - 1; i >= 0; i--, number >>= 4)
		id[i] = "0123456789abcdef"[number & 0xf];
}

/* Casts a second, 0 when one was not dispatched. */
static double decode_round(struct rpc *rpc, const char *body, size_t length, char *id)
{
	const struct delivery delivery = {.body = body, .length = length, .size = length};
	gint64 began = g_get_monotonic_time(), now;
	unsigned count = 0, taken = bench.taken;

	do {
		for (int i = 0; i < 100; i++) {
			number_id(id, bench.taken);
			rpc_server_deliver(&delivery, rpc);
			count++;
		}
		now = g_get_monotonic_time();
	} while (now - began < ROUND_US);
	return bench.taken - taken == count ? count * (double)G_USEC_PER_SEC / (double)(now - began)
					    : 0;
}

static int decode(struct rpc *rpc, const char *path, unsigned rounds)
{
	g_autofree char *body = NULL;
	g_autoptr(GString) line = g_string_new("{\"name\": \"decode\", \"rounds\": [");
	g_autoptr(GError) error = NULL;
	size_t length;
	char *id;

	if (!g_file_get_contents(path, &body, &length, &error))
		return fail("the body", error);
	id = find_id(body);
	if (!id)
		return fail("the body has no _unique_id", NULL);
	for (unsigned i = 0; i < rounds; i++) {
		double rate = decode_round(rpc, body, length, id);

		if (rate <= 0)
			return fail("a cast was not dispatched", NULL);
		g_string_append_printf(line, "%s%.0f", i ? ", " : "", rate);
	}
	printf("%s]}\n", line->str);
	return EXIT_SUCCESS;
}

static int serve(struct rpc *rpc, const char *name)
{
	struct timespec until;
	gint64 first, last;
	unsigned ended;
	int rc = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&bench.lock);
	while (bench.ended < bench.wanted && rc == 0)
		rc = pthread_cond_clockwait(&bench.changed, &bench.lock, CLOCK_MONOTONIC, &until);
	first = bench.first;
	last = bench.last;
	ended = bench.ended;
	pthread_mutex_unlock(&bench.lock);
	rpc_server_stop(rpc);
	if (ended != bench.wanted || last <= first)
		return fail("not as many casts came", NULL);
	printf("{\"name\": \"%s\", \"rounds\": [%.0f]}\n", name,
	       (ended - 1) * (double)G_USEC_PER_SEC / (double)(last - first));
	return EXIT_SUCCESS;
}

static int start(struct dispatch *dispatch, GError **error)
{
	struct agent *agent = dispatch->agent;
	struct rpc_server_ops ops = dispatch_server_ops(dispatch);

	if (bench.handler == JOURNAL) {
		agent->journal = journal_open(agent->config->state_dir, 1, error);
		if (!agent->journal || intake_start(dispatch->intake, error) < 0)
			return -1;
	}
	agent->rpc = rpc_open(&agent->config->rpc, error);
	return agent->rpc ? rpc_server_start(agent->rpc, &ops, error) : -1;
}

static int run(int argc, char **argv, const struct config *config)
{
	g_autoptr(GError) error = NULL;
	struct agent agent = {.config = config, .pool = worker_pool_new(0)};
	struct dispatch dispatch = {.agent = &agent, .intake = intake_new(&agent, &intake_ops)};
	int status;

	if (bench.handler != DECODE)
		bench.wanted = (unsigned)atoi(argv[3]);
	if (start(&dispatch, &error) < 0)
		status = fail("cannot serve", error);
	else if (bench.handler == DECODE)
		status = decode(agent.rpc, argv[3], argc > 4 ? (unsigned)atoi(argv[4]) : ROUNDS);
	else
		status = serve(agent.rpc, argv[1]);
	/* Frees what a job held after it was counted. */
	(void)worker_pool_stop(agent.pool, WAIT_S, 0);
	(void)intake_stop(dispatch.intake, 10);
	intake_free(dispatch.intake);
	if (agent.rpc)
		rpc_close(agent.rpc, 0);
	worker_pool_free(agent.pool);
	journal_close(agent.journal);
	return status;
}

static bool find_handler(const char *name)
{
	static const char *const names[] = {
		[DECODE] = "decode", [BROKER] = "broker", [JOBS] = "jobs", [JOURNAL] = "journal"};

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		if (g_str_equal(names[i], name)) {
			bench.handler = (enum handler)i;
			return true;
		}
	}
	return false;
}

int main(int argc, char **argv)
{
	g_autoptr(config_t) config = NULL;
	g_autoptr(GError) error = NULL;

	if (argc < 4 || argc > 5 || !find_handler(argv[1])) {
		(void)fprintf(stderr, "usage: casts decode CONFIG BODY [ROUNDS] | "
				      "broker|jobs|journal CONFIG COUNT\n");
		return 2;
	}
	/* As novasnapd. */
	(void)mallopt(M_ARENA_MAX, 2);
	(void)mallopt(M_TRIM_THRESHOLD, 256 * 1024);
	config = config_load((const char *const[]){argv[2], NULL}, &error);
	if (!config)
		return fail("the configuration", error);
	return run(argc, argv, config);
}
