/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs in the tiny guest: keeps the journal of a filesystem busy. It appends numbered lines to one
 * file, and makes, renames and deletes others, so that a copy of the disk tells whether the
 * filesystem was frozen.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILES 16
#define LINES 20000

static void need(int good, const char *what)
{
	if (!good) {
		perror(what);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	unsigned long long round, line = 0;
	char data[16384], text[64], name[32], old[32];
	int lines, fd, i, size;

	if (argc != 2)
		return 2;
	need(chdir(argv[1]) == 0, argv[1]);
	memset(data, 0x5a, sizeof(data));
	lines = open("lines", O_WRONLY | O_CREAT | O_APPEND, 0644);
	need(lines >= 0, "lines");
	for (round = 1;; round++) {
		for (i = 0; i < FILES; i++) {
			(void)snprintf(name, sizeof(name), "new.%d", i);
			(void)snprintf(old, sizeof(old), "old.%d", i);
			fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
			need(fd >= 0, name);
			need(write(fd, data, sizeof(data)) == (ssize_t)sizeof(data), "writing");
			need(close(fd) == 0, "close");
			need(rename(name, old) == 0, "rename");
			if (line % LINES == 0)
				need(ftruncate(lines, 0) == 0, "ftruncate");
			size = snprintf(text, sizeof(text), "line %llu\n", ++line);
			need(write(lines, text, (size_t)size) == size, "writing");
			need(fsync(lines) == 0, "fsync");
			(void)snprintf(old, sizeof(old), "old.%d", (i + FILES / 2) % FILES);
			need(unlink(old) == 0 || errno == ENOENT, old);
		}
		printf("round %llu\n", round);
		(void)fflush(stdout);
	}
}
