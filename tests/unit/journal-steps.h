/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Steps of a job that a test makes without a journal.
 */
#ifndef NOVASNAP_TESTS_UNIT_JOURNAL_STEPS_H
#define NOVASNAP_TESTS_UNIT_JOURNAL_STEPS_H

#include "agent/journal/journal.h"

static inline void journal_steps_add(GPtrArray *steps, int64_t id, const char *name,
				     const char *undo)
{
	struct journal_step *step = g_new0(struct journal_step, 1);

	step->id = id;
	step->name = g_strdup(name);
	step->undo = g_strdup(undo);
	g_ptr_array_add(steps, step);
}

/* The free function of such an array. */
static inline void journal_steps_free(void *opaque)
{
	struct journal_step *step = opaque;

	g_free(step->name);
	g_free(step->undo);
	g_free(step);
}

#endif
