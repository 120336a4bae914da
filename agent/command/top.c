/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap top: what this host's novasnapd is doing, refreshed.
 */
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "agent/command/common.h"
#include "agent/command/screen.h"
#include "agent/command/top-data.h"
#include "agent/command/top-view.h"

#define INTERVAL_S 1.0
#define INTERVAL_MIN_S 0.1
#define INTERVAL_MAX_S 3600.0

static const struct command_help help = {
	.summary =
		"Shows what this host's novasnapd is doing, refreshed each second: its jobs with "
		"instance, image,\nmethod, phase, progress, rate and time left, jobs that wait "
		"or recover, and the broker. On a\nterminal q or Ctrl-C ends it. If novasnapd is "
		"restarted, it goes on. Only users who may read\nstate_dir/journal can use it.",
	.exit_status = "  0    q was pressed, or --once\n"
		       "  1    --once: novasnapd does not answer; else: nobody reads the "
		       "output\n" COMMAND_EXIT_USAGE COMMAND_EXIT_SIGNAL "\n",
	.example = "novasnap top --once",
};

struct top {
	struct top_data *data;
	struct terminal terminal;
	struct screen *screen; /* NULL: plain text */
	GMainLoop *loop;
	double interval_s;
	bool once;
	bool json;
	unsigned answers;
	int status;
};

static void end_top(struct top *top, int status)
{
	top->status = status;
	g_main_loop_quit(top->loop);
}

static void print_text(struct top *top, double late)
{
	g_autofree char *text = top_view_text(&top->terminal, top_data_json(top->data), late);

	if (top->screen) {
		if (screen_draw(top->screen, g_strchomp(text)) < 0)
			end_top(top, EXIT_FAILURE);
		return;
	}
	/* An empty line separates what is printed one after the other. */
	printf("%s%s", top->answers > 1 && !top->once ? "\n" : "", text);
}

static void show(struct top *top, double late)
{
	terminal_look(&top->terminal);
	if (!top->json) {
		print_text(top, late);
	} else {
		command_print_json(cJSON_Duplicate(top_data_json(top->data), true));
	}
	if (fflush(stdout) != 0)
		end_top(top, EXIT_FAILURE);
}

static void show_answer(void *opaque)
{
	struct top *top = opaque;
	const cJSON *json = top_data_json(top->data);
	bool answers = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "answers"));

	top->answers++;
	/* A rate needs a second answer. */
	if (top->once && top->answers == 1 && top_data_lacks_rate(top->data))
		return;
	if (top->once && !answers && !top->json) {
		(void)fprintf(
			stderr, "novasnap top: novasnapd does not answer: %s\n",
			cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "problem")));
		end_top(top, EXIT_FAILURE);
		return;
	}
	show(top, 0);
	if (top->once)
		end_top(top, answers ? EXIT_SUCCESS : EXIT_FAILURE);
}

static gboolean refresh(gpointer opaque)
{
	struct top *top = opaque;
	double late = top_data_ask(top->data, show_answer, top);

	/* The clock goes on, so that nobody takes the old answer for a new one. */
	if (late > 0 && top->screen)
		show(top, late);
	return G_SOURCE_CONTINUE;
}

static gboolean read_keys(gint fd, GIOCondition condition, gpointer opaque)
{
	struct top *top = opaque;
	char key;

	if (read(fd, &key, 1) == 1 && (key == 'q' || key == 'Q'))
		end_top(top, EXIT_SUCCESS);
	return condition & (G_IO_HUP | G_IO_ERR | G_IO_NVAL) ? G_SOURCE_REMOVE : G_SOURCE_CONTINUE;
}

static void stop_and_continue(struct top *top)
{
	if (top->screen)
		screen_suspend(top->screen);
	/* Signals are blocked, and this one cannot be. */
	(void)kill(getpid(), SIGSTOP);
}

static gboolean read_signal(gint fd, GIOCondition condition, gpointer opaque)
{
	struct top *top = opaque;
	struct signalfd_siginfo info;

	(void)condition;
	if (read(fd, &info, sizeof(info)) != sizeof(info))
		return G_SOURCE_CONTINUE;
	if (info.ssi_signo == SIGTSTP) {
		stop_and_continue(top);
	} else if (info.ssi_signo == SIGWINCH || info.ssi_signo == SIGCONT) {
		/* The shell has changed the terminal's modes meanwhile. */
		if (info.ssi_signo == SIGCONT && top->screen)
			screen_resume(top->screen);
		if (top->screen)
			show(top, 0);
	} else {
		end_top(top, EXIT_SIGNAL);
	}
	return G_SOURCE_CONTINUE;
}

/* Also in the threads that are started later. Returns a file descriptor, or -1. */
static int open_signals(void)
{
	const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP, SIGCONT};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
		sigaddset(&set, numbers[i]);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int run_top(struct top *top)
{
	int signals = open_signals();
	int keys;

	if (signals < 0) {
		perror("novasnap top: cannot receive signals");
		return EXIT_FAILURE;
	}
	terminal_look(&top->terminal);
	if (top->terminal.is_terminal && !top->terminal.is_dumb && !top->once && !top->json)
		top->screen = screen_open();
	top->loop = g_main_loop_new(NULL, FALSE);
	(void)g_unix_fd_add(signals, G_IO_IN, read_signal, top);
	keys = top->screen ? screen_key_fd(top->screen) : -1;
	if (keys >= 0)
		(void)g_unix_fd_add(keys, G_IO_IN, read_keys, top);
	(void)g_timeout_add((guint)(top->interval_s * 1000), refresh, top);
	(void)refresh(top);
	g_main_loop_run(top->loop);
	screen_close(top->screen);
	top_data_free(top->data);
	g_main_loop_unref(top->loop);
	(void)close(signals);
	return top->status;
}

int command_top(const struct command_context *context, int argc, char **argv)
{
	struct top top = {.interval_s = INTERVAL_S};
	gboolean once = FALSE, json = FALSE;
	const GOptionEntry entries[] = {
		{"interval", 0, 0, G_OPTION_ARG_DOUBLE, &top.interval_s,
		 "Refresh it this often (default: 1)", "SECONDS"},
		{"once", 0, 0, G_OPTION_ARG_NONE, &once, "Print it once, and end", NULL},
		{"json", 0, 0, G_OPTION_ARG_NONE, &json, COMMAND_JSON_LINES, NULL},
		G_OPTION_ENTRY_NULL,
	};
	g_autoptr(config_t) config = NULL;
	int status;

	if (!command_parse_options(&argc, &argv, entries, &help, &status))
		return status;
	if (!(top.interval_s >= INTERVAL_MIN_S && top.interval_s <= INTERVAL_MAX_S))
		return command_fail_usage("top", "--interval is from 0.1 to 3600");
	config = command_config(context, "top");
	if (!config)
		return EXIT_USAGE;
	top.once = once;
	top.json = json;
	top.data = top_data_new(config->rpc.host, config->state_dir);
	return run_top(&top);
}
