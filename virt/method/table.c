/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The list of snapshot methods, and the choice among them.
 */
#include "virt/method/table.h"

static const struct snapshot_method *const methods[] = {&method_stream_live, &method_stream_cold,
							&method_rebase, &method_extract,
							&method_internal};

const struct snapshot_method *snapshot_method_find(const char *name, bool live, GError **error)
{
	g_autoptr(GString) known = g_string_new(NULL);

	for (size_t i = 0; i < G_N_ELEMENTS(methods); i++) {
		if (methods[i]->live != live)
			continue;
		if (g_str_equal(methods[i]->name, name))
			return methods[i];
		g_string_append_printf(known, "%s%s", known->len > 0 ? ", " : "", methods[i]->name);
	}
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_CONFIG,
		    "[novasnap]%s_method = %s: there is no such method; valid methods: %s",
		    live ? "live" : "cold", name, known->str);
	return NULL;
}

const char *virt_method_name(size_t number)
{
	return number < G_N_ELEMENTS(methods) ? methods[number]->name : NULL;
}

static bool is_stopped(int state)
{
	return state == VIR_DOMAIN_SHUTOFF || state == VIR_DOMAIN_SHUTDOWN ||
	       state == VIR_DOMAIN_CRASHED;
}

/* A disk in /dev, which nova calls lvm (nova.virt.libvirt.utils.get_disk_type_from_path). */
static bool is_lvm(const struct disk *disk)
{
	return g_str_has_prefix(disk_top(disk)->path, "/dev/");
}

static bool can_be_streamed(const struct virt_config *config, const struct disk *disk)
{
	const char *format = snapshot_format_choose(config, disk);

	return g_str_equal(format, "raw") || g_str_equal(format, "qcow2");
}

/* A disk in Ceph has one method, whatever is configured: all others of nova's need a program of
 * QEMU that reads the disk, which nova allows only while the guest is stopped. */
static const struct snapshot_method *choose_for_rbd(const struct virt_config *config,
						    const struct disk *disk, GError **error)
{
	if (can_be_streamed(config, disk))
		return &method_stream_rbd;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED,
		    "the disk %s is in Ceph: its image can be raw or qcow2, but not %s: set "
		    "[libvirt]snapshot_image_format",
		    disk->target, snapshot_format_choose(config, disk));
	return NULL;
}

const struct snapshot_method *snapshot_method_choose(const struct virt_config *config,
						     const struct domain_traits *traits,
						     const struct disk *disk, int state,
						     GError **error)
{
	const struct snapshot_method *method;
	bool live = !is_stopped(state) && !config->disable_livesnapshot && !traits->container;

	if (disk_is_rbd(disk))
		return choose_for_rbd(config, disk, error);
	method =
		snapshot_method_find(live ? config->live_method : config->cold_method, live, error);
	if (!method || !method->open)
		return method;
	/* A guest that must be saved is restored before the upload, so its disk cannot be
	 * streamed. */
	if (!can_be_streamed(config, disk) || traits->container || (!live && !is_stopped(state)))
		return method->fallback;
	return method;
}

const char *snapshot_format_choose(const struct virt_config *config, const struct disk *disk)
{
	if (config->snapshot_image_format)
		return config->snapshot_image_format;
	return is_lvm(disk) ? "raw" : disk_top(disk)->format;
}
