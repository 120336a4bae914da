/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The choice of the snapshot method and the image's format.
 */
#include <string.h>

#include "virt/method/table.h"

#define DOMAIN(disks) "<domain><devices>" disks "</devices></domain>"
#define FILE_DISK(path, format)                                                                    \
	DOMAIN("<disk type='file' device='disk'><driver type='" format "'/><source file='" path    \
	       "'/><target dev='vda'/></disk>")
#define BLOCK_DISK                                                                                 \
	DOMAIN("<disk type='block' device='disk'><driver type='raw'/><source dev='/dev/vg/i_disk'" \
	       "/><target dev='vda'/></disk>")
#define RBD_DISK                                                                                   \
	DOMAIN("<disk type='network' device='disk'><driver type='raw'/><source protocol='rbd' "    \
	       "name='vms/i_disk'/><target dev='vda'/></disk>")
#define CONTAINER                                                                                  \
	"<domain type='lxc'><devices><filesystem type='mount'><source dir='/i/uuid/rootfs'/>"      \
	"<target dir='/'/></filesystem></devices></domain>"

static void test_find(void)
{
	g_autoptr(GError) error = NULL;

	g_assert_true(snapshot_method_find("rebase", true, NULL) == &method_rebase);
	g_assert_true(snapshot_method_find("extract", false, NULL) == &method_extract);
	g_assert_null(snapshot_method_find("extract", true, &error));
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_CONFIG);
	g_assert_nonnull(strstr(error->message, "rebase"));
}

static const char *choose(const char *xml, int state, bool disabled, const char **ret_format)
{
	struct virt_config config = {.live_method = "rebase",
				     .cold_method = "extract",
				     .disable_livesnapshot = disabled,
				     .container_format = "qcow2"};
	struct domain_traits traits;
	struct disk *disk;
	const struct snapshot_method *method;

	domain_traits_read(xml, &traits);
	disk = traits.container ? root_disk_find_of_container(xml, config.container_format, NULL)
				: root_disk_find(xml, NULL);
	g_assert_nonnull(disk);
	method = snapshot_method_choose(&config, &traits, disk, state, NULL);
	g_assert_nonnull(method);
	*ret_format = g_intern_string(snapshot_format_choose(&config, disk));
	disk_free(disk);
	return method->name;
}

static void expect_choice(const char *xml, int state, bool disabled, const char *method,
			  const char *format)
{
	const char *got_format;
	const char *got = choose(xml, state, disabled, &got_format);

	g_assert_cmpstr(got, ==, method);
	g_assert_cmpstr(got_format, ==, format);
}

static void test_choose(void)
{
	const char *file = FILE_DISK("/i/disk", "qcow2");

	expect_choice(file, VIR_DOMAIN_RUNNING, false, "rebase", "qcow2");
	expect_choice(file, VIR_DOMAIN_PAUSED, false, "rebase", "qcow2");
	expect_choice(file, VIR_DOMAIN_SHUTOFF, false, "extract", "qcow2");
	expect_choice(file, VIR_DOMAIN_CRASHED, false, "extract", "qcow2");
	expect_choice(file, VIR_DOMAIN_RUNNING, true, "extract", "qcow2");
	expect_choice(FILE_DISK("/i/disk", "raw"), VIR_DOMAIN_RUNNING, false, "rebase", "raw");
	/* What nova calls lvm, and stops the guest for. */
	expect_choice(BLOCK_DISK, VIR_DOMAIN_RUNNING, false, "rebase", "raw");
	expect_choice(BLOCK_DISK, VIR_DOMAIN_PAUSED, false, "rebase", "raw");
	expect_choice(BLOCK_DISK, VIR_DOMAIN_SHUTOFF, false, "extract", "raw");
	expect_choice(BLOCK_DISK, VIR_DOMAIN_RUNNING, true, "extract", "raw");
	expect_choice(CONTAINER, VIR_DOMAIN_RUNNING, false, "extract", "qcow2");
}

static const struct snapshot_method *choose_stream(const char *xml, int state, const char *format)
{
	struct virt_config config = {
		.live_method = "stream", .cold_method = "stream", .snapshot_image_format = format};
	struct domain_traits traits;
	struct disk *disk;
	const struct snapshot_method *method;

	domain_traits_read(xml, &traits);
	disk = traits.container ? root_disk_find_of_container(xml, "qcow2", NULL)
				: root_disk_find(xml, NULL);
	method = snapshot_method_choose(&config, &traits, disk, state, NULL);
	disk_free(disk);
	return method;
}

static void test_choose_stream(void)
{
	const char *file = FILE_DISK("/i/disk", "qcow2");

	g_assert_true(choose_stream(file, VIR_DOMAIN_RUNNING, NULL) == &method_stream_live);
	g_assert_true(choose_stream(file, VIR_DOMAIN_PAUSED, "raw") == &method_stream_live);
	g_assert_true(choose_stream(file, VIR_DOMAIN_SHUTOFF, NULL) == &method_stream_cold);
	g_assert_true(choose_stream(BLOCK_DISK, VIR_DOMAIN_SHUTOFF, NULL) == &method_stream_cold);
	g_assert_true(choose_stream(BLOCK_DISK, VIR_DOMAIN_RUNNING, NULL) == &method_stream_live);
	/* An image that no stream can make is staged; so is that of a guest that must be saved,
	 * since the guest is restored before the upload. */
	g_assert_true(choose_stream(file, VIR_DOMAIN_RUNNING, "vmdk") == &method_rebase);
	g_assert_true(choose_stream(file, VIR_DOMAIN_SHUTOFF, "vdi") == &method_extract);
	g_assert_true(choose_stream(BLOCK_DISK, VIR_DOMAIN_RUNNING, "vmdk") == &method_rebase);
	g_assert_true(choose_stream(CONTAINER, VIR_DOMAIN_RUNNING, NULL) == &method_extract);
}

/* Whatever is configured, and in each state. */
static void test_choose_rbd(void)
{
	struct virt_config config = {
		.live_method = "rebase", .cold_method = "internal", .snapshot_image_format = "vdi"};
	struct domain_traits traits = {0};
	struct disk *disk = root_disk_find(RBD_DISK, NULL);
	g_autoptr(GError) error = NULL;

	expect_choice(RBD_DISK, VIR_DOMAIN_RUNNING, false, "stream", "raw");
	expect_choice(RBD_DISK, VIR_DOMAIN_RUNNING, true, "stream", "raw");
	g_assert_true(choose_stream(RBD_DISK, VIR_DOMAIN_RUNNING, NULL) == &method_stream_rbd);
	g_assert_true(choose_stream(RBD_DISK, VIR_DOMAIN_PAUSED, "qcow2") == &method_stream_rbd);
	g_assert_true(choose_stream(RBD_DISK, VIR_DOMAIN_SHUTOFF, "raw") == &method_stream_rbd);
	g_assert_true(choose_stream(RBD_DISK, VIR_DOMAIN_CRASHED, NULL) == &method_stream_rbd);
	g_assert_null(snapshot_method_choose(&config, &traits, disk, VIR_DOMAIN_RUNNING, &error));
	g_assert_error(error, VIRT_ERROR, VIRT_ERROR_UNSUPPORTED);
	g_assert_nonnull(strstr(error->message, "raw or qcow2, but not vdi"));
	disk_free(disk);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/method-table/find", test_find);
	g_test_add_func("/method-table/choose", test_choose);
	g_test_add_func("/method-table/choose-stream", test_choose_stream);
	g_test_add_func("/method-table/choose-rbd", test_choose_rbd);
	return g_test_run();
}
