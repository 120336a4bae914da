/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * struct nova_instance, for the files that create it (instance-parse.c) and exchange it with the
 * conductor (instance-save.c). Its public functions are declared in rpc/nova.h.
 */
#ifndef NOVASNAP_RPC_NOVA_INSTANCE_H
#define NOVASNAP_RPC_NOVA_INSTANCE_H

#include "rpc/nova.h"

struct nova_instance {
	bool plain;	    /* a dictionary from before nova had objects: `object` is `data` */
	cJSON *object;	    /* as in messages, without nova_object.changes */
	cJSON *data;	    /* nova_object.data, in `object` */
	GPtrArray *changes; /* char *: the fields that are not saved yet, the oldest change first */
	cJSON *block_devices; /* an array of their data; NULL: not loaded */
	cJSON *shares;	      /* likewise */
	char *uuid;
};

/* Creates an instance from an object or a dictionary (`plain`), which must have been checked; takes
 * ownership of it. `uuid` is copied. The names in its nova_object.changes count as changed. */
struct nova_instance *nova_instance_adopt(cJSON *object, const char *uuid, bool plain);

/* Sets a field, in nova's order, without marking it as changed. Takes ownership of `value`. */
void nova_instance_put_field(struct nova_instance *instance, const char *field, cJSON *value);
/* Marks a field as changed. */
void nova_instance_note_change(struct nova_instance *instance, const char *field);
/* Replaces the list of changed fields by the names in a list (nova_is_name_list; NULL: none). */
void nova_instance_set_changes(struct nova_instance *instance, const cJSON *names);

/* Returns the array of the block devices' data; NULL if they were not loaded. */
const cJSON *nova_instance_block_devices(const struct nova_instance *instance);
/* Returns the array of the shares' data; NULL if they were not loaded. */
const cJSON *nova_instance_shares(const struct nova_instance *instance);

/* Whether the instance is an object of this version ("2.8"), or of a later one with the same major
 * number. False for a plain instance. */
bool nova_instance_has_version(const struct nova_instance *instance, const char *version);

#endif
