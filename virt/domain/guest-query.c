/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Queries about a guest's state.
 */
#include "virt/domain/guest-query.h"

#include <stdlib.h>
#include <string.h>

#include "virt/libvirt/xml.h"

#define IDLE_WAIT_S 600
#define IDLE_POLL_US (G_USEC_PER_SEC / 5)

/* Asks one question: 1 for yes, 0 for no, -1 with libvirt's last error set. */
typedef int (*guest_question)(virDomainPtr domain, void *opaque);

/* Whether the query failed because the connection broke; the error's code shows it. */
static bool is_connection_broken(const struct guest *guest, GError *error)
{
	/* The call's time limit shut the connection down, or QEMU does not answer libvirt: a retry
	 * would take just as long. */
	if (g_error_matches(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT))
		return false;
	if (!guest_is_connected(guest))
		error->code = VIRT_ERROR_DISCONNECTED;
	return g_error_matches(error, VIRT_ERROR, VIRT_ERROR_DISCONNECTED);
}

static enum guest_answer ask_guest(struct guest *guest, guest_question question, void *opaque,
				   const char *what, GError **error)
{
	for (unsigned connections = 1;; connections++) {
		g_autoptr(GError) local = NULL;

		if (guest_connect(guest, &local) == 0) {
			int answer = question(guest->domain, opaque);

			if (answer >= 0)
				return answer ? GUEST_YES : GUEST_NO;
			virt_set_error(&local, what);
		} else if (!guest->connection) {
			/* virt_connect has already retried until its time limit. */
			g_propagate_prefixed_error(error, g_steal_pointer(&local), "%s: ", what);
			return GUEST_UNKNOWN;
		}
		if (g_error_matches(local, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN)) {
			guest_forget_domain(guest);
			return GUEST_NO;
		}
		if (!is_connection_broken(guest, local)) {
			g_propagate_error(error, g_steal_pointer(&local));
			return GUEST_UNKNOWN;
		}
		guest_disconnect(guest);
		if (connections == GUEST_QUERY_CONNECTIONS) {
			g_propagate_error(error, g_steal_pointer(&local));
			return GUEST_UNKNOWN;
		}
		g_info("guest %s: %s; retrying on a new connection", guest->uuid, local->message);
	}
}

static int ask_known(virDomainPtr domain, void *opaque)
{
	(void)domain;
	(void)opaque;
	return 1;
}

enum guest_answer guest_exists(struct guest *guest, GError **error)
{
	guest_forget_domain(guest);
	return ask_guest(guest, ask_known, NULL, "looking for the guest", error);
}

static int ask_active(virDomainPtr domain, void *opaque)
{
	(void)opaque;
	return virDomainIsActive(domain);
}

enum guest_answer guest_is_active(struct guest *guest, GError **error)
{
	return ask_guest(guest, ask_active, NULL, "asking whether the guest runs", error);
}

static int ask_persistent(virDomainPtr domain, void *opaque)
{
	(void)opaque;
	return virDomainIsPersistent(domain);
}

enum guest_answer guest_is_persistent(struct guest *guest, GError **error)
{
	return ask_guest(guest, ask_persistent, NULL, "asking whether the guest is persistent",
			 error);
}

static int ask_managed_save(virDomainPtr domain, void *opaque)
{
	(void)opaque;
	return virDomainHasManagedSaveImage(domain, 0);
}

enum guest_answer guest_has_managed_save(struct guest *guest, GError **error)
{
	return ask_guest(guest, ask_managed_save, NULL, "asking whether the guest is saved", error);
}

static int ask_job(virDomainPtr domain, void *opaque)
{
	virDomainJobInfo job = {0};
	int code;

	(void)opaque;
	if (virDomainGetJobInfo(domain, &job) == 0)
		return job.type != VIR_DOMAIN_JOB_NONE;
	code = virGetLastErrorCode();
	/* The guest is not running, or its driver has no jobs. */
	return code == VIR_ERR_OPERATION_INVALID || code == VIR_ERR_NO_SUPPORT ? 0 : -1;
}

