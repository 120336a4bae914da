/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is declared at the broker, compared with recordings of the real oslo.messaging of three
 * releases (tests/data/declarations/README.md); and what has no counterpart there.
 */
#include <cjson/cJSON.h>
#include <glib/gstdio.h>
#include <string.h>

#include "agent/config/config.h"
#include "rpc/amqp/beside-topology.h"
#include "rpc/amqp/conflict.h"
#include "rpc/amqp/declarations.h"
#include "rpc/amqp/stream-position.h"

#define FOLDER "tests/data/declarations"
#define HOST "node1"
#define DEFAULT_PREFETCH 100

static const struct declaration_conditions used = {.used_before = true};

static struct config *load_options(const char *host, const cJSON *options)
{
	g_autoptr(GString) text = g_string_new(NULL);
	g_autofree char *path = NULL;
	const char *paths[] = {NULL, NULL};
	g_autoptr(GError) error = NULL;
	const cJSON *option;
	struct config *config;
	int fd = g_file_open_tmp("novasnap-test-XXXXXX.conf", &path, NULL);

	g_assert_cmpint(fd, >=, 0);
	g_close(fd, NULL);
	g_string_append_printf(text, "[DEFAULT]\nhost = %s\n[oslo_messaging_rabbit]\n", host);
	cJSON_ArrayForEach (option, options)
		g_string_append_printf(text, "%s = %s\n", option->string, option->valuestring);
	g_assert_true(g_file_set_contents(path, text->str, -1, NULL));
	paths[0] = path;
	config = config_load(paths, &error);
	g_unlink(path);
	g_assert_no_error(error);
	return config;
}

static cJSON *read_json(const char *name)
{
	g_autofree char *path = g_build_filename(FOLDER, name, NULL);
	g_autofree char *text = NULL;
	cJSON *json;

	g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
	json = cJSON_Parse(text);
	if (!json)
		g_error("%s is not JSON", path);
	return json;
}

static char *replace(char *text, const char *pattern, const char *with)
{
	g_autoptr(GRegex) regex = g_regex_new(pattern, 0, 0, NULL);
	char *replaced = g_regex_replace_literal(regex, text, -1, 0, with, 0, NULL);

	g_free(text);
	return replaced;
}

/* Replaces what each host or process has of its own, as the recordings do. */
static char *anonymize(const char *name, const struct rpc_config *config)
{
	g_autofree char *manager = g_regex_escape_string(
		config->queue_manager_name ? config->queue_manager_name : "", -1);
	g_autofree char *managed = g_strdup_printf("%s:\\d+$", manager);
	char *text = g_strdup(name);

	text = replace(text, "\\b" HOST "$", "<host>");
	text = replace(text, "(?<=_)[0-9a-f]{32}$", "<id>");
	return config->queue_manager_name ? replace(text, managed, "<host>:<process>:<n>") : text;
}

