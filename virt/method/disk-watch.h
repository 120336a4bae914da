/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disk watch, of the cold methods: a thread that watches a disk which nothing may write to
 * while it is read. If the guest is started or deleted, the program that reads the disk is ended at
 * once, whatever the worker is doing. If the disk is a block device, this is also done when anybody
 * writes to it: before nova removes a logical volume, it overwrites it with zeros; of a guest that
 * is shut off, libvirt reports nothing before both are done. lvremove fails while the volume is
 * open.
 */
#ifndef NOVASNAP_VIRT_METHOD_DISK_WATCH_H
#define NOVASNAP_VIRT_METHOD_DISK_WATCH_H

#include "image/source.h"
#include "virt/method/method.h"

struct disk_watch;

/* Starts the thread. snapshot->disk_stamp is what the disk must still have (NULL: only the guest is
 * watched). `disk`: the source of image_source_new_nbd whose server is killed; NULL: only the flag
 * is set. Snapshot and source must stay valid until disk_watch_stop. NULL with
 * VIRT_ERROR_FAILED. */
struct disk_watch *disk_watch_start(struct snapshot *snapshot, struct image_source *disk,
				    GError **error);
/* Stops the thread, waits for it and frees the watch. Accepts NULL. */
void disk_watch_stop(struct disk_watch *watch);

/* A cancel flag that is set when the disk must no longer be read, or the snapshot was cancelled. */
const atomic_int *disk_watch_flag(const struct disk_watch *watch);

/* Returns 0 (also for NULL), or -1 with VIRT_ERROR_BUSY if somebody has written to the block
 * device. Does not block; from any thread. */
int disk_watch_check(struct disk_watch *watch, GError **error);

#endif
