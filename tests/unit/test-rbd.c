/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The snapshot and the direct copy of a disk in Ceph: what is done in which order, and what is left
 * after a failure. The guest is one of libvirt's test driver; Ceph is replaced by a list of what it
 * is asked to do. tests/integration/test-rbd-snapshot.py uses a real Ceph.
 */
#include "tests/unit/snapshot-fixture.h"
#include "virt/rbd-location.h"
#include "virt/rbd.h"
#include "virt/rollback.h"

#define FSID "3f1c1f0e-7d5c-4a36-8f0e-0d1f6b1c2d3e"
#define IMAGE_ID "1b2a3c4d-0000-4000-8000-000000000001"
#define COPY_URL "rbd://" FSID "/images/" IMAGE_ID "/snap"
#define RBD_DISK                                                                                   \
	"<disk type='network' device='disk'><driver name='qemu' type='raw'/>"                      \
	"<source protocol='rbd' name='vms/i_disk'/><target dev='hda' bus='ide'/></disk>"

static struct {
	GString *asked;	      /* what Ceph was asked for, of what changes something */
	const char *failing;  /* the word in `asked` of what fails; NULL: nothing */
	int code;	      /* enum image_rbd_error of the failure */
	unsigned fail_times;  /* how often it fails; 0: always */
	const char *parent;   /* pool of the disk's parent; NULL: none */
	bool copy_exists;     /* before it was made */
	bool snap_is_missing; /* the snapshot of the disk is not there */
	bool frozen;
	unsigned open;	  /* children that are running */
	const char *conf; /* of the last one */
} ceph;

static struct image_rbd {
	int unused;
} the_rbd;

/* Notes a change; fails if the test wants it. */
static int ask(const char *what, const char *image, GError **error)
{
	g_string_append_printf(ceph.asked, "%s(%s) ", what, image);
	if (g_strcmp0(ceph.failing, what) != 0)
		return 0;
	if (ceph.fail_times > 0 && --ceph.fail_times == 0)
		ceph.failing = NULL;
	g_set_error(error, IMAGE_RBD_ERROR, ceph.code, "made up");
	return -1;
}

__typeof__(image_rbd_open) __wrap_image_rbd_open;
__typeof__(image_rbd_close) __wrap_image_rbd_close;
__typeof__(image_rbd_fsid) __wrap_image_rbd_fsid;
__typeof__(image_rbd_info_read) __wrap_image_rbd_info_read;
__typeof__(image_rbd_info_clear) __wrap_image_rbd_info_clear;
__typeof__(image_rbd_snap_create) __wrap_image_rbd_snap_create;
__typeof__(image_rbd_snap_protect) __wrap_image_rbd_snap_protect;
__typeof__(image_rbd_snap_remove) __wrap_image_rbd_snap_remove;
__typeof__(image_rbd_clone) __wrap_image_rbd_clone;
__typeof__(image_rbd_flatten) __wrap_image_rbd_flatten;
__typeof__(image_rbd_remove_copy) __wrap_image_rbd_remove_copy;
__typeof__(image_source_new_rbd) __wrap_image_source_new_rbd;
int __wrap_quiesce_begin(struct snapshot *snapshot, GError **error);
int __wrap_quiesce_end(struct snapshot *snapshot, GError **error);

struct image_rbd *__wrap_image_rbd_open(const struct image_rbd_cluster *cluster,
					const atomic_int *cancel, GError **error)
{
	(void)cancel;
	g_assert_cmpstr(cluster->program, ==, "/x/novasnap-rbd");
	ceph.conf = g_intern_string(cluster->conf);
	if (g_strcmp0(ceph.failing, "open") == 0) {
		g_set_error(error, IMAGE_RBD_ERROR, ceph.code, "made up");
		return NULL;
	}
	ceph.open++;
	return &the_rbd;
}

void __wrap_image_rbd_close(struct image_rbd *rbd)
{
	if (rbd)
		ceph.open--;
}

const char *__wrap_image_rbd_fsid(const struct image_rbd *rbd)
{
	(void)rbd;
	return FSID;
}

int __wrap_image_rbd_info_read(struct image_rbd *rbd, const char *pool, const char *image,
			       const char *snap, struct image_rbd_info *ret_info, GError **error)
{
	bool is_disk = g_str_equal(pool, "vms");

	(void)rbd;
	*ret_info = (struct image_rbd_info){.size = 1 << 20};
	if (snap ? ceph.snap_is_missing : !is_disk && !ceph.copy_exists) {
		g_set_error(error, IMAGE_RBD_ERROR, IMAGE_RBD_ERROR_NOT_FOUND, "no %s", image);
		return -1;
	}
	if (is_disk)
		ret_info->parent_pool = g_strdup(ceph.parent);
	return 0;
}