static int compare_texts(gconstpointer a, gconstpointer b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static char *join_sorted(GPtrArray *texts)
{
	char *joined;

	g_ptr_array_sort(texts, compare_texts);
	g_ptr_array_add(texts, NULL);
	joined = g_strjoinv(" ", (char **)texts->pdata);
	g_ptr_array_unref(texts);
	return joined;
}

static char *describe_own_arguments(const struct declaration *declaration)
{
	GPtrArray *texts = g_ptr_array_new_with_free_func(g_free);

	for (unsigned i = 0; i < declaration->argument_count; i++) {
		const struct declaration_argument *argument = &declaration->arguments[i];

		if (argument->type == DECLARATION_TEXT)
			g_ptr_array_add(texts,
					g_strdup_printf("%s='%s'", argument->name, argument->text));
		else if (argument->type == DECLARATION_FLAG)
			g_ptr_array_add(texts,
					g_strdup_printf("%s=%s", argument->name,
							argument->number ? "true" : "false"));
		else
			g_ptr_array_add(texts, g_strdup_printf("%s=%" G_GINT64_FORMAT,
							       argument->name, argument->number));
	}
	return join_sorted(texts);
}

static char *describe_recorded_arguments(const cJSON *step)
{
	GPtrArray *texts = g_ptr_array_new_with_free_func(g_free);
	const cJSON *argument;

	cJSON_ArrayForEach (argument, cJSON_GetObjectItemCaseSensitive(step, "arguments")) {
		const char *name = argument->string;

		if (cJSON_IsString(argument))
			g_ptr_array_add(texts,
					g_strdup_printf("%s='%s'", name, argument->valuestring));
		else if (cJSON_IsBool(argument))
			g_ptr_array_add(texts,
					g_strdup_printf("%s=%s", name,
							cJSON_IsTrue(argument) ? "true" : "false"));
		else
			g_ptr_array_add(texts,
					g_strdup_printf("%s=%.0f", name, argument->valuedouble));
	}
	return join_sorted(texts);
}

/* One line for a declaration of ours. */
static char *describe_own(const struct declaration *declaration, const struct rpc_config *config)
{
	g_autofree char *name =
		declaration->name ? anonymize(declaration->name, config) : g_strdup("");
	g_autofree char *key = declaration->key ? anonymize(declaration->key, config) : NULL;
	g_autofree char *arguments = describe_own_arguments(declaration);

	switch (declaration->kind) {
	case DECLARATION_EXCHANGE:
		return g_strdup_printf("exchange %s %s durable=%d auto_delete=%d passive=%d {%s}",
				       name, declaration->type, declaration->durable,
				       declaration->auto_delete, declaration->optional, arguments);
	case DECLARATION_QUEUE:
		return g_strdup_printf("queue %s durable=%d auto_delete=%d exclusive=%d "
				       "passive=0 {%s}",
				       name, declaration->durable, declaration->auto_delete,
				       declaration->exclusive, arguments);
	case DECLARATION_BINDING:
		return g_strdup_printf("bind %s to %s by %s {%s}", name, declaration->exchange, key,
				       arguments);
	case DECLARATION_UNBINDING:
		return g_strdup_printf("unbind %s from %s by %s", name, declaration->exchange, key);
	case DECLARATION_EXCHANGE_BINDING:
		return g_strdup_printf("bind exchange %s to %s by %s", name, declaration->exchange,
				       key);
	case DECLARATION_EXCHANGE_UNBINDING:
		return g_strdup_printf("unbind exchange %s from %s by %s", name,
				       declaration->exchange, key);
	case DECLARATION_PREFETCH:
		return g_strdup_printf("qos %u", declaration->prefetch);
	case DECLARATION_CONSUMER:
	default:
		return g_strdup_printf("consume %s {%s}", name, arguments);
	}
}

static const char *text_of(const cJSON *step, const char *member)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(step, member));

	return text ? text : "";
}

static int flag_of(const cJSON *step, const char *member)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(step, member));
}

static char *describe_recorded(const cJSON *step)
{
	g_autofree char *arguments = describe_recorded_arguments(step);
	const char *op = text_of(step, "op"), *name = text_of(step, "name");

	if (g_str_equal(op, "exchange"))
		return g_strdup_printf("exchange %s %s durable=%d auto_delete=%d passive=%d {%s}",
				       name, text_of(step, "type"), flag_of(step, "durable"),
				       flag_of(step, "auto_delete"), flag_of(step, "passive"),
				       arguments);
	if (g_str_equal(op, "queue"))
		return g_strdup_printf("queue %s durable=%d auto_delete=%d exclusive=%d "
				       "passive=%d {%s}",
				       name, flag_of(step, "durable"), flag_of(step, "auto_delete"),
				       flag_of(step, "exclusive"), flag_of(step, "passive"),
				       arguments);
	if (g_str_equal(op, "bind"))
		return g_strdup_printf("bind %s to %s by %s {%s}", name, text_of(step, "exchange"),
				       text_of(step, "key"), arguments);
	if (g_str_equal(op, "qos"))
		return g_strdup_printf(
			"qos %d", cJSON_GetObjectItemCaseSensitive(step, "prefetch")->valueint);
	g_assert_cmpstr(op, ==, "consume");
	return g_strdup_printf("consume %s {%s}", name, arguments);
}

