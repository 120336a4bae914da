/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A time limit for each libvirt call. libvirtd or QEMU's monitor may never answer. When a call is
 * overdue, a thread shuts down the socket of its connection. libvirt's client then immediately
 * fails every call on that connection.
 *
 * Calls that wait for an answer are redefined below as macros of the same name. A file that
 * includes this header calls libvirt as usual, and each call has its limit.
 */
#ifndef NOVASNAP_VIRT_LIBVIRT_CALL_TIMEOUT_H
#define NOVASNAP_VIRT_LIBVIRT_CALL_TIMEOUT_H

#include <glib.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <stdbool.h>

struct virt_config;

/* Starts the thread that ends overdue calls. `config` must stay valid until call_timeouts_stop. A
 * process can have only one, because libvirt's functions cannot carry a pointer to it. Returns 0,
 * or -1 with VIRT_ERROR_FAILED. */
int call_timeouts_start(const struct virt_config *config, GError **error);
/* Stops the thread and waits for it. Does nothing if it was not started. */
void call_timeouts_stop(void);

/* virConnectOpen, limited to [novasnap]libvirt_connect_timeout. Calls on the new connection are
 * limited too. NULL with libvirt's last error set. */
virConnectPtr call_timeout_connect(const char *uri);

enum call_timeout_kind {
	CALL_TIMEOUT_CALL,  /* [novasnap]libvirt_call_timeout */
	CALL_TIMEOUT_SAVE,  /* [novasnap]save_timeout: the guest's memory is written or read */
	CALL_TIMEOUT_AGENT, /* that of a call, and [novasnap]agent_timeout: the guest agent replies
			     */
};

/* A call in progress, on its caller's stack. For the macros below. */
struct call_timeout {
	virConnectPtr connection; /* NULL: virConnectOpen */
	const char *name;	  /* the function's name */
	unsigned seconds;	  /* its limit */
	gint64 until;		  /* monotonic us; 0: no limit */
	bool overdue;		  /* its connection was shut down */
	struct call_timeout *next;
};
void call_timeout_begin(struct call_timeout *call, virConnectPtr connection,
			enum call_timeout_kind kind, const char *name);
void call_timeout_end(struct call_timeout *call);
/* The name of this thread's last libvirt call if it exceeded its limit, else NULL. *ret_seconds is
 * that limit. */
const char *call_timeout_exceeded(unsigned *ret_seconds);

