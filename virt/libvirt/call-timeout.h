/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A limit on each call of libvirt's. QEMU's monitor may never answer, nor libvirtd: a call that is
 * overdue has its connection shut down, and then libvirt's client fails every call on it at once.
 *
 * The calls that wait for an answer stand below as macros of the same names, so that whoever makes
 * them need not think of it.
 */
#ifndef NOVASNAP_VIRT_LIMIT_H
#define NOVASNAP_VIRT_LIMIT_H

#include <glib.h>
#include <libvirt/libvirt.h>
#include <stdbool.h>

struct virt_config;

/* Starts and ends the thread that looks after the calls. One at a time in a process: a call knows
 * its connection, and nothing else of ours. */
int limits_start(const struct virt_config *config, GError **error);
void limits_stop(void);

/* virConnectOpen, within libvirt_connect_timeout. */
virConnectPtr limit_open(const char *uri);

enum limit_kind {
	LIMIT_CALL, /* [novasnap]libvirt_call_timeout */
	LIMIT_SAVE, /* [novasnap]save_timeout: a guest's memory is written or read */
};

/* A call under way; on its caller's stack. */
struct limit_call {
	virConnectPtr connection; /* NULL: it is just being opened */
	const char *name;
	unsigned seconds;
	gint64 until; /* monotonic us; 0: it has no limit */
	bool overdue;
	struct limit_call *next;
};
void limit_begin(struct limit_call *call, virConnectPtr connection, enum limit_kind kind,
		 const char *name);
void limit_end(struct limit_call *call);
/* The name of this thread's last call, where its limit ended it; else NULL. */
const char *limit_exceeded(unsigned *ret_seconds);

