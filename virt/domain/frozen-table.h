/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of the guests that this process has frozen, with their watchdogs.
 */
#ifndef NOVASNAP_VIRT_DOMAIN_FROZEN_TABLE_H
#define NOVASNAP_VIRT_DOMAIN_FROZEN_TABLE_H

#include "virt/domain/thaw-process.h"

/* Ids of freezes requested by quiesce_instance begin with this. As the id that is looked for, it
 * stands for any of them. */
#define FREEZE_QUIESCE_PREFIX "quiesce-"

struct frozen_table;

/* The caller frees it with frozen_table_free. */
struct frozen_table *frozen_table_new(void);
/* Call it when the table has no guests any more. */
void frozen_table_free(struct frozen_table *table);

/* Adds a guest that was frozen; the table takes ownership of the watchdog. Returns false if it has
 * an entry for the guest already. */
bool frozen_table_add(struct frozen_table *table, const char *uuid, const char *id,
		      struct thaw_process *watchdog);

enum freeze_owner {
	FREEZE_NONE,
	FREEZE_OURS,   /* by the freeze that is looked for */
	FREEZE_OTHERS, /* by another one */
};
/* Who froze the guest. `id` is that of the freeze that is looked for; NULL: none. If that is found
 * and `ret_watchdog` is not NULL, the entry is removed, and the caller owns its watchdog. */
enum freeze_owner frozen_table_find(struct frozen_table *table, const char *uuid, const char *id,
				    struct thaw_process **ret_watchdog);
/* Whether the watchdog has ended the freeze of that id, or the table has no such freeze. */
bool frozen_table_has_expired(struct frozen_table *table, const char *uuid, const char *id);
/* Removes the guest's entry if its watchdog has ended the freeze. */
void frozen_table_forget_expired(struct frozen_table *table, const char *uuid);
/* Removes any guest's entry. Returns its uuid, which the caller frees; NULL: the table is empty. */
char *frozen_table_take_any(struct frozen_table *table, struct thaw_process **ret_watchdog);

/* Leaves the thawing to the watchdog, which ends by itself; takes ownership of it. */
void frozen_table_hand_over(struct frozen_table *table, struct thaw_process *watchdog);
/* Waits for the watchdogs that have ended since. */
void frozen_table_reap(struct frozen_table *table);

#endif
