/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Loads the configuration from the input: one file, or two where the input has a separator.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "agent/config/config.h"
#include "tests/fuzz/fuzz.h"

#define FILES 2

/* Returns a file descriptor of the input's next part; -1 where there is none. */
static int open_part(struct fuzz_input *input)
{
	size_t length;
	g_autofree char *text = fuzz_part(input, &length);
	int fd = text ? memfd_create("novasnap.conf", MFD_CLOEXEC) : -1;

	if (fd >= 0)
		g_assert_true(write(fd, text, length) == (ssize_t)length);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	char paths[FILES][32];
	const char *files[FILES + 1] = {NULL};
	int fds[FILES];
	g_autoptr(GError) error = NULL;
	struct config *config;

	for (int i = 0; i < FILES; i++) {
		fds[i] = open_part(&input);
		g_snprintf(paths[i], sizeof(paths[i]), "/proc/self/fd/%d", fds[i]);
		files[i] = fds[i] >= 0 ? paths[i] : NULL;
	}
	config = config_load(files, &error);
	g_assert_true((config == NULL) == (error != NULL));
	config_free(config);
	for (int i = 0; i < FILES; i++) {
		if (fds[i] >= 0)
			(void)close(fds[i]);
	}
	return 0;
}
