/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See claim-due.h.
 */
#include "agent/task/claim-due.h"

#include "agent/task/facts.h"

/* The facts that are journaled for an unclaimed job, too. */
static bool is_fact_of_unclaimed(const struct journal_step *step)
{
	static const char *const words[] = {FACT_CLAIMING, FACT_FAILURE, FACT_FAULT_SENT,
					    FACT_FAULT_REPORTED, FACT_STOPPED};
	g_auto(GStrv) parts = g_strsplit(step->name, " ", 2);

	for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
		if (g_strcmp0(parts[0], words[i]) == 0)
			return true;
	}
	return false;
}

/* A process of the mode exclusive journals no claim, but every other step. */
static bool was_claimed(const struct journal_job *left)
{
	for (guint i = 0; left && i < left->steps->len; i++) {
		if (!is_fact_of_unclaimed(left->steps->pdata[i]))
			return true;
	}
	return false;
}

bool claim_is_due(const struct task *task)
{
	const struct config *config = task->agent->config;

	return config->beside && config->control && task->method->claim_state &&
	       !nova_instance_is_plain(task->instance) && !task->is_claimed &&
	       !was_claimed(task->recovered_job);
}