void __wrap_image_rbd_info_clear(struct image_rbd_info *info)
{
	g_clear_pointer(&info->parent_pool, g_free);
}

int __wrap_image_rbd_snap_create(struct image_rbd *rbd, const char *pool, const char *image,
				 const char *snap, GError **error)
{
	bool is_ours = g_str_has_prefix(snap, IMAGE_RBD_SNAP_PREFIX);

	(void)rbd;
	(void)image;
	g_assert_cmpstr(pool, ==, is_ours ? "vms" : "images");
	return ask(is_ours ? "snap" : "share", pool, error);
}

int __wrap_image_rbd_snap_protect(struct image_rbd *rbd, const char *pool, const char *image,
				  const char *snap, GError **error)
{
	(void)rbd;
	(void)image;
	(void)snap;
	return ask("protect", pool, error);
}

int __wrap_image_rbd_snap_remove(struct image_rbd *rbd, const char *pool, const char *image,
				 const char *snap, GError **error)
{
	(void)rbd;
	g_assert_cmpstr(image, ==, "i_disk");
	g_assert_true(g_str_has_prefix(snap, IMAGE_RBD_SNAP_PREFIX));
	return ask("unsnap", pool, error);
}

int __wrap_image_rbd_clone(struct image_rbd *rbd, const char *pool, const char *image,
			   const char *snap, const char *to_pool, const char *to_image,
			   GError **error)
{
	(void)rbd;
	(void)snap;
	g_assert_cmpstr(pool, ==, "vms");
	g_assert_cmpstr(image, ==, "i_disk");
	g_assert_cmpstr(to_image, ==, IMAGE_ID);
	return ask("clone", to_pool, error);
}

int __wrap_image_rbd_flatten(struct image_rbd *rbd, const char *pool, const char *image,
			     bool by_manager, image_rbd_progress_fn progress, void *opaque,
			     GError **error)
{
	(void)rbd;
	(void)pool;
	(void)image;
	if (progress)
		progress(opaque, 1, 2);
	return ask(by_manager ? "mgr-flatten" : "flatten", pool, error);
}

int __wrap_image_rbd_remove_copy(struct image_rbd *rbd, const char *pool, const char *image,
				 GError **error)
{
	(void)rbd;
	g_assert_cmpstr(image, ==, IMAGE_ID);
	return ask("remove", pool, error);
}

static void free_source(struct image_source *source)
{
	g_free(source);
}

struct image_source *__wrap_image_source_new_rbd(const struct image_rbd_cluster *cluster,
						 const atomic_int *cancel, const char *pool,
						 const char *image, const char *snap,
						 GError **error)
{
	static const struct image_source_ops ops = {.free = free_source};
	struct image_source *source;

	(void)cluster;
	(void)cancel;
	(void)image;
	g_assert_true(g_str_has_prefix(snap, IMAGE_RBD_SNAP_PREFIX));
	if (ask("read", pool, error) < 0)
		return NULL;
	source = g_new0(struct image_source, 1);
	source->ops = &ops;
	return source;
}

int __wrap_quiesce_begin(struct snapshot *snapshot, GError **error)
{
	(void)snapshot;
	ceph.frozen = true;
	return ask("freeze", "guest", error);
}

int __wrap_quiesce_end(struct snapshot *snapshot, GError **error)
{
	(void)snapshot;
	if (!ceph.frozen)
		return 0;
	ceph.frozen = false;
	return ask("thaw", "guest", error);
}

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	memset(&ceph, 0, sizeof(ceph));
	ceph.asked = g_string_new(NULL);
	ceph.code = IMAGE_RBD_ERROR_FAILED;
	ceph.parent = "images";
	fixture_open(fixture, RBD_DISK);
	fixture->host.config.rbd_program = "/x/novasnap-rbd";
	fixture->host.config.rbd_conf = "/x/ceph.conf";
	fixture_begin(fixture, "stream");
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	fixture_close(fixture);
	g_assert_cmpuint(ceph.open, ==, 0);
	g_string_free(ceph.asked, TRUE);
}

