/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The manager is there until whoever may still use it has ended: on a host with libvirt's test
 * driver. The linker puts the functions below in the place of those that need a broker, or end.
 */
#include "agent/manager.h"
#include "agent/recovery.h"
#include "tests/unit/host.h"

static struct {
	unsigned freed;
} fake;

__typeof__(jobs_free) __real_jobs_free, __wrap_jobs_free;

void __wrap_jobs_free(struct jobs *jobs)
{
	fake.freed++;
	__real_jobs_free(jobs);
}

struct fixture {
	struct host host;
	struct config config;
	char *state, *run, *images, *scratch;
};

static void set_up(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	memset(&fake, 0, sizeof(fake));
	host_open(&fixture->host);
	fixture->state = g_build_filename(fixture->host.tmp, "state", NULL);
	fixture->run = g_build_filename(fixture->host.tmp, "run", NULL);
	fixture->images = g_build_filename(fixture->host.tmp, "images", NULL);
	fixture->scratch = g_build_filename(fixture->host.tmp, "scratch", NULL);
	fixture->config.virt = fixture->host.config;
	fixture->config.virt.run_dir = fixture->config.run_dir = fixture->run;
	fixture->config.virt.scratch_dir = fixture->scratch;
	fixture->config.image.directory = true;
	fixture->config.image.images_dir = fixture->images;
	fixture->config.state_dir = fixture->state;
	fixture->config.journal_days = 1;
}

static void remove_folder(char *path)
{
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *file = g_build_filename(path, name, NULL);

		(void)g_unlink(file);
	}
	(void)g_rmdir(path);
	g_free(path);
}

static void tear_down(struct fixture *fixture, gconstpointer unused)
{
	(void)unused;
	remove_folder(fixture->state);
	remove_folder(fixture->run);
	remove_folder(fixture->images);
	remove_folder(fixture->scratch);
	host_close(&fixture->host);
}

/* A signal may come while its end is on its way. */
static void test_hurried_after_its_stop(struct fixture *fixture, gconstpointer unused)
{
	g_autoptr(GError) error = NULL;
	struct manager *manager = manager_start_local(&fixture->config, &error);

	(void)unused;
	g_assert_no_error(error);
	g_assert_cmpuint(manager_stop(manager), ==, 0);
	g_assert_cmpuint(fake.freed, ==, 0);
	manager_hurry(manager);
	manager_free(manager);
	g_assert_cmpuint(fake.freed, ==, 1);
}

#define TEST(name)                                                                                 \
	g_test_add("/manager/" #name, struct fixture, NULL, set_up, test_##name, tear_down)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	TEST(hurried_after_its_stop);
	return g_test_run();
}
