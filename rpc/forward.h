/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server beside nova-compute (rpc/beside.h): takes its own methods out of the requests to this
 * host, and forwards all others to nova-compute, byte for byte. A connection and a thread of its
 * own do this (rpc/amqp/forwarder.h).
 *
 * A message is this server's if its body can be read, its method is in the list and in the table of
 * rpc_server_start, its version is served, and it has no namespace. It then goes the way of any
 * request. A request that is requeued, rejected or freed without an ack is forwarded as well.
 *
 * All functions may be called from any thread.
 */
#ifndef NOVASNAP_RPC_FORWARD_H
#define NOVASNAP_RPC_FORWARD_H

#include "rpc/beside.h"

enum rpc_forward_mode {
	RPC_FORWARD_OFF,       /* the queue is not consumed */
	RPC_FORWARD_PASS,      /* everything is forwarded, except `always` */
	RPC_FORWARD_INTERCEPT, /* the server's own methods are taken out */
};

/* A control message of rpc/beside.h. */
struct rpc_forward_control;
const char *rpc_forward_control_type(const struct rpc_forward_control *control);
const char *rpc_forward_control_id(const struct rpc_forward_control *control); /* may be "" */

struct rpc_forward_ops {
	const char *const *methods; /* NULL-terminated; what is taken out */
	const char *always;	    /* a method that is taken out in each mode; NULL: none */
	/* A control message has arrived; after one of type RPC_BESIDE_TYPE_PASS the mode is
	 * RPC_FORWARD_PASS. Until it is answered by rpc_forward_answer, RPC_FORWARD_INTERCEPT is
	 * refused. Runs in the forwarding thread, must not wait for anything, and must not
	 * call a function of this file. */
	void (*control)(struct rpc_forward_control *control, void *opaque);
	void *opaque;
};

/* Starts the thread, in the mode RPC_FORWARD_OFF. From now on rpc_server_start and the other
 * functions of the server do not declare or consume the queues of an exclusive server. Call it
 * before them, once. `ops` is copied; what it points to must stay valid until rpc_close. Returns 0,
 * or -1 with RPC_ERROR_CONFIG or RPC_ERROR_FAILED. */
int rpc_forward_start(struct rpc *rpc, const struct rpc_forward_ops *ops, GError **error);
/* From now on `control` is not called: control messages are answered at once, with
 * RPC_FORWARD_PASS. Messages are forwarded until rpc_close. */
void rpc_forward_detach(struct rpc *rpc);
/* Returns false if the mode was refused. */
bool rpc_forward_set_mode(struct rpc *rpc, enum rpc_forward_mode mode);
enum rpc_forward_mode rpc_forward_get_mode(struct rpc *rpc);
/* Sets the mode, and answers with it. Frees the control message. */
void rpc_forward_answer(struct rpc *rpc, struct rpc_forward_control *control,
			enum rpc_forward_mode mode);

struct rpc_forward_status {
	bool connected;
	unsigned connection; /* the number of the connection; another one: it was made again */
	bool consuming;
	bool intercepting;
	bool refused;	     /* nova-compute's queue is missing or takes nothing */
	unsigned held;	     /* messages that have arrived and are not acked yet */
	uint64_t forwarded;  /* so far */
	uint64_t rejected;   /* left to dead-lettering so far */
	uint64_t taken;	     /* so far */
	gint64 idle_us;	     /* since the thread's last turn; it has one each second */
	gint64 unchanged_us; /* since a message has arrived or was acked */
	gint64 stalled_us;   /* messages wait, and no copy was confirmed; 0: none wait */
	/* In us; -1: not measured, the median: not in the last minutes. `hop`: from the arrival of
	 * a forwarded message to the confirmation of its copy. `delay`: from publishing to arrival
	 * of an own message. */
	gint64 hop_last, hop_median, hop_max;
	gint64 delay_last, delay_median, delay_max;
	gint64 overdue_us; /* since an own message was published that has not arrived; 0: none */
	char *problem;	   /* why it does not consume or forward; NULL: none is known */
};
/* The caller frees it with rpc_forward_status_clear. */
void rpc_forward_get_status(struct rpc *rpc, struct rpc_forward_status *ret_status);
void rpc_forward_status_clear(struct rpc_forward_status *status);

/* Aborts a write of the thread that is stuck. Call it about every second. */
void rpc_forward_check_stuck_write(struct rpc *rpc);

/* Counts the messages that wait in novasnapd's queue, on a connection of its own; blocks as the
 * functions of rpc/beside.h. Returns 0, or -1 with an error. */
int rpc_forward_count_waiting(const struct rpc_config *config, unsigned *ret_messages,
			      GError **error);

#endif
