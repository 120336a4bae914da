/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What libvirt says of itself, and of whom it runs QEMU as.
 */
#include <stdlib.h>

#include "virt/internal.h"

#define MAJOR 1000000
#define MINOR 1000

char *virt_host_versions(struct virt_host *host, GError **error)
{
	virConnectPtr connection = host_connect(host, error);
	unsigned long libvirt = 0, driver = 0;
	char *text = NULL;

	if (!connection)
		return NULL;
	if (virConnectGetLibVersion(connection, &libvirt) < 0)
		virt_set_error(error, "asking for libvirt's version");
	else if (virConnectGetVersion(connection, &driver) < 0)
		virt_set_error(error, "asking for the hypervisor's version");
	else
		text = g_strdup_printf("libvirt %lu.%lu.%lu, %s %lu.%lu.%lu", libvirt / MAJOR,
				       libvirt / MINOR % MINOR, libvirt % MINOR,
				       virConnectGetType(connection), driver / MAJOR,
				       driver / MINOR % MINOR, driver % MINOR);
	(void)virConnectClose(connection);
	return text;
}

static char *default_label(virConnectPtr connection)
{
	char *xml = virConnectGetCapabilities(connection);
	char *label =
		xml ? domain_text(xml, "/capabilities/host/secmodel[model='dac']/baselabel/text()")
		    : NULL;

	free(xml);
	return label;
}

int about_qemu_user(virConnectPtr connection, const char *domain_xml, struct virt_user *ret_user,
		    GError **error)
{
	g_autofree char *label =
		domain_xml ? domain_text(domain_xml, "/domain/seclabel[@model='dac']/label/text()")
			   : NULL;

	if (!label)
		label = default_label(connection);
	if (reach_parse_label(label, ret_user))
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
		    "libvirt does not tell whom it runs QEMU as (%s)",
		    label ? label : "no label of the model dac");
	return -1;
}

int virt_host_qemu_user(struct virt_host *host, struct virt_user *ret_user, GError **error)
{
	virConnectPtr connection = host_connect(host, error);
	int rc;

	if (!connection)
		return -1;
	rc = about_qemu_user(connection, NULL, ret_user, error);
	(void)virConnectClose(connection);
	return rc;
}
