/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs in the tiny guest: writes numbered blocks over the head of a disk, in order, round after
 * round, so that a copy of the disk tells of how many instants it is.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 4096
#define BLOCKS 1024

struct stamp {
	char magic[8];
	uint64_t round;
	uint64_t index;
};

int main(int argc, char **argv)
{
	struct stamp stamp = {.magic = "NUMBERED", .round = 1};
	char *block;
	int fd;

	if (argc != 2 || posix_memalign((void **)&block, BLOCK, BLOCK) != 0)
		return 2;
	fd = open(argv[1], O_RDWR | O_DIRECT | O_DSYNC);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	memset(block, 0x5a, BLOCK);
	for (;; stamp.round++) {
		for (stamp.index = 0; stamp.index < BLOCKS; stamp.index++) {
			memcpy(block, &stamp, sizeof(stamp));
			if (pwrite(fd, block, BLOCK, (off_t)(stamp.index * BLOCK)) != BLOCK) {
				perror("writing");
				return 1;
			}
		}
		printf("round %llu\n", (unsigned long long)stamp.round);
		(void)fflush(stdout);
	}
}
