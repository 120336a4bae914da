/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How many casts a second novasnapd takes up to the point where one would become a job: all before
 * it is novasnapd's own (the server, the manager's table, what a task asks of its arguments), and
 * the linker puts a handler that does nothing in the place of jobs_submit.
 *   casts decode CONFIG BODY [ROUNDS]  no broker: a recorded body, each time with another id
 *   casts broker CONFIG COUNT          takes that many from the queue of the configured host
 *   casts jobs CONFIG COUNT            the same, and each is a job: a thread that acks it, and ends
 *   casts journal CONFIG COUNT         the same, and it is in the journal before it is acked
 * CONFIG is a novasnap.conf. Prints {"name": ..., "rounds": [casts a second, ...]}.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/task/task.h"
#include "rpc/server.h"

#define ROUNDS 5
#define ROUND_US G_USEC_PER_SEC
#define WAIT_S 240
#define ID_DIGITS 32

enum handler { DROP, ACK, RUN, NOTE };

/* Of the whole program: a function that the linker puts in has no argument of ours. */
static struct bench {
	enum handler handler;
	struct journal *journal; /* NULL: none is kept */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Guarded by the lock. */
	unsigned taken;
	unsigned ended;
	unsigned wanted;    /* to end; 0: nobody waits */
	gint64 first, last; /* monotonic us: when the first and the last one ended */
} bench = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* So the compiler holds them against jobs.h. */
__typeof__(jobs_submit) __wrap_jobs_submit, __real_jobs_submit;

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

static void note(const struct task *task)
{
	struct journal_cast cast = {
		.unique_id = rpc_request_unique_id(task->request),
		.method = task->method->name,
		.instance = nova_instance_uuid(task->instance),
		.image = task->image_id,
	};
	char *text = rpc_request_text(task->request, nova_instance_object(task->instance));
	int64_t number;

	cast.message = text;
	g_assert_cmpint(journal_add(bench.journal, &cast, &number, NULL), ==, 1);
	cJSON_free(text);
}

/* As a task's job begins. */
static void job_run(struct job *job, void *opaque)
{
	const struct task *task = opaque;

	(void)job;
	if (bench.journal)
		note(task);
	rpc_request_ack(task->request);
	note_end();
}

void __wrap_jobs_submit(struct jobs *jobs, const char *key, const char *name,
			const struct job_ops *ops, void *opaque)
{
	static struct job_ops noop = {.run = job_run};

	bench.taken++;
	switch (bench.handler) {
	case RUN:
	case NOTE:
		noop.free = ops->free;
		__real_jobs_submit(jobs, key, name, &noop, opaque);
		return;
	case ACK:
		job_run(NULL, opaque);
		break;
	case DROP:
	default:
		break;
	}
	ops->free(opaque);
}

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

static int run(int argc, char **argv, const struct config *config)
{
	g_autoptr(GError) error = NULL;
	struct manager manager = {.config = config, .jobs = jobs_new(0)};
	struct rpc *rpc = rpc_open(&config->rpc, &error);
	struct rpc_server_ops ops = manager_server_ops(&manager);
	int status;

	if (bench.handler != DROP)
		bench.wanted = (unsigned)atoi(argv[3]);
	if (bench.handler == NOTE)
		bench.journal = journal_open(config->state_dir, 1, &error);
	if (error || !rpc || rpc_server_start(rpc, &ops, &error) < 0) {
		status = fail("cannot serve", error);
	} else if (bench.handler == DROP) {
		status = decode(rpc, argv[3], argc > 4 ? (unsigned)atoi(argv[4]) : ROUNDS);
	} else {
		status = serve(rpc, argv[1]);
	}
	/* Frees what a job held after it was counted. */
	(void)jobs_stop(manager.jobs, WAIT_S, 0);
	rpc_close(rpc, 0);
	jobs_free(manager.jobs);
	journal_close(bench.journal);
	return status;
}

static bool find_handler(const char *name)
{
	static const char *const names[] = {
		[DROP] = "decode", [ACK] = "broker", [RUN] = "jobs", [NOTE] = "journal"};

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