enum guest_answer guest_has_job(struct guest *guest, GError **error)
{
	return ask_guest(guest, ask_job, NULL, "asking for the guest's jobs", error);
}

struct block_job_question {
	const char *target;
	virDomainBlockJobInfo info;
};

static int ask_block_job(virDomainPtr domain, void *opaque)
{
	struct block_job_question *asked = opaque;
	int found;

	memset(&asked->info, 0, sizeof(asked->info));
	found = virDomainGetBlockJobInfo(domain, asked->target, &asked->info, 0);
	return found < 0 && virGetLastErrorCode() == VIR_ERR_OPERATION_INVALID ? 0 : found;
}

enum guest_answer guest_has_block_job(struct guest *guest, const char *target,
				      virDomainBlockJobInfo *ret_info, GError **error)
{
	struct block_job_question asked = {.target = target};
	enum guest_answer answer =
		ask_guest(guest, ask_block_job, &asked, "asking for the disk's block job", error);

	if (ret_info)
		*ret_info = asked.info;
	return answer;
}

/* Whether libvirt's answer can be read. Otherwise it is unknown what it says. */
static bool check_readable(const char *xml, const char *what, GError **error)
{
	if (virt_xml_is_valid(xml))
		return true;
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
		    "%s: novasnap cannot read libvirt's answer, which is too large or no XML",
		    what);
	return false;
}

struct backup_question {
	char *xml;
};

static int ask_backup(virDomainPtr domain, void *opaque)
{
	struct backup_question *asked = opaque;
	int code;

	asked->xml = virDomainBackupGetXMLDesc(domain, 0);
	if (asked->xml)
		return 1;
	code = virGetLastErrorCode();
	/* The guest has no backup, is not running, or its driver has no backups. */
	return code == VIR_ERR_NO_DOMAIN_BACKUP || code == VIR_ERR_OPERATION_INVALID ||
			       code == VIR_ERR_NO_SUPPORT
		       ? 0
		       : -1;
}

enum guest_answer guest_has_backup(struct guest *guest, char **ret_place, GError **error)
{
	static const char what[] = "asking for the guest's backup job";
	static const char where[] = "/domainbackup/server/@socket | /domainbackup/server/@name | "
				    "/domainbackup/disks/disk/target/@file";
	struct backup_question asked = {0};
	enum guest_answer answer = ask_guest(guest, ask_backup, &asked, what, error);

	*ret_place = NULL;
	if (answer == GUEST_YES && !check_readable(asked.xml, what, error))
		answer = GUEST_UNKNOWN;
	if (answer == GUEST_YES)
		*ret_place = virt_xml_text(asked.xml, where);
	if (answer == GUEST_YES && !*ret_place)
		*ret_place = g_strdup("");
	free(asked.xml);
	return answer;
}

static int refuse_unknown_guest(const struct guest *guest, GError **error)
{
	g_set_error(error, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN, "no domain with uuid %s", guest->uuid);
	return -1;
}

struct state_question {
	int state;
	int reason;
};

static int ask_state(virDomainPtr domain, void *opaque)
{
	struct state_question *asked = opaque;

	return virDomainGetState(domain, &asked->state, &asked->reason, 0) < 0 ? -1 : 1;
}

int guest_state(struct guest *guest, int *ret_reason, GError **error)
{
	struct state_question asked = {0};
	enum guest_answer answer =
		ask_guest(guest, ask_state, &asked, "asking for the guest's state", error);

	if (ret_reason)
		*ret_reason = asked.reason;
	if (answer == GUEST_NO)
		return refuse_unknown_guest(guest, error);
	return answer == GUEST_YES ? asked.state : -1;
}

bool guest_state_is_active(int state)
{
	return state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_BLOCKED ||
	       state == VIR_DOMAIN_PAUSED || state == VIR_DOMAIN_PMSUSPENDED;
}

struct xml_question {
	unsigned flags;
	char *xml;
};

static int ask_xml(virDomainPtr domain, void *opaque)
{
	struct xml_question *asked = opaque;

	asked->xml = virDomainGetXMLDesc(domain, asked->flags);
	return asked->xml ? 1 : -1;
}

