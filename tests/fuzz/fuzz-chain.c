/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What qemu-img reports about the headers of a chain: one part of the input for each file.
 */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "virt/domain/disk-chain.h"
#include "virt/domain/disk-filename.h"
#include "virt/process.h"
#include "virt/qemu-img.h"
#include "virt/virt.h"

#define DOMAIN_XML                                                                                 \
	"<domain><devices><disk type='file' device='disk'><driver type='qcow2'/>"                  \
	"<source file='/usr/share/disk'/><target dev='vda'/></disk></devices></domain>"

__typeof__(process_run) __wrap_process_run;

static struct fuzz_input outputs;

int __wrap_process_run(const char *const *argv, unsigned timeout_s, const atomic_int *cancel,
		       char **ret_output, GError **error)
{
	size_t length;
	char *output = fuzz_part(&outputs, &length);

	(void)argv;
	(void)timeout_s;
	(void)cancel;
	if (!output) {
		g_set_error_literal(error, VIRT_ERROR, VIRT_ERROR_PROCESS, "the input has ended");
		return -1;
	}
	if (ret_output)
		*ret_output = output;
	else
		g_free(output);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const dirs[] = {"/usr", NULL};
	struct disk *disk = root_disk_find(DOMAIN_XML, NULL);

	outputs = (struct fuzz_input){data, size};
	if (disk_complete_chain(disk, dirs, NULL, NULL) == 0)
		g_free(disk_json_filename(disk, 0));
	disk_free(disk);
	outputs = (struct fuzz_input){data, size};
	(void)qemu_img_snapshot_exists("json:{}", "novasnap", NULL);
	return 0;
}
