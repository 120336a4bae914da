/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest of libvirt's test driver that has a disk and runs, and a snapshot of it.
 */
#ifndef NOVASNAP_TESTS_UNIT_SNAPSHOT_FIXTURE_H
#define NOVASNAP_TESTS_UNIT_SNAPSHOT_FIXTURE_H

#include <unistd.h>

#include "tests/unit/host.h"
#include "virt/method/method.h"

#define FIXTURE_UUID "6695eb01-f6a4-8304-79aa-97f2502e1931"
#define FIXTURE_DISK_BYTES (1 << 20)
#define FIXTURE_DOMAIN                                                                             \
	"<domain type='test'><name>g</name><uuid>" FIXTURE_UUID "</uuid><memory>1024</memory>"     \
	"<os><type>hvm</type></os><devices>%s<disk type='file' device='disk'>"                     \
	"<driver name='qemu' type='raw'/><source file='%s'/><target dev='vda'/></disk></devices>"  \
	"</domain>"

struct fixture {
	struct host host;
	char *disk;	/* its file, raw */
	GString *steps; /* see host_step_begin; "save." when a step ends, if note_ends */
	bool note_ends;
	struct snapshot_steps callbacks;
	struct snapshot *snapshot; /* NULL: none was begun */
};

static inline int fixture_step_begin(void *opaque, const char *step, const char *undo,
				     GError **error)
{
	return host_step_begin(((struct fixture *)opaque)->steps, step, undo, error);
}

static inline int fixture_step_end(void *opaque, const char *step, GError **error)
{
	struct fixture *fixture = opaque;

	(void)error;
	if (fixture->note_ends)
		g_string_append_printf(fixture->steps, "%s. ", step);
	return 0;
}

static inline void fixture_step_clear(void *opaque, const char *step)
{
	host_step_clear(((struct fixture *)opaque)->steps, step);
}

/* With further devices in the domain's XML; "": none. */
static inline void fixture_open(struct fixture *fixture, const char *devices)
{
	g_autofree char *xml = NULL;

	host_open(&fixture->host);
	fixture->disk = g_build_filename(fixture->host.tmp, "disk", NULL);
	g_assert_true(g_file_set_contents(fixture->disk, "", 0, NULL));
	g_assert_cmpint(truncate(fixture->disk, FIXTURE_DISK_BYTES), ==, 0);
	xml = g_strdup_printf(FIXTURE_DOMAIN, devices, fixture->disk);
	(void)virDomainFree(fixture->host.domain);
	fixture->host.domain = virDomainDefineXML(fixture->host.connection, xml);
	g_assert_nonnull(fixture->host.domain);
	g_assert_cmpint(virDomainCreate(fixture->host.domain), ==, 0);
	fixture->steps = g_string_new(NULL);
	fixture->callbacks = (struct snapshot_steps){fixture_step_begin, fixture_step_end,
						     fixture_step_clear, fixture};
}

/* Begins a snapshot, whose method must be that one; ends the one before. */
static inline void fixture_begin(struct fixture *fixture, const char *method)
{
	const struct snapshot_request request = {.uuid = FIXTURE_UUID,
						 .steps = &fixture->callbacks};
	g_autoptr(GError) error = NULL;

	if (fixture->snapshot)
		g_assert_cmpint(snapshot_end(fixture->snapshot, NULL), ==, 0);
	fixture->snapshot = snapshot_new(fixture->host.virt, &request, &error);
	g_assert_no_error(error);
	g_assert_cmpstr(snapshot_method(fixture->snapshot), ==, method);
}

/* Takes the snapshot into a finished image: FIXTURE_DONE, or the code of the error, whose message
 * must have the words. */
static inline int fixture_take(struct fixture *fixture, const char *words)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(image_source_t) image = snapshot_take(fixture->snapshot, &error);

	if (image) {
		g_assert_no_error(error);
		g_assert_false(snapshot_gives_disk(fixture->snapshot));
		return -1;
	}
	host_assert_message(error, words);
	return error->code;
}
#define FIXTURE_DONE (-1)

static inline void fixture_close(struct fixture *fixture)
{
	if (fixture->snapshot)
		g_assert_cmpint(snapshot_end(fixture->snapshot, NULL), ==, 0);
	(void)virDomainDestroy(fixture->host.domain);
	(void)virDomainManagedSaveRemove(fixture->host.domain, 0);
	(void)virDomainUndefine(fixture->host.domain);
	(void)g_unlink(fixture->disk);
	host_close(&fixture->host);
	g_string_free(fixture->steps, TRUE);
	g_free(fixture->disk);
}

#endif