/* What Ceph and the agent were asked for since the last time. */
static void expect_asked(const char *words)
{
	g_assert_cmpstr(ceph.asked->str, ==, words);
	g_string_truncate(ceph.asked, 0);
}

static void end_snapshot(struct fixture *fixture, int rc)
{
	g_assert_cmpint(snapshot_end(g_steal_pointer(&fixture->snapshot), NULL), ==, rc);
}

static void take(struct fixture *fixture)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(image_source_t) source = snapshot_take(fixture->snapshot, &error);

	g_assert_no_error(error);
	g_assert_nonnull(source);
	g_assert_true(snapshot_gives_disk(fixture->snapshot));
	g_assert_cmpint(snapshot_verify_end(fixture->snapshot, NULL), ==, 0);
}

static void test_stream(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(snapshot_prepare(fixture->snapshot, NULL), ==, 0);
	take(fixture);
	expect_asked("freeze(guest) snap(vms) thaw(guest) read(vms) ");
	end_snapshot(fixture, 0);
	expect_asked("unsnap(vms) ");
	g_assert_cmpstr(fixture->steps->str, ==, "rbd-snap rbd-unsnap -rbd-snap ");
	g_assert_cmpint(host_state(&fixture->host), ==, VIR_DOMAIN_RUNNING);
}

/* Nobody is frozen who does not write. */
static void test_stream_of_stopped_guest(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	g_assert_cmpint(virDomainDestroy(fixture->host.domain), ==, 0);
	take(fixture);
	expect_asked("snap(vms) read(vms) ");
}

static void expect_failure(struct fixture *fixture, const char *failing, int code, int virt_code)
{
	g_autoptr(GError) error = NULL;

	ceph.failing = failing;
	ceph.code = code;
	g_assert_null(snapshot_take(fixture->snapshot, &error));
	g_assert_error(error, VIRT_ERROR, virt_code);
	host_assert_message(error, "made up");
	ceph.failing = NULL;
}

/* The guest is thawed, and the snapshot removed, whatever fails. */
static void test_stream_fails(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;

	(void)unused;
	expect_failure(fixture, "open", IMAGE_RBD_ERROR_NO_PROGRAM, VIRT_ERROR_CONFIG);
	expect_asked("");
	expect_failure(fixture, "snap", IMAGE_RBD_ERROR_DENIED, VIRT_ERROR_CONFIG);
	expect_asked("freeze(guest) snap(vms) thaw(guest) unsnap(vms) ");
	expect_failure(fixture, "snap", IMAGE_RBD_ERROR_TIMEOUT, VIRT_ERROR_TIMEOUT);
	expect_asked("freeze(guest) snap(vms) thaw(guest) unsnap(vms) ");
	expect_failure(fixture, "read", IMAGE_RBD_ERROR_CANCELLED, VIRT_ERROR_CANCELLED);
	expect_asked("freeze(guest) snap(vms) thaw(guest) read(vms) unsnap(vms) ");
	ceph.snap_is_missing = true;
	g_assert_null(snapshot_take(fixture->snapshot, &error));
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_FAILED);
	host_assert_message(error, "may be full, or over its quota");
	expect_asked("freeze(guest) snap(vms) thaw(guest) snap(vms) unsnap(vms) ");
}

static int roll_back(struct fixture *fixture, const char *undo, GError **error)
{
	return virt_guest_rollback_step(fixture->host.virt, FIXTURE_UUID, "rbd-snap", undo, error);
}

/* A snapshot that cannot be removed stays in the journal, with what is needed to remove it later.
 * The configuration may have changed since. */
