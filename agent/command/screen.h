/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The whole terminal as a screen that is drawn again and again: without cursor, echo and line
 * wrapping, on the alternate page, so that what was there before is there afterwards.
 */
#ifndef NOVASNAP_AGENT_COMMAND_SCREEN_H
#define NOVASNAP_AGENT_COMMAND_SCREEN_H

#include <stdbool.h>

struct screen;

/* Standard output must be a terminal; keys are read if standard input is one, too. */
struct screen *screen_open(void);
/* Takes the terminal again, after the process was stopped and continued. */
void screen_resume(struct screen *screen);
/* Gives the terminal back as it was. screen_resume takes it again. */
void screen_suspend(struct screen *screen);
/* Replaces what is shown. `text`: lines that fit, each with a line break but the last one. Returns
 * 0, or -1 if the terminal is gone. */
int screen_draw(struct screen *screen, const char *text);
/* The file descriptor of the keys; -1: there are none. */
int screen_key_fd(const struct screen *screen);
/* Gives the terminal back. Accepts NULL. */
void screen_close(struct screen *screen);

#endif