/* clang-format off */
#define LIMITED(kind, connection, function, ...)                                                   \
	__extension__({                                                                            \
		struct limit_call limit_call_;                                                     \
		limit_begin(&limit_call_, connection, kind, #function);                            \
		__auto_type limit_result_ = function(__VA_ARGS__);                                 \
		limit_end(&limit_call_);                                                           \
		limit_result_;                                                                     \
	})
#define LIMITED_AT(function, connection, ...) \
	LIMITED(LIMIT_CALL, connection, function, connection, ##__VA_ARGS__)
#define LIMITED_OF(function, domain, ...) \
	LIMITED(LIMIT_CALL, virDomainGetConnect(domain), function, domain, ##__VA_ARGS__)
#define LIMITED_SAVE(function, domain, ...) \
	LIMITED(LIMIT_SAVE, virDomainGetConnect(domain), function, domain, ##__VA_ARGS__)

#define virConnectClose(...) LIMITED_AT(virConnectClose, __VA_ARGS__)
#define virConnectDomainEventDeregisterAny(...) LIMITED_AT(virConnectDomainEventDeregisterAny, __VA_ARGS__)
#define virConnectDomainEventRegisterAny(...) LIMITED_AT(virConnectDomainEventRegisterAny, __VA_ARGS__)
#define virConnectGetCapabilities(...) LIMITED_AT(virConnectGetCapabilities, __VA_ARGS__)
#define virConnectGetLibVersion(...) LIMITED_AT(virConnectGetLibVersion, __VA_ARGS__)
#define virConnectGetType(...) LIMITED_AT(virConnectGetType, __VA_ARGS__)
#define virConnectGetVersion(...) LIMITED_AT(virConnectGetVersion, __VA_ARGS__)
#define virConnectListAllDomains(...) LIMITED_AT(virConnectListAllDomains, __VA_ARGS__)
#define virConnectRegisterCloseCallback(...) LIMITED_AT(virConnectRegisterCloseCallback, __VA_ARGS__)
#define virConnectUnregisterCloseCallback(...) LIMITED_AT(virConnectUnregisterCloseCallback, __VA_ARGS__)
#define virDomainAbortJob(...) LIMITED_OF(virDomainAbortJob, __VA_ARGS__)
#define virDomainAgentSetResponseTimeout(...) LIMITED_OF(virDomainAgentSetResponseTimeout, __VA_ARGS__)
#define virDomainBackupBegin(...) LIMITED_OF(virDomainBackupBegin, __VA_ARGS__)
#define virDomainBackupGetXMLDesc(...) LIMITED_OF(virDomainBackupGetXMLDesc, __VA_ARGS__)
#define virDomainBlockCommit(...) LIMITED_OF(virDomainBlockCommit, __VA_ARGS__)
#define virDomainBlockCopy(...) LIMITED_OF(virDomainBlockCopy, __VA_ARGS__)
#define virDomainBlockJobAbort(...) LIMITED_OF(virDomainBlockJobAbort, __VA_ARGS__)
#define virDomainBlockRebase(...) LIMITED_OF(virDomainBlockRebase, __VA_ARGS__)
#define virDomainCreate(...) LIMITED_SAVE(virDomainCreate, __VA_ARGS__)
#define virDomainCreateWithFlags(...) LIMITED_SAVE(virDomainCreateWithFlags, __VA_ARGS__)
#define virDomainDefineXML(...) LIMITED_AT(virDomainDefineXML, __VA_ARGS__)
#define virDomainDestroy(...) LIMITED_OF(virDomainDestroy, __VA_ARGS__)
#define virDomainFSFreeze(...) LIMITED_OF(virDomainFSFreeze, __VA_ARGS__)
#define virDomainFSThaw(...) LIMITED_OF(virDomainFSThaw, __VA_ARGS__)
#define virDomainGetBlockInfo(...) LIMITED_OF(virDomainGetBlockInfo, __VA_ARGS__)
#define virDomainGetBlockJobInfo(...) LIMITED_OF(virDomainGetBlockJobInfo, __VA_ARGS__)
#define virDomainGetJobInfo(...) LIMITED_OF(virDomainGetJobInfo, __VA_ARGS__)
#define virDomainGetState(...) LIMITED_OF(virDomainGetState, __VA_ARGS__)
#define virDomainGetXMLDesc(...) LIMITED_OF(virDomainGetXMLDesc, __VA_ARGS__)
#define virDomainHasManagedSaveImage(...) LIMITED_OF(virDomainHasManagedSaveImage, __VA_ARGS__)
#define virDomainIsActive(...) LIMITED_OF(virDomainIsActive, __VA_ARGS__)
#define virDomainIsPersistent(...) LIMITED_OF(virDomainIsPersistent, __VA_ARGS__)
#define virDomainLookupByName(...) LIMITED_AT(virDomainLookupByName, __VA_ARGS__)
#define virDomainLookupByUUIDString(...) LIMITED_AT(virDomainLookupByUUIDString, __VA_ARGS__)
#define virDomainManagedSave(...) LIMITED_SAVE(virDomainManagedSave, __VA_ARGS__)
#define virDomainManagedSaveRemove(...) LIMITED_OF(virDomainManagedSaveRemove, __VA_ARGS__)
#define virDomainResume(...) LIMITED_OF(virDomainResume, __VA_ARGS__)
#define virDomainSetBlockThreshold(...) LIMITED_OF(virDomainSetBlockThreshold, __VA_ARGS__)
#define virDomainSetTime(...) LIMITED_OF(virDomainSetTime, __VA_ARGS__)
#define virDomainShutdown(...) LIMITED_OF(virDomainShutdown, __VA_ARGS__)
#define virDomainSnapshotCreateXML(...) LIMITED_OF(virDomainSnapshotCreateXML, __VA_ARGS__)
#define virDomainSuspend(...) LIMITED_OF(virDomainSuspend, __VA_ARGS__)
#define virDomainUndefineFlags(...) LIMITED_OF(virDomainUndefineFlags, __VA_ARGS__)
/* clang-format on */

#endif