/* *ret_xml: with GUEST_YES, the definition, which the caller frees with free(); else NULL. */
static enum guest_answer read_xml(struct guest *guest, unsigned flags, char **ret_xml,
				  GError **error)
{
	static const char what[] = "reading the guest's definition";
	struct xml_question asked = {.flags = flags};
	enum guest_answer answer = ask_guest(guest, ask_xml, &asked, what, error);

	if (answer == GUEST_YES && !check_readable(asked.xml, what, error)) {
		g_clear_pointer(&asked.xml, free);
		answer = GUEST_UNKNOWN;
	}
	*ret_xml = asked.xml;
	return answer;
}

char *guest_xml(struct guest *guest, unsigned flags, GError **error)
{
	char *xml;

	if (read_xml(guest, flags, &xml, error) == GUEST_NO)
		(void)refuse_unknown_guest(guest, error);
	return xml;
}

enum guest_answer guest_has_mirror_file(struct guest *guest, const char *target, char **ret_path,
					GError **error)
{
	char *xml;
	enum guest_answer answer = read_xml(guest, 0, &xml, error);
	g_autofree char *where = g_strdup_printf(
		"/domain/devices/disk[target/@dev='%s']/mirror/source/@file", target);

	*ret_path = xml ? virt_xml_text(xml, where) : NULL;
	free(xml);
	return answer == GUEST_YES && !*ret_path ? GUEST_NO : answer;
}

enum guest_answer guest_has_copy_into(struct guest *guest, const char *target, const char *path,
				      GError **error)
{
	g_autofree char *mirror = NULL;
	enum guest_answer answer = guest_has_mirror_file(guest, target, &mirror, error);

	return answer == GUEST_YES && g_strcmp0(mirror, path) != 0 ? GUEST_NO : answer;
}

struct size_question {
	const char *target;
	virDomainBlockInfo info;
	bool any_answer; /* also true if the answer was a refusal */
};

static int ask_size(virDomainPtr domain, void *opaque)
{
	struct size_question *asked = opaque;
	g_autoptr(GError) refused = NULL;

	if (virDomainGetBlockInfo(domain, asked->target, &asked->info, 0) == 0)
		return 1;
	if (!asked->any_answer)
		return -1;
	virt_set_error(&refused, "asking for the disk's size");
	return g_error_matches(refused, VIRT_ERROR, VIRT_ERROR_TIMEOUT) ||
			       g_error_matches(refused, VIRT_ERROR, VIRT_ERROR_DISCONNECTED)
		       ? -1
		       : 0;
}

int guest_disk_size(struct guest *guest, const char *target, uint64_t *ret_bytes, GError **error)
{
	struct size_question asked = {.target = target};
	enum guest_answer answer =
		ask_guest(guest, ask_size, &asked, "asking for the disk's size", error);

	*ret_bytes = asked.info.capacity;
	if (answer == GUEST_NO)
		return refuse_unknown_guest(guest, error);
	return answer == GUEST_YES ? 0 : -1;
}

int guest_wait_changes(struct guest *guest, const char *target, GError **error)
{
	struct size_question asked = {.target = target, .any_answer = true};

	return ask_guest(guest, ask_size, &asked,
			 "waiting for changes that libvirt is still making", error) == GUEST_UNKNOWN
		       ? -1
		       : 0;
}

int guest_wait_idle(struct guest *guest, GError **error)
{
	gint64 until = g_get_monotonic_time() + IDLE_WAIT_S * G_USEC_PER_SEC;
	enum guest_answer busy;

	for (;;) {
		busy = guest_is_active(guest, error);
		if (busy == GUEST_YES)
			busy = guest_has_job(guest, error);
		if (busy != GUEST_YES)
			return busy == GUEST_NO ? 0 : -1;
		if (g_get_monotonic_time() > until) {
			g_set_error(error, VIRT_ERROR, VIRT_ERROR_TIMEOUT,
				    "a job of the guest is still running after %d s", IDLE_WAIT_S);
			return -1;
		}
		g_usleep(IDLE_POLL_US);
	}
}
