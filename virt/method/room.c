/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room in the folders that a snapshot writes to.
 */
#include "virt/method/room.h"

#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define STAT_BLOCK_BYTES 512

int64_t room_free(const char *folder)
{
	g_autofree char *at = g_strdup(folder);
	struct statvfs fs;

	while (statvfs(at, &fs) < 0) {
		g_autofree char *parent = g_path_get_dirname(at);

		if (errno != ENOENT || g_str_equal(parent, at))
			return -1;
		g_free(at);
		at = g_steal_pointer(&parent);
	}
	return (int64_t)((uint64_t)fs.f_bavail * fs.f_frsize);
}

/* -1 if it is unknown. */
static int64_t allocated_bytes(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return -1;
	return (int64_t)st.st_blocks * STAT_BLOCK_BYTES;
}

uint64_t room_allocated_top(const struct disk *disk, uint64_t size)
{
	int64_t bytes = allocated_bytes(disk_top(disk)->path);

	return bytes < 0 ? size : MIN((uint64_t)bytes, size);
}

uint64_t room_allocated(const struct disk *disk, uint64_t size)
{
	uint64_t sum = 0;

	if (!disk->complete)
		return size;
	for (guint i = 0; i < disk->layers->len; i++) {
		const struct disk_layer *layer = disk->layers->pdata[i];
		int64_t bytes = allocated_bytes(layer->path);

		if (bytes < 0)
			return size;
		sum += (uint64_t)bytes;
	}
	return MIN(sum, size);
}

struct scratch_claims {
	pthread_mutex_t lock;
	/* Guarded by the lock. */
	GPtrArray *claims; /* struct scratch_claim, not owned */
};

struct scratch_claim {
	struct scratch_claims *claims; /* of all streams of the host */
	char *scratch;
	uint64_t bytes;
};

struct scratch_claims *scratch_claims_new(void)
{
	struct scratch_claims *claims = g_new0(struct scratch_claims, 1);

	pthread_mutex_init(&claims->lock, NULL);
	claims->claims = g_ptr_array_new();
	return claims;
}

void scratch_claims_free(struct scratch_claims *claims)
{
	if (!claims)
		return;
	g_ptr_array_unref(claims->claims);
	pthread_mutex_destroy(&claims->lock);
	g_free(claims);
}

/* What the other streams have claimed and not used yet. With the lock held. */
static uint64_t unused_bytes(const struct scratch_claims *claims)
{
	uint64_t sum = 0;

	for (guint i = 0; i < claims->claims->len; i++) {
		const struct scratch_claim *claim = claims->claims->pdata[i];
		int64_t used = MAX(allocated_bytes(claim->scratch), 0);

		sum += claim->bytes > (uint64_t)used ? claim->bytes - (uint64_t)used : 0;
	}
	return sum;
}

/* With the lock held. */
static int check_room(const struct virt_config *config, const struct scratch_claim *claim,
		      GError **error)
{
	uint64_t others = unused_bytes(claim->claims);
	uint64_t wanted = claim->bytes + others + config->scratch_reserve_mib * ROOM_MIB;
	struct stat st;
	int64_t room = stat(config->scratch_dir, &st) < 0 ? -1 : room_free(config->scratch_dir);

	if (room < 0) {
		g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
			    "cannot determine the free space of [novasnap]scratch_dir %s: %s",
			    config->scratch_dir, g_strerror(errno));
		return -1;
	}
	if ((uint64_t)room >= wanted)
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_PROCESS,
		    "[novasnap]scratch_dir %s has %" G_GINT64_FORMAT
		    " MiB free, but %" G_GUINT64_FORMAT
		    " MiB are needed for the data that the guest overwrites during the stream "
		    "(scratch_percent, scratch_reserve; %" G_GUINT64_FORMAT
		    " MiB for other streams): make room, or set another folder",
		    config->scratch_dir, room / (int64_t)ROOM_MIB,
		    (wanted + ROOM_MIB - 1) / ROOM_MIB, others / ROOM_MIB);
	return -1;
}

struct scratch_claim *scratch_claim_new(struct virt_host *host, const char *scratch, uint64_t data,
					GError **error)
{
	struct scratch_claims *claims = host->scratch_claims;
	struct scratch_claim *claim = g_new0(struct scratch_claim, 1);
	int rc;

	claim->claims = claims;
	claim->scratch = g_strdup(scratch);
	claim->bytes = data / 100 * host->config->scratch_percent;
	pthread_mutex_lock(&claims->lock);
	rc = check_room(host->config, claim, error);
	if (rc == 0)
		g_ptr_array_add(claims->claims, claim);
	pthread_mutex_unlock(&claims->lock);
	if (rc == 0)
		return claim;
	g_free(claim->scratch);
	g_free(claim);
	return NULL;
}

void scratch_claim_free(struct scratch_claim *claim)
{
	if (!claim)
		return;
	pthread_mutex_lock(&claim->claims->lock);
	(void)g_ptr_array_remove(claim->claims->claims, claim);
	pthread_mutex_unlock(&claim->claims->lock);
	g_free(claim->scratch);
	g_free(claim);
}
