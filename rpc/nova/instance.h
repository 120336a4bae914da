/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * struct nova_instance, for the files that make it (instance-parse.c) and exchange it with the
 * conductor (instance-save.c). Its public functions stand in rpc/nova.h.
 */
#ifndef NOVASNAP_RPC_NOVA_INSTANCE_H
#define NOVASNAP_RPC_NOVA_INSTANCE_H

#include "rpc/nova.h"

struct nova_instance {
	bool plain;	      /* a dictionary of before there were objects: `object` is `data` */
	cJSON *object;	      /* as on the wire, without nova_object.changes */
	cJSON *data;	      /* nova_object.data, in `object` */
	GPtrArray *changes;   /* char *: the fields that are to be saved, the oldest change first */
	cJSON *block_devices; /* an array of their data; NULL: not loaded */
	char *uuid;
};

/* Makes an instance from an object or a dictionary (`plain`), which is taken and must have been
 * checked. `uuid` is copied. Its nova_object.changes, if any, are to be saved. */
struct nova_instance *nova_instance_adopt(cJSON *object, const char *uuid, bool plain);

/* Sets a field, in its place by nova's order; without noting a change. `value` is taken. */
void nova_instance_put_field(struct nova_instance *instance, const char *field, cJSON *value);
/* Notes that a field is to be saved. */
void nova_instance_note_change(struct nova_instance *instance, const char *field);
/* Replaces what is to be saved by the names in a list (nova_is_name_list; NULL: none). */
void nova_instance_set_changes(struct nova_instance *instance, const cJSON *names);

/* Returns the array of the block devices' data; NULL when they were not loaded. */
const cJSON *nova_instance_block_devices(const struct nova_instance *instance);

#endif