static void test_rollback(struct fixture *fixture, gconstpointer unused)
{
	static const char undo[] =
		"{\"pool\":\"vms\",\"image\":\"i_disk\",\"snap\":\"novasnap-1\","
		"\"conf\":\"/old.conf\",\"user\":\"nova\",\"fsid\":\"" FSID "\"}";
	static const char other_cluster[] =
		"{\"pool\":\"vms\",\"image\":\"i_disk\",\"snap\":\"novasnap-1\",\"fsid\":\"x\"}";
	static const char foreign[] = "{\"pool\":\"vms\",\"image\":\"i_disk\",\"snap\":\"nova\"}";
	g_autoptr(GError) error = NULL;

	(void)unused;
	g_assert_cmpint(roll_back(fixture, undo, &error), ==, 0);
	g_assert_no_error(error);
	expect_asked("unsnap(vms) ");
	g_assert_cmpstr(ceph.conf, ==, "/old.conf");
	g_assert_cmpuint(host_sleep_count, ==, 0);
	/* QEMU may still create it: that is waited for. */
	ceph.snap_is_missing = true;
	g_assert_cmpint(roll_back(fixture, undo, NULL), ==, 0);
	expect_asked("snap(vms) unsnap(vms) ");
	g_assert_cmpuint(host_sleep_count, ==, 1);
	ceph.failing = "snap";
	ceph.code = IMAGE_RBD_ERROR_TIMEOUT;
	g_assert_cmpint(roll_back(fixture, undo, NULL), ==, -1);
	expect_asked("snap(vms) ");
	ceph.code = IMAGE_RBD_ERROR_DENIED;
	g_assert_cmpint(roll_back(fixture, undo, NULL), ==, 0);
	expect_asked("snap(vms) unsnap(vms) ");
	/* Who may not remove it has made none. */
	ceph.failing = "unsnap";
	ceph.code = IMAGE_RBD_ERROR_DENIED;
	g_assert_cmpint(roll_back(fixture, undo, NULL), ==, 0);
	ceph.snap_is_missing = false;
	g_assert_cmpint(roll_back(fixture, undo, NULL), ==, -1);
	expect_asked("snap(vms) unsnap(vms) unsnap(vms) ");
	ceph.failing = NULL;
	g_assert_cmpint(roll_back(fixture, foreign, &error), ==, -1);
	g_clear_error(&error);
	g_assert_cmpint(roll_back(fixture, other_cluster, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_CONFIG);
	expect_asked("");
	ceph.failing = "unsnap";
	ceph.code = IMAGE_RBD_ERROR_BUSY;
	g_clear_error(&error);
	g_assert_cmpint(roll_back(fixture, undo, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_BUSY);
	ceph.failing = NULL;
	g_assert_false(rollback_asks_libvirt("rbd-snap"));
}

static int begin_copy(void *opaque, const char *location, uint64_t size, GError **error)
{
	(void)opaque;
	g_assert_cmpuint(size, ==, 1 << 20);
	g_assert_true(g_str_has_prefix(location, "rbd://" FSID "/"));
	g_assert_true(g_str_has_suffix(location, "/" IMAGE_ID "/snap"));
	return ask("begin", "copy", error);
}

static void count_progress(void *opaque, uint64_t done, uint64_t total)
{
	g_assert_cmpuint(done, ==, 1);
	g_assert_cmpuint(total, ==, 2);
	++*(unsigned *)opaque;
}

static char *copy_direct(struct fixture *fixture, const char *const *locations, bool *ret_possible,
			 GError **error)
{
	unsigned reports = 0;
	const struct snapshot_direct direct = {.image_id = IMAGE_ID,
					       .base_locations = locations,
					       .progress = count_progress,
					       .begin_copy = begin_copy,
					       .opaque = &reports};
	bool not_possible = true;
	char *url;

	g_assert_true(snapshot_can_be_direct(fixture->snapshot));
	url = snapshot_copy_direct(fixture->snapshot, &direct, &not_possible, error);
	g_assert_true(!url || reports > 0);
	g_assert_false(url && not_possible);
	*ret_possible = !not_possible;
	return url;
}

static void test_direct(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *url = NULL;
	bool possible;

	(void)unused;
	url = copy_direct(fixture, NULL, &possible, &error);
	g_assert_no_error(error);
	g_assert_cmpstr(url, ==, COPY_URL);
	expect_asked("freeze(guest) snap(vms) thaw(guest) begin(copy) clone(images) "
		     "flatten(images) unsnap(vms) share(images) protect(images) ");
	end_snapshot(fixture, 0);
	/* The copy is left. */
	expect_asked("");
}

/* A disk that has no parent any more: the base image tells the pool. */
static void test_direct_pool(struct fixture *fixture, gconstpointer unused)
{
	const char *elsewhere[] = {"file:///var/lib/glance/images/x", "rbd://other/images/x/snap",
				   "rbd://" FSID "/images/x", NULL};
	const char *here[] = {"rbd://other/wrong/x/snap", "rbd://" FSID "/images/x/snap", NULL};
	g_autoptr(GError) error = NULL;
	g_autofree char *url = NULL;
	bool possible;

	(void)unused;
	ceph.parent = NULL;
	g_assert_null(copy_direct(fixture, elsewhere, &possible, &error));
	g_assert_false(possible);
	host_assert_message(error, "the pool of Glance's images is unknown");
	g_clear_error(&error);
	g_assert_null(copy_direct(fixture, NULL, &possible, &error));
	g_assert_false(possible);
	/* No snapshot was made. */
	expect_asked("");
	url = copy_direct(fixture, here, &possible, NULL);
	g_assert_cmpstr(url, ==, COPY_URL);
}

static void expect_direct_failure(struct fixture *fixture, const char *failing, int code,
				  bool is_possible, int virt_code)
{
	g_autoptr(GError) error = NULL;
	bool possible;

	ceph.failing = failing;
	ceph.code = code;
	g_assert_null(copy_direct(fixture, NULL, &possible, &error));
	g_assert_error(error, VIRT_ERROR, virt_code);
	g_assert_cmpint(possible, ==, is_possible);
	ceph.failing = NULL;
}

/* The right to write to Glance's pool is missing: the stream takes the snapshot, another one. */
static void test_direct_denied(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	expect_direct_failure(fixture, "clone", IMAGE_RBD_ERROR_DENIED, false, VIRT_ERROR_CONFIG);
	expect_asked("freeze(guest) snap(vms) thaw(guest) begin(copy) clone(images) ");
	take(fixture);
	expect_asked("unsnap(vms) freeze(guest) snap(vms) thaw(guest) read(vms) ");
	end_snapshot(fixture, 0);
	expect_asked("unsnap(vms) ");
}

/* All else fails the snapshot. The disk's snapshot goes when it ends, after the copy. */
static void test_direct_fails(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	expect_direct_failure(fixture, "clone", IMAGE_RBD_ERROR_NOT_FOUND, true, VIRT_ERROR_FAILED);
	end_snapshot(fixture, 0);
	expect_asked("freeze(guest) snap(vms) thaw(guest) begin(copy) clone(images) unsnap(vms) ");
	fixture_begin(fixture, "stream");
	expect_direct_failure(fixture, "flatten", IMAGE_RBD_ERROR_FULL, true, VIRT_ERROR_FAILED);
	end_snapshot(fixture, 0);
	expect_asked("freeze(guest) snap(vms) thaw(guest) begin(copy) clone(images) "
		     "flatten(images) unsnap(vms) ");
	fixture_begin(fixture, "stream");
	expect_direct_failure(fixture, "share", IMAGE_RBD_ERROR_TIMEOUT, true, VIRT_ERROR_TIMEOUT);
	expect_asked("freeze(guest) snap(vms) thaw(guest) begin(copy) clone(images) "
		     "flatten(images) unsnap(vms) share(images) ");
	end_snapshot(fixture, 0);
	expect_asked("");
	/* What was there before is not taken for a copy. */
	ceph.copy_exists = true;
	fixture_begin(fixture, "stream");
	expect_direct_failure(fixture, NULL, 0, true, VIRT_ERROR_FAILED);
	expect_asked("");
}

static void test_direct_by_manager(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *url = NULL;
	bool possible;

	(void)unused;
	fixture->host.config.rbd_flatten_by_manager = true;
	ceph.failing = "mgr-flatten";
	ceph.code = IMAGE_RBD_ERROR_DENIED;
	g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*cannot flatten*made up*");
	url = copy_direct(fixture, NULL, &possible, NULL);
	g_assert_cmpstr(url, ==, COPY_URL);
	expect_asked("freeze(guest) snap(vms) thaw(guest) begin(copy) clone(images) "
		     "mgr-flatten(images) flatten(images) unsnap(vms) share(images) "
		     "protect(images) ");
	g_test_assert_expected_messages();
}

/* A snapshot of the disk that cannot be removed now does not spoil a whole copy. */
static void test_direct_snap_stays(struct fixture *fixture, gconstpointer unused)
{
	g_autofree char *url = NULL;
	bool possible;

	(void)unused;
	ceph.failing = "unsnap";
	ceph.code = IMAGE_RBD_ERROR_TIMEOUT;
	g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*rolling back rbd-snap*made up*");
	url = copy_direct(fixture, NULL, &possible, NULL);
	g_assert_cmpstr(url, ==, COPY_URL);
	g_test_assert_expected_messages();
	g_assert_null(strstr(fixture->steps->str, "-rbd-snap"));
	g_assert_nonnull(strstr(ceph.asked->str, "protect(images)"));
}

static void test_remove_copy(struct fixture *fixture, gconstpointer unused)
{
	struct virt_host *host = fixture->host.virt;
	g_autoptr(GError) error = NULL;

	(void)unused;
	g_assert_cmpint(virt_direct_copy_remove(host, COPY_URL, NULL), ==, 0);
	expect_asked("remove(images) ");
	g_assert_cmpint(
		virt_direct_copy_remove(host, "rbd://other/images/" IMAGE_ID "/snap", &error), ==,
		-1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_CONFIG);
	g_clear_error(&error);
	g_assert_cmpint(virt_direct_copy_remove(host, "file:///x", &error), ==, -1);
	expect_asked("");
	g_clear_error(&error);
	/* Who may not write made no copy; if there is one, it stays. */
	ceph.failing = "remove";
	ceph.code = IMAGE_RBD_ERROR_DENIED;
	g_assert_cmpint(virt_direct_copy_remove(host, COPY_URL, NULL), ==, 0);
	ceph.copy_exists = true;
	g_assert_cmpint(virt_direct_copy_remove(host, COPY_URL, &error), ==, -1);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_CONFIG);
	/* Another program's image stays. */
	ceph.code = IMAGE_RBD_ERROR_EXISTS;
	g_test_expect_message("virt", G_LOG_LEVEL_WARNING, "*another program*");
	g_assert_cmpint(virt_direct_copy_remove(host, COPY_URL, NULL), ==, 0);
	g_test_assert_expected_messages();
	ceph.failing = NULL;
}

static void test_deleted(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(image_source_t) source = snapshot_take(fixture->snapshot, NULL);
	gint64 until = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

	(void)unused;
	g_assert_nonnull(source);
	g_assert_cmpint(virDomainDestroy(fixture->host.domain), ==, 0);
	g_assert_cmpint(snapshot_verify_instant(fixture->snapshot, NULL), ==, 0);
	g_assert_cmpint(virDomainUndefine(fixture->host.domain), ==, 0);
	host_real_sleep = true;
	while (snapshot_verify_instant(fixture->snapshot, &error) == 0 &&
	       g_get_monotonic_time() < until)
		g_usleep(10000);
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN);
	g_string_truncate(ceph.asked, 0);
	image_source_free(g_steal_pointer(&source));
	end_snapshot(fixture, 0);
	expect_asked("unsnap(vms) ");
}

