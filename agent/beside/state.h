/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the operator has asked for, beside nova-compute: two small files in state_dir/journal, where
 * only novasnapd's user and root can write. Both are replaced whole and fsynced.
 *
 * beside.json is written by `novasnap beside`, and by beside_take and beside_give_back
 * (handover.h):
 *   {"stage": "enabled", "given_back": false, "marker": "<32 hexadecimal digits>",
 *    "exchange": "nova"}
 * It exists from the first step of --enable to the last one of --disable.
 *
 * beside-intercepting holds the id of the marker that novasnapd's forwarding thread has received,
 * and is written and removed only by that thread.
 *
 * What novasnapd does, by the stage. It reads beside.json at its start, on each new connection, and
 * once a second:
 * - off (there is no file), removing: it does not consume its queue, and cancels a consumer;
 * - enabling, enabled: it consumes the queue when it exists (it never declares it), and forwards
 *   everything. It takes its own methods out if `given_back` is false and beside-intercepting has
 * the id of `marker`;
 * - disabling: it consumes the queue and forwards everything.
 * With the stage enabled and `given_back`, a novasnapd that works calls beside_take.
 */
#ifndef NOVASNAP_AGENT_BESIDE_STATE_H
#define NOVASNAP_AGENT_BESIDE_STATE_H

#include <glib.h>
#include <stdbool.h>

enum beside_stage {
	BESIDE_OFF,	  /* nothing is at the broker */
	BESIDE_ENABLING,  /* --enable is under way, or was interrupted */
	BESIDE_ENABLED,	  /* the topology is there */
	BESIDE_DISABLING, /* --disable is under way: requests go back to nova-compute */
	BESIDE_REMOVING,  /* --disable is about to delete the queue and the exchange */
};

#define BESIDE_MARKER_BYTES 33 /* with the NUL */
#define BESIDE_EXCHANGE_BYTES 256

struct beside_state {
	enum beside_stage stage;
	bool given_back;		  /* requests go to nova-compute's queue */
	char marker[BESIDE_MARKER_BYTES]; /* of the last take; "": none */
	/* The cloud's control exchange at --enable; "": unknown. */
	char exchange[BESIDE_EXCHANGE_BYTES];
};

/* "off", "enabling", "enabled", "disabling", "removing". */
const char *beside_stage_name(enum beside_stage stage);

/* Reads beside.json. Without the file the stage is BESIDE_OFF. Returns 0, or -1 with a G_FILE_ERROR
 * that names the file: it cannot be read, or is not what beside_state_write writes. */
int beside_state_read(const char *state_dir, struct beside_state *ret_state, GError **error);
/* Replaces beside.json; with BESIDE_OFF removes both files. The folder must exist. Call it only
 * with the lock. Returns 0, or -1 with a G_FILE_ERROR. */
int beside_state_write(const char *state_dir, const struct beside_state *state, GError **error);

/* Whether novasnapd is to get the requests: not before --enable and after --disable, nor while they
 * are given back. */
bool beside_state_takes_requests(const struct beside_state *state);

/* For the forwarding thread: keeps the id of the received marker, or forgets it (NULL). Returns 0,
 * or -1 with a G_FILE_ERROR. */
int beside_intercepting_write(const char *state_dir, const char *marker, GError **error);
/* Whether the marker of this state was received, and the requests are taken: the forwarding thread
 * takes its own methods out. A file that cannot be read counts as no marker. */
bool beside_is_intercepting(const char *state_dir, const struct beside_state *state);

/* The lock for everything that changes the topology or beside.json, between the processes of this
 * host and the threads of one. Waits at most `limit_s` seconds. Returns a file descriptor, which
 * beside_unlock closes; the end of the process closes it, too. -1 with a G_FILE_ERROR:
 * G_FILE_ERROR_AGAIN if another one has the lock. */
int beside_lock(const char *state_dir, unsigned limit_s, GError **error);
void beside_unlock(int fd);

#endif
