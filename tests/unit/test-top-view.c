/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What novasnap top and novasnap jobs show: texts and tables fit each width, and rates follow from
 * the answers.
 */
#include <limits.h>
#include <string.h>

#include "agent/command/table.h"
#include "agent/command/top-data.h"
#include "agent/command/top-view.h"

#define INSTANCE "1a2b3c4d-0000-4000-8000-00000000000a"
#define IMAGE "9a2b3c4d-0000-4000-8000-00000000000b"
#define SECOND G_USEC_PER_SEC
#define ANSWER                                                                                     \
	"{\"pid\":17,\"version\":\"1.0\",\"ready\":true,\"mode\":\"exclusive\",\"paused\":true,"   \
	"\"waiting\":%u,\"jobs\":[{\"job\":3,\"instance\":\"" INSTANCE "\",\"image\":\"" IMAGE     \
	"\",\"method\":\"snapshot_instance\",\"stage\":\"running\",\"step\":\"uploading the "      \
	"image\",\"snapshot_method\":\"stream\",\"done\":%.0f,\"total\":1000000000},"              \
	"{\"job\":2,\"instance\":\"" IMAGE "\",\"method\":\"unpause_instance\",\"stage\":"         \
	"\"recovering\",\"step\":\"x\"}],\"waiting_jobs\":[{\"instance\":\"" INSTANCE              \
	"\",\"method\":\"snapshot_instance\",\"stage\":\"waiting\",\"step\":\"waiting for its "    \
	"turn\",\"resumed\":true}]}"

static const struct terminal file = {.columns = UINT_MAX, .rows = UINT_MAX};

static struct terminal terminal_of(unsigned columns, unsigned rows)
{
	return (struct terminal){.is_terminal = true, .columns = columns, .rows = rows};
}

static cJSON *answer_of(unsigned waiting, double done)
{
	g_autofree char *text = g_strdup_printf(ANSWER, waiting, done);
	cJSON *answer = cJSON_Parse(text);

	g_assert_nonnull(answer);
	return answer;
}

static void assert_text(const struct terminal *terminal, unsigned columns, const char *text,
			const char *expected, unsigned expected_left)
{
	g_autoptr(GString) into = g_string_new(NULL);

	terminal_add_text(terminal, into, &columns, STYLE_BAD, text);
	g_assert_cmpstr(into->str, ==, expected);
	g_assert_cmpuint(columns, ==, expected_left);
}

static void test_text(void)
{
	struct terminal colored = {.is_terminal = true, .has_colors = true, .columns = 80};

	assert_text(&file, 10, "abc", "abc", 7);
	assert_text(&file, 2, "abc", "ab", 0);
	assert_text(&file, 0, "abc", "", 0);
	assert_text(&colored, 4, "abc", "\033[31mabc\033[0m", 1);
	assert_text(&colored, 0, "abc", "", 0);
	/* Escape sequences of others, wide and invalid characters. */
	assert_text(&file, 20, "a\033[2Jb\nc\302\233d", "a [2Jb c d", 10);
	assert_text(&file, 5, "\346\274\242\345\255\227x", "\346\274\242\345\255\227x", 0);
	assert_text(&file, 3, "\346\274\242\345\255\227x", "\346\274\242", 0);
	assert_text(&file, 5, "a\377b", "a\357\277\275b", 2);
}

static void assert_owned(char *text, const char *expected)
{
	g_assert_cmpstr(text, ==, expected);
	g_free(text);
}

static void test_numbers(void)
{
	assert_owned(terminal_bar(0.5, 10), "[####....]");
	assert_owned(terminal_bar(7, 4), "[##]");
	assert_owned(terminal_bar(-1, 4), "[..]");
	assert_owned(terminal_duration(0.2), "1 s");
	assert_owned(terminal_duration(59), "59 s");
	assert_owned(terminal_duration(125), "2:05");
	assert_owned(terminal_duration(7260), "2 h 01");
	assert_owned(terminal_rate(1.5 * 1048576), "1.5 MiB/s");
	assert_owned(terminal_rate(120.4 * 1048576), "120 MiB/s");
}

/* Each line fits, and so does the number of lines. Returns the longest line. */
static unsigned assert_fits(const char *text, unsigned columns, unsigned rows)
{
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	unsigned longest = 0;

	g_assert_cmpuint(g_strv_length(lines) - 1, <=, rows);
	for (char **line = lines; *line; line++)
		longest = MAX(longest, terminal_width(*line));
	g_assert_cmpuint(longest, <=, columns);
	return longest;
}

