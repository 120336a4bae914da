/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's XML of a domain and of its backup job.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "virt/domain/backup-job.h"
#include "virt/domain/disk-filename.h"
#include "virt/domain/domain-xml.h"
#include "virt/domain/root-disk.h"
#include "virt/method/table.h"

__typeof__(virDomainBackupGetXMLDesc) __wrap_virDomainBackupGetXMLDesc;

static const char *current;

char *__wrap_virDomainBackupGetXMLDesc(virDomainPtr domain, unsigned int flags)
{
	(void)domain;
	(void)flags;
	return strdup(current);
}

/* libvirt would log for each input that there is no domain. */
static void ignore_error(void *opaque, virErrorPtr error)
{
	(void)opaque;
	(void)error;
}

static void use_disk(struct disk *disk, const struct domain_traits *traits)
{
	static const int states[] = {VIR_DOMAIN_RUNNING, VIR_DOMAIN_SHUTOFF};
	static const char *const methods[] = {"stream", "rebase", "extract"};

	g_assert_true(disk->target && disk->layers->len > 0);
	for (guint i = 0; i < disk->layers->len; i++) {
		const struct disk_layer *layer = disk->layers->pdata[i];

		g_assert_true(layer->path && layer->format);
	}
	g_free(disk_json_filename(disk, 0));
	g_free(disk_json_filename(disk, 1));
	g_free(disk_json_filename_shared(disk, false));
	g_free(disk_json_filename_over(disk, 0, "/delta"));
	for (size_t i = 0; i < G_N_ELEMENTS(methods); i++) {
		struct virt_config config = {.live_method = methods[i], .cold_method = methods[i]};

		(void)snapshot_format_choose(&config, disk);
		for (size_t j = 0; j < G_N_ELEMENTS(states); j++)
			(void)snapshot_method_choose(&config, traits, disk, states[j], NULL);
	}
	disk_free(disk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const targets[] = {NULL, "vda", "vdb"};
	g_autofree char *xml = g_strndup((const char *)data, size);
	struct domain_traits traits;
	struct disk *disk;
	GPtrArray *disks;

	/* Without it, libvirt uses the sanitizer's thread-local data for its last error. */
	g_assert_cmpint(virInitialize(), ==, 0);
	virSetErrorFunc(NULL, ignore_error);
	current = xml;
	domain_traits_read(xml, &traits);
	for (size_t i = 0; i < G_N_ELEMENTS(targets); i++) {
		g_autoptr(GError) error = NULL;

		disk = targets[i] ? disk_find_by_target(xml, targets[i], &error)
				  : root_disk_find(xml, &error);
		g_assert_true((disk == NULL) == (error != NULL));
		if (disk)
			use_disk(disk, &traits);
	}
	disk = root_disk_find_of_container(xml, "raw", NULL);
	if (disk)
		use_disk(disk, &traits);
	disks = domain_disks(xml);
	for (guint i = 0; i < disks->len; i++)
		g_assert_nonnull(((const struct domain_disk *)disks->pdata[i])->target);
	g_ptr_array_unref(disks);
	g_free(backup_job_scratch_index(NULL));
	return 0;
}