/* As nova.storage.rbd_utils.RBDDriver.parse_url. */
static void test_locations(void)
{
	static const char *const refused[] = {
		"",
		"rbd:",
		"rbd://",
		"rbd://f/p/i",
		"rbd://f/p/i/s/t",
		"rbd://f//i/s",
		"rbd://f/p/i/",
		"http://f/p/i/s",
		"RBD://f/p/i/s",
		"rbd://f/p/%zz/s",
		"rbd://f/p/%00/s",
		"rbd://image",
	};
	struct rbd_location location;
	g_autofree char *url = rbd_location_format("f", "a pool/é", "i%m", "s-._~");

	g_assert_cmpstr(url, ==, "rbd://f/a%20pool%2F%C3%A9/i%25m/s-._~");
	g_assert_true(rbd_location_parse(url, &location));
	g_assert_cmpstr(location.fsid, ==, "f");
	g_assert_cmpstr(location.pool, ==, "a pool/é");
	g_assert_cmpstr(location.image, ==, "i%m");
	g_assert_cmpstr(location.snap, ==, "s-._~");
	rbd_location_clear(&location);
	for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
		if (rbd_location_parse(refused[i], &location))
			g_error("%s is a location", refused[i]);
		rbd_location_clear(&location);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(struct fixture *fixture, gconstpointer unused);
	} tests[] = {
		{"/rbd/stream", test_stream},
		{"/rbd/stream-of-stopped-guest", test_stream_of_stopped_guest},
		{"/rbd/stream-fails", test_stream_fails},
		{"/rbd/rollback", test_rollback},
		{"/rbd/direct", test_direct},
		{"/rbd/direct-pool", test_direct_pool},
		{"/rbd/direct-denied", test_direct_denied},
		{"/rbd/direct-fails", test_direct_fails},
		{"/rbd/direct-by-manager", test_direct_by_manager},
		{"/rbd/direct-snap-stays", test_direct_snap_stays},
		{"/rbd/remove-copy", test_remove_copy},
		{"/rbd/deleted", test_deleted},
	};

	g_test_init(&argc, &argv, NULL);
	for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
		g_test_add(tests[i].name, struct fixture, NULL, set_up, tests[i].run, tear_down);
	g_test_add_func("/rbd/locations", test_locations);
	return g_test_run();
}
