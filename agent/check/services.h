/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * novasnap check: the programs that novasnapd runs, and the services that it uses.
 */
#ifndef NOVASNAP_AGENT_CHECK_SERVICES_H
#define NOVASNAP_AGENT_CHECK_SERVICES_H

#include "agent/check/report.h"

/* Whether qemu-img, qemu-nbd and novasnap-thaw are installed. */
void check_programs(struct check *check);

/* Whether libvirt can be reached. Opens check->host; the caller closes it with virt_host_close. */
void check_libvirt(struct check *check);

/* Whether Ceph can be reached, if the guests' disks are there ([libvirt]images_type). */
void check_ceph(struct check *check);

/* Whether Keystone issues a token for the users of [keystone_authtoken] and [service_user]. */
void check_keystone(struct check *check);

/* Whether each configured Glance server, or the image folder, answers. */
void check_images(struct check *check);

/* Names Cinder's endpoint, and the credential of requests to it. It is not asked: it may be missing
 * in a cloud without volumes. */
void check_cinder(struct check *check);

#endif