/* clang-format off */
#define CALL_TIMEOUT(kind, connection, function, ...)                                              \
	__extension__({                                                                            \
		struct call_timeout call_timeout_;                                                 \
		call_timeout_begin(&call_timeout_, connection, kind, #function);                   \
		__auto_type call_result_ = function(__VA_ARGS__);                                  \
		call_timeout_end(&call_timeout_);                                                  \
		call_result_;                                                                      \
	})
#define CALL_TIMEOUT_AT(function, connection, ...) \
	CALL_TIMEOUT(CALL_TIMEOUT_CALL, connection, function, connection, ##__VA_ARGS__)
#define CALL_TIMEOUT_OF(function, domain, ...) \
	CALL_TIMEOUT(CALL_TIMEOUT_CALL, virDomainGetConnect(domain), function, domain, ##__VA_ARGS__)
#define CALL_TIMEOUT_OF_SAVE(function, domain, ...) \
	CALL_TIMEOUT(CALL_TIMEOUT_SAVE, virDomainGetConnect(domain), function, domain, ##__VA_ARGS__)
#define CALL_TIMEOUT_OF_AGENT(function, domain, ...) \
	CALL_TIMEOUT(CALL_TIMEOUT_AGENT, virDomainGetConnect(domain), function, domain, ##__VA_ARGS__)

#define virConnectClose(...) CALL_TIMEOUT_AT(virConnectClose, __VA_ARGS__)
#define virConnectDomainEventDeregisterAny(...) CALL_TIMEOUT_AT(virConnectDomainEventDeregisterAny, __VA_ARGS__)
#define virConnectDomainEventRegisterAny(...) CALL_TIMEOUT_AT(virConnectDomainEventRegisterAny, __VA_ARGS__)
#define virConnectDomainQemuMonitorEventDeregister(...) CALL_TIMEOUT_AT(virConnectDomainQemuMonitorEventDeregister, __VA_ARGS__)
#define virConnectDomainQemuMonitorEventRegister(...) CALL_TIMEOUT_AT(virConnectDomainQemuMonitorEventRegister, __VA_ARGS__)
#define virConnectGetCapabilities(...) CALL_TIMEOUT_AT(virConnectGetCapabilities, __VA_ARGS__)
#define virConnectGetLibVersion(...) CALL_TIMEOUT_AT(virConnectGetLibVersion, __VA_ARGS__)
#define virConnectGetType(...) CALL_TIMEOUT_AT(virConnectGetType, __VA_ARGS__)
#define virConnectGetVersion(...) CALL_TIMEOUT_AT(virConnectGetVersion, __VA_ARGS__)
#define virConnectListAllDomains(...) CALL_TIMEOUT_AT(virConnectListAllDomains, __VA_ARGS__)
#define virConnectRegisterCloseCallback(...) CALL_TIMEOUT_AT(virConnectRegisterCloseCallback, __VA_ARGS__)
#define virConnectUnregisterCloseCallback(...) CALL_TIMEOUT_AT(virConnectUnregisterCloseCallback, __VA_ARGS__)
#define virDomainAbortJob(...) CALL_TIMEOUT_OF(virDomainAbortJob, __VA_ARGS__)
#define virDomainAgentSetResponseTimeout(...) CALL_TIMEOUT_OF(virDomainAgentSetResponseTimeout, __VA_ARGS__)
#define virDomainBackupBegin(...) CALL_TIMEOUT_OF(virDomainBackupBegin, __VA_ARGS__)
#define virDomainBackupGetXMLDesc(...) CALL_TIMEOUT_OF(virDomainBackupGetXMLDesc, __VA_ARGS__)
#define virDomainBlockCommit(...) CALL_TIMEOUT_OF(virDomainBlockCommit, __VA_ARGS__)
#define virDomainBlockCopy(...) CALL_TIMEOUT_OF(virDomainBlockCopy, __VA_ARGS__)
#define virDomainBlockJobAbort(...) CALL_TIMEOUT_OF(virDomainBlockJobAbort, __VA_ARGS__)
#define virDomainBlockRebase(...) CALL_TIMEOUT_OF(virDomainBlockRebase, __VA_ARGS__)
#define virDomainCreate(...) CALL_TIMEOUT_OF_SAVE(virDomainCreate, __VA_ARGS__)
#define virDomainCreateWithFlags(...) CALL_TIMEOUT_OF_SAVE(virDomainCreateWithFlags, __VA_ARGS__)
#define virDomainDefineXML(...) CALL_TIMEOUT_AT(virDomainDefineXML, __VA_ARGS__)
#define virDomainDestroy(...) CALL_TIMEOUT_OF(virDomainDestroy, __VA_ARGS__)
#define virDomainFSFreeze(...) CALL_TIMEOUT_OF_AGENT(virDomainFSFreeze, __VA_ARGS__)
#define virDomainFSThaw(...) CALL_TIMEOUT_OF_AGENT(virDomainFSThaw, __VA_ARGS__)
#define virDomainGetBlockInfo(...) CALL_TIMEOUT_OF(virDomainGetBlockInfo, __VA_ARGS__)
#define virDomainGetBlockJobInfo(...) CALL_TIMEOUT_OF(virDomainGetBlockJobInfo, __VA_ARGS__)
#define virDomainGetDiskErrors(...) CALL_TIMEOUT_OF(virDomainGetDiskErrors, __VA_ARGS__)
#define virDomainGetJobInfo(...) CALL_TIMEOUT_OF(virDomainGetJobInfo, __VA_ARGS__)
#define virDomainGetState(...) CALL_TIMEOUT_OF(virDomainGetState, __VA_ARGS__)
#define virDomainGetXMLDesc(...) CALL_TIMEOUT_OF(virDomainGetXMLDesc, __VA_ARGS__)
#define virDomainHasManagedSaveImage(...) CALL_TIMEOUT_OF(virDomainHasManagedSaveImage, __VA_ARGS__)
#define virDomainIsActive(...) CALL_TIMEOUT_OF(virDomainIsActive, __VA_ARGS__)
#define virDomainIsPersistent(...) CALL_TIMEOUT_OF(virDomainIsPersistent, __VA_ARGS__)
#define virDomainLookupByName(...) CALL_TIMEOUT_AT(virDomainLookupByName, __VA_ARGS__)
#define virDomainLookupByUUIDString(...) CALL_TIMEOUT_AT(virDomainLookupByUUIDString, __VA_ARGS__)
#define virDomainManagedSave(...) CALL_TIMEOUT_OF_SAVE(virDomainManagedSave, __VA_ARGS__)
#define virDomainManagedSaveRemove(...) CALL_TIMEOUT_OF(virDomainManagedSaveRemove, __VA_ARGS__)
#define virDomainQemuMonitorCommand(...) CALL_TIMEOUT_OF(virDomainQemuMonitorCommand, __VA_ARGS__)
#define virDomainResume(...) CALL_TIMEOUT_OF(virDomainResume, __VA_ARGS__)
#define virDomainSetBlockThreshold(...) CALL_TIMEOUT_OF(virDomainSetBlockThreshold, __VA_ARGS__)
#define virDomainSetTime(...) CALL_TIMEOUT_OF_AGENT(virDomainSetTime, __VA_ARGS__)
#define virDomainShutdown(...) CALL_TIMEOUT_OF(virDomainShutdown, __VA_ARGS__)
#define virDomainSnapshotCreateXML(...) CALL_TIMEOUT_OF_AGENT(virDomainSnapshotCreateXML, __VA_ARGS__)
#define virDomainSuspend(...) CALL_TIMEOUT_OF(virDomainSuspend, __VA_ARGS__)
#define virDomainUndefineFlags(...) CALL_TIMEOUT_OF(virDomainUndefineFlags, __VA_ARGS__)
/* clang-format on */

#endif
