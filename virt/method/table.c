/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of snapshot methods, and the choice among them.
 */
#include "virt/internal.h"

static const struct snapshot_method *const methods[] = {&method_stream_live, &method_stream_cold,
							&method_rebase, &method_extract,
							&method_internal};

const struct snapshot_method *method_find(const char *name, bool live, GError **error)
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
		    "[novasnap]%s_method = %s: there is no such method; there is: %s",
		    live ? "live" : "cold", name, known->str);
	return NULL;
}

static bool is_stopped(int state)
{
	return state == VIR_DOMAIN_SHUTOFF || state == VIR_DOMAIN_SHUTDOWN ||
	       state == VIR_DOMAIN_CRASHED;
}

/* What nova calls lvm: a disk in /dev (nova.virt.libvirt.utils.get_disk_type_from_path). */
static bool is_volume(const struct disk *disk)
{
	return g_str_has_prefix(disk_top(disk)->path, "/dev/");
}

static bool can_be_streamed(const struct virt_config *config, const struct disk *disk)
{
	const char *format = format_choose(config, disk);

	return g_str_equal(format, "raw") || g_str_equal(format, "qcow2");
}

const struct snapshot_method *method_choose(const struct virt_config *config,
					    const struct domain_facts *facts,
					    const struct disk *disk, int state, GError **error)
{
	bool live = !is_stopped(state) && !config->disable_livesnapshot && !facts->container &&
		    !is_volume(disk);
	const struct snapshot_method *method =
		method_find(live ? config->live_method : config->cold_method, live, error);

	if (!method || !method->open)
		return method;
	/* A guest that we would have to save is restored before the first byte is sent. */
	if (!can_be_streamed(config, disk) || facts->container || (!live && !is_stopped(state)))
		return method->fallback;
	return method;
}

const char *format_choose(const struct virt_config *config, const struct disk *disk)
{
	if (config->snapshot_image_format)
		return config->snapshot_image_format;
	return is_volume(disk) ? "raw" : disk_top(disk)->format;
}
