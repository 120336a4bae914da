/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's version, and the user that it runs QEMU as.
 */
#include "virt/libvirt/qemu-user.h"

#include <stdlib.h>

#include "virt/libvirt/path-access.h"
#include "virt/libvirt/qemu-version.h"
#include "virt/libvirt/xml.h"

static char *describe_versions(virConnectPtr connection, unsigned long libvirt,
			       unsigned long driver)
{
	g_autofree char *library = qemu_version_text(libvirt);
	g_autofree char *hypervisor = qemu_version_text(driver);

	return g_strdup_printf("libvirt %s, %s %s", library, virConnectGetType(connection),
			       hypervisor);
}

char *virt_host_versions(struct virt_host *host, GError **error)
{
	virConnectPtr connection = virt_connect(host, error);
	unsigned long libvirt = 0, driver = 0;
	char *text = NULL;

	if (!connection)
		return NULL;
	if (virConnectGetLibVersion(connection, &libvirt) < 0)
		virt_set_error(error, "asking for libvirt's version");
	else if (virConnectGetVersion(connection, &driver) < 0)
		virt_set_error(error, "asking for the hypervisor's version");
	else
		text = describe_versions(connection, libvirt, driver);
	(void)virConnectClose(connection);
	return text;
}

static char *default_label(virConnectPtr connection)
{
	char *xml = virConnectGetCapabilities(connection);
	char *label = NULL;

	if (xml)
		label = virt_xml_text(xml,
				      "/capabilities/host/secmodel[model='dac']/baselabel/text()");
	free(xml);
	return label;
}

int qemu_user_find(virConnectPtr connection, const char *domain_xml, struct virt_user *ret_user,
		   GError **error)
{
	g_autofree char *label = NULL;

	if (domain_xml)
		label = virt_xml_text(domain_xml, "/domain/seclabel[@model='dac']/label/text()");
	if (!label)
		label = default_label(connection);
	if (virt_user_parse_label(label, ret_user))
		return 0;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
		    "libvirt does not report the user that it runs QEMU as (%s)",
		    label ? label : "no label of the security model dac");
	return -1;
}

int virt_host_qemu_user(struct virt_host *host, struct virt_user *ret_user, GError **error)
{
	virConnectPtr connection = virt_connect(host, error);
	int rc;

	if (!connection)
		return -1;
	rc = qemu_user_find(connection, NULL, ret_user, error);
	(void)virConnectClose(connection);
	return rc;
}
