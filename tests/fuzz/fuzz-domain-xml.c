/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's XML: of a domain, and of its backup job.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "virt/internal.h"

__typeof__(virDomainBackupGetXMLDesc) __wrap_virDomainBackupGetXMLDesc;

static const char *current;

char *__wrap_virDomainBackupGetXMLDesc(virDomainPtr domain, unsigned int flags)
{
	(void)domain;
	(void)flags;
	return strdup(current);
}

/* libvirt would say of each input that there is no domain. */
static void be_silent(void *opaque, virErrorPtr error)
{
	(void)opaque;
	(void)error;
}

static void use_disk(struct disk *disk, const struct domain_facts *facts)
{
	static const int states[] = {VIR_DOMAIN_RUNNING, VIR_DOMAIN_SHUTOFF};
	static const char *const methods[] = {"stream", "rebase", "extract"};

	g_assert_true(disk->target && disk->layers->len > 0);
	for (guint i = 0; i < disk->layers->len; i++) {
		const struct disk_layer *layer = disk->layers->pdata[i];

		g_assert_true(layer->path && layer->format);
	}
	g_free(disk_json_name(disk, 0));
	g_free(disk_json_name(disk, 1));
	g_free(disk_json_name_shared(disk, false));
	g_free(disk_json_name_over(disk, 0, "/delta"));
	for (size_t i = 0; i < G_N_ELEMENTS(methods); i++) {
		struct virt_config config = {.live_method = methods[i], .cold_method = methods[i]};

		(void)format_choose(&config, disk);
		for (size_t j = 0; j < G_N_ELEMENTS(states); j++)
			(void)method_choose(&config, facts, disk, states[j], NULL);
	}
	disk_free(disk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const roots[] = {NULL, "/dev/vda", "/dev/vdb", "sda"};
	g_autofree char *xml = g_strndup((const char *)data, size);
	struct domain_facts facts;
	struct disk *disk;
	GPtrArray *disks;

	/* Else libvirt takes the sanitizer's thread for its last error. */
	g_assert_cmpint(virInitialize(), ==, 0);
	virSetErrorFunc(NULL, be_silent);
	current = xml;
	domain_facts_read(xml, &facts);
	for (size_t i = 0; i < G_N_ELEMENTS(roots); i++) {
		g_autoptr(GError) error = NULL;

		disk = disk_find_root(xml, roots[i], &error);
		g_assert_true((disk == NULL) == (error != NULL));
		if (disk)
			use_disk(disk, &facts);
	}
	disk = disk_find_container(xml, "raw", NULL);
	if (disk)
		use_disk(disk, &facts);
	disks = domain_disks(xml);
	for (guint i = 0; i < disks->len; i++)
		g_assert_nonnull(((const struct domain_disk *)disks->pdata[i])->target);
	g_ptr_array_unref(disks);
	g_free(jobs_backup_scratch_index(NULL));
	return 0;
}