/* Sets of lines: oslo.messaging repeats some declarations. */
static void add_own(GHashTable *lines, GPtrArray *list, const struct rpc_config *config)
{
	for (guint i = 0; i < list->len; i++)
		g_hash_table_add(lines, describe_own(list->pdata[i], config));
	g_ptr_array_unref(list);
}

static GHashTable *new_set(void)
{
	return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

static void expect_same(const char *where, const char *part, GHashTable *own, GHashTable *recorded)
{
	GHashTableIter iter;
	gpointer line;
	bool same = true;

	g_hash_table_iter_init(&iter, own);
	while (g_hash_table_iter_next(&iter, &line, NULL)) {
		if (!g_hash_table_contains(recorded, line)) {
			g_printerr("# %s, %s: only ours: %s\n", where, part, (char *)line);
			same = false;
		}
	}
	g_hash_table_iter_init(&iter, recorded);
	while (g_hash_table_iter_next(&iter, &line, NULL)) {
		if (!g_hash_table_contains(own, line)) {
			g_printerr("# %s, %s: only oslo's: %s\n", where, part, (char *)line);
			same = false;
		}
	}
	g_assert_true(same);
}

static GHashTable *recorded_part(const cJSON *recording, const char *part)
{
	GHashTable *lines = new_set();
	const cJSON *step;

	cJSON_ArrayForEach (step, cJSON_GetObjectItemCaseSensitive(recording, part))
		g_hash_table_add(lines, describe_recorded(step));
	g_assert_cmpuint(g_hash_table_size(lines), >, 0);
	return lines;
}

static void remove_prefetch(GHashTable *lines)
{
	GHashTableIter iter;
	gpointer line;

	g_hash_table_iter_init(&iter, lines);
	while (g_hash_table_iter_next(&iter, &line, NULL)) {
		if (g_str_has_prefix(line, "qos "))
			g_hash_table_iter_remove(&iter);
	}
}

static void compare_server(const char *name, const cJSON *recording,
			   const struct rpc_config *config)
{
	g_autofree char *fanout = declarations_fanout_queue(config, "compute", 1);
	const struct declaration_topic topic = {"compute", "compute." HOST, fanout, -1};
	g_autoptr(GHashTable) recorded = recorded_part(recording, "server");
	g_autoptr(GHashTable) own = new_set();
	const cJSON *options = cJSON_GetObjectItemCaseSensitive(recording, "options");

	add_own(own, declarations_of_server(config, &topic, 1, used), config);
	/* Without this option oslo.messaging sets no limit, and novasnapd one of its own. */
	if (!cJSON_HasObjectItem(options, "rabbit_qos_prefetch_count")) {
		g_assert_cmpuint(config->prefetch, ==, DEFAULT_PREFETCH);
		remove_prefetch(own);
	}
	expect_same(name, "server", own, recorded);
}

static void compare_client(const char *name, const cJSON *recording,
			   const struct rpc_config *config)
{
	g_autofree char *reply = declarations_reply_queue(config, 1);
	g_autoptr(GHashTable) recorded = recorded_part(recording, "client");
	g_autoptr(GHashTable) own = new_set();

	add_own(own, declarations_of_replies(config, reply, used), config);
	add_own(own, declarations_of_exchange(config), config);
	/* Replies are consumed without acks, which a prefetch does not limit. */
	remove_prefetch(recorded);
	expect_same(name, "client", own, recorded);
}

static void compare_notifier(const char *name, const cJSON *recording,
			     const struct rpc_config *config)
{
	g_autoptr(GHashTable) recorded = recorded_part(recording, "notifier");
	g_autoptr(GHashTable) own = new_set();

	add_own(own, declarations_of_exchange(config), config);
	add_own(own, declarations_of_notifications(config, "notifications.info"), config);
	add_own(own, declarations_of_notifications(config, "versioned_notifications.info"), config);
	expect_same(name, "notifier", own, recorded);
}

/* Returns the recorded line that begins so, with `from` replaced by `to`. */
static char *recorded_line(GHashTable *recorded, const char *prefix, const char *from,
			   const char *to)
{
	GHashTableIter iter;
	gpointer line;

	g_hash_table_iter_init(&iter, recorded);
	while (g_hash_table_iter_next(&iter, &line, NULL)) {
		g_autoptr(GString) text = g_string_new(line);

		if (!g_str_has_prefix(line, prefix))
			continue;
		g_string_replace(text, from, to, 1);
		return g_string_free(g_steal_pointer(&text), FALSE);
	}
	g_error("no line %s", prefix);
}

#define TTL "x-message-ttl=10000"
#define DEAD "x-dead-letter-exchange='' x-dead-letter-routing-key='compute." HOST "'"

/* Beside nova-compute: what nova-compute declares, too, is as oslo.messaging declares it. */
static void compare_beside(const char *name, const cJSON *recording,
			   const struct rpc_config *config)
{
	static const char *const bindings[] = {
		/* NOLINTNEXTLINE(bugprone-suspicious-missing-comma) */
		"bind exchange nova to nova." HOST " by #",
		"bind exchange nova.<host> to nova by compute",
		"bind exchange nova.<host> to nova by compute-alt",
		"bind exchange nova.<host> to nova by compute-alt.<host>",
		"bind novasnap.<host> to nova by compute.<host> {}",
		"unbind compute.<host> from nova by compute.<host>",
		"unbind novasnap.<host> from nova by compute.<host>",
	};
	g_autoptr(GHashTable) recorded = recorded_part(recording, "server");
	g_autoptr(GHashTable) own = new_set();
	g_autoptr(GHashTable) expected = new_set();
	g_autoptr(rpc_beside_names_t) names = rpc_beside_names_new(config, NULL);
	const char *quorum =
		cJSON_HasObjectItem(cJSON_GetObjectItemCaseSensitive(recording, "options"),
				    "rabbit_quorum_queue")
			? " x-overflow='reject-publish' x-queue-type='quorum'"
			: "";

	add_own(own, beside_topology_exchange(config, names, false), config);
	add_own(own, beside_topology_queue(config, names), config);
	add_own(own, beside_topology_bind(config, names), config);
	add_own(own, beside_topology_unbind_nova(config, names), config);
	add_own(own, beside_topology_give_back(config, names), config);
	g_hash_table_add(expected, recorded_line(recorded, "exchange nova ", "nova", "nova"));
	g_hash_table_add(expected,
			 recorded_line(recorded, "exchange nova ", "nova", "nova.<host>"));
	g_hash_table_add(expected, recorded_line(recorded, "queue compute.<host> ", "", ""));
	g_hash_table_add(expected, recorded_line(recorded, "bind compute.<host> ", "", ""));
	g_hash_table_add(expected,
			 g_strdup_printf("queue novasnap.<host> durable=1 auto_delete=0 "
					 "exclusive=0 passive=0 {" DEAD "%s " TTL "%s}",
					 *quorum ? " x-dead-letter-strategy='at-least-once'" : "",
					 quorum));
	for (size_t i = 0; i < G_N_ELEMENTS(bindings); i++)
		g_hash_table_add(expected, g_strdup(bindings[i]));
	expect_same(name, "beside", own, expected);
}

/* At a broker of notifications only the way outwards is needed. */
static void test_beside_notifications(void)
{
	struct rpc_config config = {.control_exchange = "nova", .host = HOST, .topic = "compute"};
	g_autoptr(rpc_beside_names_t) names = rpc_beside_names_new(&config, NULL);
	g_autoptr(GPtrArray) list = beside_topology_exchange(&config, names, true);
	const struct declaration *last = g_ptr_array_index(list, 2);

	g_assert_cmpuint(list->len, ==, 3);
	g_assert_cmpint(last->kind, ==, DECLARATION_EXCHANGE_BINDING);
	g_assert_cmpstr(last->name, ==, "nova");
	g_assert_cmpstr(last->exchange, ==, "nova." HOST);
}

/* A name of AMQP has at most 255 bytes. The longest one decides. */
static void test_beside_long_names(void)
{
	g_autofree char *fits = g_strnfill(255 - strlen("novasnap."), 'h');
	g_autofree char *over = g_strnfill(256 - strlen("compute-alt."), 'h');
	struct rpc_config config = {.control_exchange = "nova",
				    .host = over,
				    .topic = "compute",
				    .alt_topic = "compute-alt"};
	g_autoptr(GError) error = NULL;
	g_autoptr(rpc_beside_names_t) names = NULL;

	g_assert_null(rpc_beside_names_new(&config, &error));
	g_assert_error(error, RPC_ERROR, RPC_ERROR_CONFIG);
	g_assert_nonnull(strstr(error->message, "256 bytes"));
	config.host = fits;
	config.alt_topic = NULL;
	names = rpc_beside_names_new(&config, NULL);
	g_assert_cmpuint(strlen(names->queue), ==, 255);
}

static void test_recordings(void)
{
	g_autoptr(GDir) folder = g_dir_open(FOLDER, 0, NULL);
	unsigned counts[3] = {0};
	const char *name;

	g_assert_nonnull(folder);
	while ((name = g_dir_read_name(folder))) {
		g_autoptr(config_t) config = NULL;
		cJSON *recording;
		const char *version;

		if (!g_str_has_suffix(name, ".json"))
			continue;
		recording = read_json(name);
		version = text_of(recording, "oslo");
		counts[0] += g_str_has_prefix(version, "14.");
		counts[1] += g_str_has_prefix(version, "16.");
		counts[2] += g_str_has_prefix(version, "18.");
		config = load_options(HOST, cJSON_GetObjectItemCaseSensitive(recording, "options"));
		compare_server(name, recording, &config->rpc);
		compare_client(name, recording, &config->rpc);
		compare_notifier(name, recording, &config->rpc);
		compare_beside(name, recording, &config->rpc);
		cJSON_Delete(recording);
	}
	g_assert_cmpuint(counts[0], >=, 15);
	g_assert_cmpuint(counts[1], >=, 25);
	g_assert_cmpuint(counts[2], >=, 25);
}

/* The declaration of this kind and name; NULL: none. */
static const struct declaration *find(const GPtrArray *list, enum declaration_kind kind,
				      const char *name)
{
	for (guint i = 0; i < list->len; i++) {
		const struct declaration *declaration = list->pdata[i];

		if (declaration->kind == kind && g_strcmp0(declaration->name, name) == 0)
			return declaration;
	}
	return NULL;
}

/* Only the queues of this process are declared in another way, and nothing is created that would
 * have the wrong shape for the other services. */
static void test_denied(void)
{
	const struct declaration_conditions denied = {true, true};
	const struct declaration_topic topic = {"compute", "compute.h", "compute_fanout_x", -1};
	struct rpc_config config = {.control_exchange = "nova", .queue_ttl_s = 1800};

	for (int durable = 0; durable < 2; durable++) {
		g_autoptr(GPtrArray) server = NULL;
		g_autoptr(GPtrArray) replies = NULL;

		config.transient_quorum = durable;
		server = declarations_of_server(&config, &topic, 1, denied);
		replies = declarations_of_replies(&config, "reply_x", denied);
		g_assert_cmpint(find(server, DECLARATION_QUEUE, "compute_fanout_x")->exclusive, ==,
				!durable);
		g_assert_cmpint(find(replies, DECLARATION_QUEUE, "reply_x")->exclusive, ==,
				!durable);
		g_assert_cmpint(find(server, DECLARATION_EXCHANGE, "compute_fanout")->optional, ==,
				!durable);
		g_assert_false(find(server, DECLARATION_EXCHANGE, "nova")->optional);
		g_assert_false(find(server, DECLARATION_QUEUE, "compute")->exclusive);
		g_assert_false(find(server, DECLARATION_QUEUE, "compute.h")->exclusive);
	}
}

/* What a declaration needs must have been declared before it; the queue of fanout messages, which
 * may be denied, before the exchange. */
static void test_order(void)
{
	const struct declaration_topic topics[] = {
		{"compute", "compute.h", "compute_fanout_x", -1},
		{"compute-alt", "compute-alt.h", "compute-alt_fanout_x", -1},
	};
	const struct rpc_config config = {.control_exchange = "nova"};
	g_autoptr(GPtrArray) list = declarations_of_server(&config, topics, 2, used);
	g_autoptr(GHashTable) declared = g_hash_table_new(g_str_hash, g_str_equal);
	bool prefetch = false;
	unsigned consumers = 0;

	for (guint i = 0; i < list->len; i++) {
		const struct declaration *declaration = list->pdata[i];

		if (declaration->kind == DECLARATION_EXCHANGE &&
		    g_str_equal(declaration->name, "compute_fanout"))
			g_assert_true(g_hash_table_contains(declared, "compute_fanout_x"));
		if (declaration->kind == DECLARATION_EXCHANGE ||
		    declaration->kind == DECLARATION_QUEUE)
			g_hash_table_add(declared, declaration->name);
		if (declaration->kind == DECLARATION_BINDING)
			g_assert_true(g_hash_table_contains(declared, declaration->exchange));
		prefetch = prefetch || declaration->kind == DECLARATION_PREFETCH;
		if (declaration->kind == DECLARATION_BINDING ||
		    declaration->kind == DECLARATION_CONSUMER)
			g_assert_true(g_hash_table_contains(declared, declaration->name));
		if (declaration->kind != DECLARATION_CONSUMER)
			continue;
		g_assert_true(prefetch);
		consumers++;
	}
	g_assert_cmpuint(consumers, ==, 6);
}

/* A stream is consumed from where the last message was. */
static void test_stream(void)
{
	struct rpc_config config = {.control_exchange = "nova",
				    .transient_quorum = true,
				    .stream_fanout = true,
				    .queue_ttl_s = 60};
	struct declaration_topic topic = {"compute", "compute.h", "compute_fanout", -1};
	struct stream_position position;

	for (int64_t offset = -1; offset < 2; offset++) {
		g_autoptr(GPtrArray) list = NULL;
		const struct declaration *consumer;

		topic.stream_offset = offset;
		list = declarations_of_server(&config, &topic, 1, used);
		consumer = find(list, DECLARATION_CONSUMER, "compute_fanout");
		g_assert_cmpuint(consumer->argument_count, ==, 1);
		g_assert_cmpstr(consumer->arguments[0].name, ==, "x-stream-offset");
		if (offset < 0)
			g_assert_cmpstr(consumer->arguments[0].text, ==, "last");
		else
			g_assert_cmpint(consumer->arguments[0].number, ==, offset);
		g_assert_cmpint(consumer->arguments[0].type, ==,
				offset < 0 ? DECLARATION_TEXT : DECLARATION_NUMBER);
	}
	stream_position_reset(&position);
	stream_position_rewind(&position, 5);
	g_assert_cmpint(stream_position_get(&position), <, 0);
	stream_position_set(&position, 8);
	stream_position_rewind(&position, 9);
	g_assert_cmpint(stream_position_get(&position), ==, 8);
	stream_position_rewind(&position, 6);
	stream_position_rewind(&position, 7);
	g_assert_cmpint(stream_position_get(&position), ==, 6);
}

static void expect_manager_name(const char *host, const char *more, const char *expected)
{
	g_autofree char *text =
		g_strdup_printf("{\"use_queue_manager\": \"true\", \"hostname\": \"h1\"%s}", more);
	cJSON *options = cJSON_Parse(text);
	g_autoptr(config_t) config = load_options(host, options);
	g_autofree char *reply = declarations_reply_queue(&config->rpc, 1);
	g_autofree char *next = declarations_reply_queue(&config->rpc, 2);
	g_autofree char *fanout = declarations_fanout_queue(&config->rpc, "compute", 1);
	g_autofree char *expected_reply = g_strdup_printf("reply_%s:1", expected);
	g_autofree char *expected_next = g_strdup_printf("reply_%s:2", expected);
	g_autofree char *expected_fanout = g_strdup_printf("compute_fanout_%s:1", expected);

	g_assert_cmpstr(reply, ==, expected_reply);
	g_assert_cmpstr(next, ==, expected_next);
	g_assert_cmpstr(fanout, ==, expected_fanout);
	cJSON_Delete(options);
}

/* Never those of a nova-compute, whose process name is nova-compute or the option's, or of a
 * novasnapd that serves another host. */
static void test_queue_manager_names(void)
{
	expect_manager_name("h1", "", "h1:novasnapd");
	expect_manager_name("h1", ", \"processname\": \"nova-compute\"",
			    "h1:nova-compute-novasnapd");
	expect_manager_name("h1", ", \"processname\": \"novasnapd\"", "h1:novasnapd-novasnapd");
	expect_manager_name("second", "", "h1:novasnapd-second");
}

/* A name of the queue manager may be another process's, and a random one is not. */
static void test_unused(void)
{
	const struct declaration_conditions first = {.used_before = false};
	struct rpc_config config = {.control_exchange = "nova", .queue_manager_name = "h:p"};

	for (int managed = 1; managed >= 0; managed--) {
		g_autoptr(GPtrArray) before = NULL;
		g_autoptr(GPtrArray) after = NULL;

		if (!managed)
			config.queue_manager_name = NULL;
		before = declarations_of_replies(&config, "reply_x", first);
		after = declarations_of_replies(&config, "reply_x", used);
		g_assert_cmpint(find(before, DECLARATION_QUEUE, "reply_x")->unused, ==, managed);
		g_assert_false(find(after, DECLARATION_QUEUE, "reply_x")->unused);
	}
}

static void test_conflicts(void)
{
	static const struct {
		const char *text;
		const char *description;
		const char *advice;
	} cases[] = {
		{"406 PRECONDITION_FAILED - inequivalent arg 'durable' for exchange "
		 "'compute_fanout' in vhost '/': received 'false' but current is 'true'",
		 "its durable is \"true\" at the broker, and \"false\" by this configuration",
		 "set rabbit_transient_quorum_queue and rabbit_stream_fanout as in the other "
		 "services"},
		{"406 PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'compute' in "
		 "vhost '/': received 'true' but current is 'false'",
		 "its durable is \"false\" at the broker, and \"true\" by this configuration",
		 "set amqp_durable_queues and rabbit_quorum_queue as in the other services"},
		{"406 PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'compute' in "
		 "vhost 'v': received none but current is the value 'quorum' of type 'longstr'",
		 "its x-queue-type is \"quorum\" at the broker, and \"none\" by this configuration",
		 "set rabbit_quorum_queue as in the other services"},
		{"406 PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'nova' in vhost "
		 "'/': received 'topic' but current is 'direct'",
		 "its type is \"direct\" at the broker, and \"topic\" by this configuration",
		 "find out which service declared it so"},
	};
	static const char invalid[] = "406 PRECONDITION_FAILED - invalid arg 'x-expires' for queue";
	g_autofree char *own = conflict_advice("406 PRECONDITION_FAILED - inequivalent arg "
					       "'x-expires' for queue 'novasnap.a' in vhost 'v': "
					       "received none but current is '1'",
					       true);
	g_autofree char *own_exchange = conflict_advice(
		"406 PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'nova.a' in "
		"vhost 'v': received 'true' but current is 'false'",
		true);
	g_autofree char *cut = conflict_describe("406 PRECONDITION_FAILED - inequivalent arg 'x'");

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *description = conflict_describe(cases[i].text);
		g_autofree char *advice = conflict_advice(cases[i].text, false);

		g_assert_true(conflict_is_refusal(cases[i].text));
		g_assert_cmpstr(description, ==, cases[i].description);
		g_assert_cmpstr(advice, ==, cases[i].advice);
	}
	g_assert_nonnull(strstr(own, "`rabbitmqctl delete_queue -p v novasnap.a`"));
	g_assert_nonnull(strstr(own_exchange, "beside --disable"));
	g_assert_false(conflict_is_refusal(invalid));
	g_assert_cmpstr(cut, ==, "406 PRECONDITION_FAILED - inequivalent arg 'x'");
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/declarations/recordings", test_recordings);
	g_test_add_func("/declarations/denied", test_denied);
	g_test_add_func("/declarations/order", test_order);
	g_test_add_func("/declarations/stream", test_stream);
	g_test_add_func("/declarations/queue-manager-names", test_queue_manager_names);
	g_test_add_func("/declarations/beside-notifications", test_beside_notifications);
	g_test_add_func("/declarations/beside-long-names", test_beside_long_names);
	g_test_add_func("/declarations/unused", test_unused);
	g_test_add_func("/declarations/conflicts", test_conflicts);
	return g_test_run();
}
