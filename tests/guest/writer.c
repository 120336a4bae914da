/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs in the tiny guest: writes numbered blocks over the head of a disk, in order, round after
 * round, so that a copy of the disk tells of how many instants it is. Each second it says how many
 * it wrote, and how long the slowest of them took.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
#define BLOCKS 1024

struct stamp {
	char magic[8];
	uint64_t round;
	uint64_t index;
};

static long long now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void note_write(long long began)
{
	static long long since, worst, count;
	long long now = now_us();

	if (now - began > worst)
		worst = now - began;
	count++;
	if (now - since < 1000000)
		return;
	printf("second: %lld writes, worst %lld us\n", count, worst);
	(void)fflush(stdout);
	since = now;
	worst = count = 0;
}

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
			long long began = now_us();

			memcpy(block, &stamp, sizeof(stamp));
			if (pwrite(fd, block, BLOCK, (off_t)(stamp.index * BLOCK)) != BLOCK) {
				perror("writing");
				return 1;
			}
			note_write(began);
		}
		printf("round %llu\n", (unsigned long long)stamp.round);
		(void)fflush(stdout);
	}
}
