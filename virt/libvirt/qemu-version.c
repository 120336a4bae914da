/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The version of the QEMU that runs a guest.
 */
#include "virt/libvirt/qemu-version.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "virt/libvirt/xml.h"

#define VERSION_MAJOR QEMU_VERSION(1, 0, 0)
#define VERSION_MINOR QEMU_VERSION(0, 1, 0)

char *qemu_version_text(unsigned long version)
{
	return g_strdup_printf("%lu.%lu.%lu", version / VERSION_MAJOR,
			       version / VERSION_MINOR % VERSION_MINOR, version % VERSION_MINOR);
}

/* The version in a machine type such as pc-q35-9.1: a QEMU knows only its own and older ones.
 * Returns 0 for all others: distributions have types that are named after themselves. */
static unsigned long machine_version(const char *domain_xml)
{
	g_autofree char *machine = virt_xml_text(domain_xml, "/domain/os/type/@machine");
	const char *number = machine ? strrchr(machine, '-') : NULL;
	g_auto(GStrv) parts = g_strsplit(number ? number + 1 : "", ".", 0);
	guint64 major, minor;

	if (g_strv_length(parts) != 2 ||
	    !g_ascii_string_to_unsigned(parts[0], 10, 0, 1000, &major, NULL) ||
	    !g_ascii_string_to_unsigned(parts[1], 10, 0, 999, &minor, NULL))
		return 0;
	return QEMU_VERSION(major, minor, 0);
}

static bool read_number(const cJSON *version, const char *name, unsigned long *ret)
{
	const cJSON *number = cJSON_GetObjectItemCaseSensitive(version, name);

	if (!cJSON_IsNumber(number) || number->valuedouble < 0 || number->valuedouble > 999)
		return false;
	*ret = (unsigned long)number->valuedouble;
	return true;
}

static int ask_qemu(virDomainPtr domain, unsigned long *ret_version, GError **error)
{
	char *reply = NULL;
	unsigned long major, minor, release;
	const cJSON *version;
	cJSON *parsed;
	int rc = -1;

	if (virDomainQemuMonitorCommand(domain, "{\"execute\":\"query-version\"}", &reply, 0) < 0) {
		virt_set_error(error, "asking for the version of the guest's QEMU");
		return -1;
	}
	parsed = cJSON_Parse(reply ? reply : "");
	version = cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(parsed, "return"), "qemu");
	if (read_number(version, "major", &major) && read_number(version, "minor", &minor) &&
	    read_number(version, "micro", &release)) {
		*ret_version = QEMU_VERSION(major, minor, release);
		rc = 0;
	} else {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FAILED,
				    "asking for the version of the guest's QEMU: the reply has "
				    "none");
	}
	cJSON_Delete(parsed);
	free(reply);
	return rc;
}

int qemu_version_is_at_least(virDomainPtr domain, const char *domain_xml, unsigned long wanted,
			     bool may_ask, unsigned long *ret_version, GError **error)
{
	if (virConnectGetVersion(virDomainGetConnect(domain), ret_version) < 0) {
		virt_set_error(error, "asking for the version of QEMU");
		return -1;
	}
	/* If an older QEMU is installed, the guest's own is hardly newer. */
	if (*ret_version < wanted)
		return 0;
	if (machine_version(domain_xml) >= wanted)
		return 1;
	if (!may_ask) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_FAILED,
				    "QEMU is asked when the next snapshot begins");
		return -1;
	}
	if (ask_qemu(domain, ret_version, error) < 0)
		return -1;
	return *ret_version >= wanted;
}
