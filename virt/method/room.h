/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room in the folders that a snapshot writes to.
 */
#ifndef NOVASNAP_VIRT_METHOD_ROOM_H
#define NOVASNAP_VIRT_METHOD_ROOM_H

#include "virt/method/method.h"

#define ROOM_MIB ((uint64_t)1024 * 1024)

/* The free bytes of a folder, or of its nearest existing parent. -1 with errno. */
int64_t room_free(const char *folder);

/* How many bytes of a disk of `size` bytes hold data, at most: what the files of its chain take on
 * the host. `size` if that is unknown, as for block devices. */
uint64_t room_allocated(const struct disk *disk, uint64_t size);
/* The same for the top file alone. */
uint64_t room_allocated_top(const struct disk *disk, uint64_t size);

/* The claims of the streams of a host, which its threads share. */
struct scratch_claims *scratch_claims_new(void);
void scratch_claims_free(struct scratch_claims *claims);

struct scratch_claim;
/* Claims room in scratch_dir for the scratch file of a stream: scratch_percent of the data that the
 * guest can overwrite. There must be room for this, for what other streams have claimed and not yet
 * used, and for scratch_reserve. `scratch` is the path of the file, `data` as from room_allocated.
 * The caller frees the claim. NULL with VIRT_ERROR_PROCESS if there is too little room, or
 * VIRT_ERROR_FAILED if scratch_dir cannot be read. */
struct scratch_claim *scratch_claim_new(struct virt_host *host, const char *scratch, uint64_t data,
					GError **error);
/* Accepts NULL. */
void scratch_claim_free(struct scratch_claim *claim);

#endif