static void test_table_widths(void)
{
	static const struct table_column columns[] = {
		{"NUMBER", TABLE_RIGHT, 3, 1},
		{"ID", TABLE_ID, 8, 0},
		{"TEXT", TABLE_TEXT, 5, 2},
		{"BAR", TABLE_BAR, 6, 3},
	};
	g_autoptr(table_t) table = table_new(columns, G_N_ELEMENTS(columns));

	table_add(table, STYLE_PLAIN, "17");
	table_add(table, STYLE_PLAIN, IMAGE);
	table_add(table, STYLE_PLAIN, "several words");
	table_add_bar(table, STYLE_PLAIN, 0.5);
	for (unsigned width = 1; width < 120; width++) {
		struct terminal terminal = terminal_of(width, 10);
		g_autoptr(GString) text = g_string_new(NULL);

		table_print(table, &terminal, 5, text);
		(void)assert_fits(text->str, width, 2);
		/* The ID is the last to go; it is whole only where there is room. */
		g_assert_true(width < 8 || strstr(text->str, "9a2b3c4d"));
		g_assert_true(!strstr(text->str, IMAGE) || width >= 36);
		g_assert_true(width < 36 + 28 || strstr(text->str, IMAGE));
		g_assert_cmpint(strstr(text->str, "BAR") != NULL, ==, width >= 28);
	}
	{
		g_autoptr(GString) text = g_string_new(NULL);

		table_print(table, &file, 5, text);
		g_assert_nonnull(strstr(text->str, "    17  " IMAGE "  several words  [#########"));
	}
}

static void test_every_size(void)
{
	struct top_data *data = top_data_new("h", "/nonexistent");
	unsigned longest = 0;

	top_data_take(data, answer_of(5, 1000), NULL, SECOND);
	top_data_take(data, answer_of(5, 2000), NULL, 2 * SECOND);
	for (unsigned columns = 1; columns < 220; columns += 3) {
		for (unsigned rows = 1; rows < 15; rows++) {
			struct terminal terminal = terminal_of(columns, rows);
			g_autofree char *text = top_view_text(&terminal, top_data_json(data), 3);

			longest = MAX(longest, assert_fits(text, columns, rows));
			/* Two lines of the head, two problems, the titles, three rows and the rest.
			 */
			g_assert_true(columns < 100 || rows < 9 || strstr(text, "and 4 more"));
			g_assert_true(columns < 100 || rows < 7 || strstr(text, "recovering: x"));
		}
	}
	g_assert_cmpuint(longest, >, 150);
	top_data_free(data);
}

static double rate_of(const struct top_data *data)
{
	const cJSON *jobs = cJSON_GetObjectItemCaseSensitive(top_data_json(data), "jobs");
	const cJSON *rate =
		cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(jobs, 0), "bytes_per_second");

	return cJSON_IsNumber(rate) ? rate->valuedouble : -1;
}

static bool is_restarted(const struct top_data *data)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(top_data_json(data), "restarted"));
}

static void test_rates(void)
{
	struct top_data *data = top_data_new("h", "/nonexistent");
	cJSON *other;

	top_data_take(data, answer_of(0, 1e6), NULL, SECOND);
	g_assert_cmpfloat(rate_of(data), ==, -1);
	g_assert_true(top_data_lacks_rate(data));
	top_data_take(data, answer_of(0, 3e6), NULL, 2 * SECOND);
	g_assert_cmpfloat(rate_of(data), ==, 2e6);
	g_assert_false(top_data_lacks_rate(data));
	/* The last ten seconds count. */
	for (unsigned i = 3; i <= 30; i++)
		top_data_take(data, answer_of(0, 3e6), NULL, i * SECOND);
	g_assert_cmpfloat(rate_of(data), ==, 0);
	/* A new attempt begins at 0, where the first data has not been sent yet. */
	top_data_take(data, answer_of(0, 0), NULL, 31 * SECOND);
	g_assert_cmpfloat(rate_of(data), ==, -1);
	top_data_take(data, answer_of(0, 5e6), NULL, 32 * SECOND);
	g_assert_cmpfloat(rate_of(data), ==, 5e6);
	/* Before that, `done` is more than `total`. */
	top_data_take(data, answer_of(0, 1.8e19), NULL, 33 * SECOND);
	g_assert_cmpfloat(rate_of(data), ==, -1);
	/* Another process has other numbers; an answer that is missing is no restart. */
	top_data_take(data, answer_of(0, 6e6), NULL, 34 * SECOND);
	top_data_take(data, NULL, "gone", 35 * SECOND);
	top_data_take(data, answer_of(0, 7e6), NULL, 36 * SECOND);
	g_assert_false(is_restarted(data));
	other = answer_of(0, 9e6);
	cJSON_SetNumberValue(cJSON_GetObjectItemCaseSensitive(other, "pid"), 18);
	top_data_take(data, other, NULL, 37 * SECOND);
	g_assert_true(is_restarted(data));
	g_assert_cmpfloat(rate_of(data), ==, -1);
	top_data_free(data);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/top-view/text", test_text);
	g_test_add_func("/top-view/numbers", test_numbers);
	g_test_add_func("/top-view/table-widths", test_table_widths);
	g_test_add_func("/top-view/every-size", test_every_size);
	g_test_add_func("/top-view/rates", test_rates);
	return g_test_run();
}
