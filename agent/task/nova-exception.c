/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tables that map the rooms' error codes to nova's exceptions.
 */
#include "agent/task/nova-exception.h"

#include <string.h>

#include "image/image.h"
#include "virt/virt.h"

#define FAULT_MESSAGE_MAX 255

struct exception_name {
	int code;
	const char *class_name;
	const char *module;
	int fault_code;
};

#define NOVA "nova.exception"
#define OSLO "oslo_messaging.exceptions"

static const struct exception_name image_names[] = {
	{IMAGE_ERROR_NOT_FOUND, "ImageNotFound", NOVA, 404},
	{IMAGE_ERROR_GONE, "ImageNotFound", NOVA, 404},
	{IMAGE_ERROR_AUTH, "ImageNotAuthorized", NOVA, 500},
	{IMAGE_ERROR_FORBIDDEN, "ImageNotAuthorized", NOVA, 500},
	{IMAGE_ERROR_CONFLICT, "HTTPConflict", "glanceclient.exc", 500},
	{IMAGE_ERROR_TOO_LARGE, "ImageQuotaExceeded", NOVA, 413},
	{IMAGE_ERROR_FORMAT, "HTTPException", "glanceclient.exc", 500},
	{IMAGE_ERROR_UNAVAILABLE, "GlanceConnectionFailed", NOVA, 500},
	{IMAGE_ERROR_MISMATCH, "ImageUnacceptable", NOVA, 500},
};

static const struct exception_name virt_names[] = {
	{VIRT_ERROR_NO_DOMAIN, "InstanceNotFound", NOVA, 404},
	{VIRT_ERROR_NO_AGENT, "QemuGuestAgentNotEnabled", NOVA, 500},
	{VIRT_ERROR_NO_QUIESCE, "InstanceQuiesceNotSupported", NOVA, 400},
	{VIRT_ERROR_FREEZE, "InternalError", NOVA, 500},
	{VIRT_ERROR_NO_ROOT_DISK, "InvalidDiskInfo", NOVA, 500},
	{VIRT_ERROR_UNSUPPORTED, "ImageUnacceptable", NOVA, 500},
	{VIRT_ERROR_DISCONNECTED, "HypervisorUnavailable", NOVA, 500},
	{VIRT_ERROR_PROCESS, "ProcessExecutionError", "oslo_concurrency.processutils", 500},
	{VIRT_ERROR_FAILED, "libvirtError", "libvirt", 500},
	{VIRT_ERROR_JOB, "libvirtError", "libvirt", 500},
	{VIRT_ERROR_BUSY, "libvirtError", "libvirt", 500},
};

static const struct exception_name rpc_names[] = {
	{RPC_ERROR_TIMEOUT, "MessagingTimeout", OSLO, 500},
	{RPC_ERROR_DISCONNECTED, "MessageDeliveryFailure", OSLO, 500},
	{RPC_ERROR_OUTBOX_FULL, "MessageDeliveryFailure", OSLO, 500},
	{RPC_ERROR_NOT_CONFIRMED, "MessageDeliveryFailure", OSLO, 500},
	{RPC_ERROR_REFUSED, "MessageDeliveryFailure", OSLO, 500},
	{RPC_ERROR_UNEXPECTED_TASK_STATE, "UnexpectedTaskStateError", NOVA, 500},
	{RPC_ERROR_UNEXPECTED_DELETING_TASK_STATE, "UnexpectedDeletingTaskStateError", NOVA, 500},
	{RPC_ERROR_INSTANCE_NOT_FOUND, "InstanceNotFound", NOVA, 404},
};

static const struct exception_name unnamed = {0, "NovaException", NOVA, 500};

static const struct exception_name *find_name(const struct exception_name *names, size_t count,
					      int code)
{
	for (size_t i = 0; i < count; i++) {
		if (names[i].code == code)
			return &names[i];
	}
	return &unnamed;
}

void nova_exception_from_error(const GError *error, const char *function,
			       struct nova_exception *ret_exception)
{
	const struct exception_name *name = &unnamed;

	if (error->domain == IMAGE_ERROR)
		name = find_name(image_names, G_N_ELEMENTS(image_names), error->code);
	else if (error->domain == VIRT_ERROR)
		name = find_name(virt_names, G_N_ELEMENTS(virt_names), error->code);
	else if (error->domain == RPC_ERROR)
		name = find_name(rpc_names, G_N_ELEMENTS(rpc_names), error->code);
	ret_exception->class_name = name->class_name;
	ret_exception->module = name->module;
	ret_exception->code = name->fault_code;
	ret_exception->message = error->message;
	ret_exception->function = function;
	if (error->domain == RPC_ERROR && name == &unnamed)
		(void)rpc_failure_from_error(error, &ret_exception->class_name,
					     &ret_exception->module);
}

char *nova_exception_fault_message(const struct nova_exception *exception)
{
	const char *message = exception->message;
	size_t length = strlen(message);

	if (length > FAULT_MESSAGE_MAX) {
		length = FAULT_MESSAGE_MAX;
		while (length > 0 && ((unsigned char)message[length] & 0xc0) == 0x80)
			length--;
	}
	return g_strndup(message, length);
}
