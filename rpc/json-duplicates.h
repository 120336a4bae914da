/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON objects in which a key occurs more than once.
 */
#ifndef NOVASNAP_RPC_JSON_DUPLICATES_H
#define NOVASNAP_RPC_JSON_DUPLICATES_H

#include <cjson/cJSON.h>

/* In all objects of a tree, keeps only the last member of each key, at the place of the first one,
 * as Python's json module does. Takes linear time. */
void json_drop_duplicates(cJSON *root);

#endif
