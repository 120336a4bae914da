/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See screen.h. The escape sequences are those that all terminals since the VT100 and xterm have.
 */
#include "agent/command/screen.h"

#include <errno.h>
#include <glib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* The alternate page, no cursor, no line wrapping. */
#define TAKE "\033[?1049h\033[?25l\033[?7l"
#define GIVE "\033[?7h\033[?25h\033[?1049l"
#define HOME "\033[H"
#define CLEAR_LINE "\033[K"
#define CLEAR_BELOW "\033[J"

struct screen {
	bool has_keys;
	bool taken;
	struct termios before; /* of standard input, with has_keys */
};

static int write_all(const char *text)
{
	size_t left = strlen(text);

	while (left > 0) {
		ssize_t written = write(STDOUT_FILENO, text, left);

		if (written < 0 && errno != EINTR)
			return -1;
		if (written > 0) {
			text += written;
			left -= (size_t)written;
		}
	}
	return 0;
}

/* Ctrl-C and Ctrl-Z still send their signals. */
static void read_keys_at_once(struct screen *screen)
{
	struct termios modes = screen->before;

	modes.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	modes.c_cc[VMIN] = 0;
	modes.c_cc[VTIME] = 0;
	(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &modes);
}

struct screen *screen_open(void)
{
	struct screen *screen = g_new0(struct screen, 1);

	screen->has_keys = tcgetattr(STDIN_FILENO, &screen->before) == 0;
	screen_resume(screen);
	return screen;
}

void screen_resume(struct screen *screen)
{
	if (screen->has_keys)
		read_keys_at_once(screen);
	(void)write_all(TAKE);
	screen->taken = true;
}

void screen_suspend(struct screen *screen)
{
	if (!screen->taken)
		return;
	(void)write_all(GIVE);
	if (screen->has_keys)
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &screen->before);
	screen->taken = false;
}

int screen_draw(struct screen *screen, const char *text)
{
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	g_autofree char *cleared = g_strjoinv(CLEAR_LINE "\r\n", lines);
	g_autofree char *frame = g_strconcat(HOME, cleared, CLEAR_LINE CLEAR_BELOW, NULL);

	return screen->taken ? write_all(frame) : 0;
}

int screen_key_fd(const struct screen *screen)
{
	return screen->has_keys ? STDIN_FILENO : -1;
}

void screen_close(struct screen *screen)
{
	if (!screen)
		return;
	screen_suspend(screen);
	g_free(screen);
}
