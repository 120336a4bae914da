#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs all parts of `make check-all`, or those named. What has passed for this commit is not run again
# (tests/lib/parts.sh).
#   tests/lib/check-all.sh [PART ...]
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/parts.sh
# Each part is a target of the Makefile. The matrix runs `make test` and `make e2e`, on each release.
parts=(lint check-address check-thread check-valgrind check-layouts check-package check-scale faults test-container matrix)
if [ $# -gt 0 ]; then
	for part in "$@"; do
		if [[ " ${parts[*]} " != *" $part "* ]]; then
			echo "check-all: there is no part \"$part\"; the parts are: ${parts[*]}" >&2
			exit 2
		fi
	done
	parts=("$@")
fi

parts_open check-all
for part in "${parts[@]}"; do
	parts_run "$part" "${MAKE:-make}" --no-print-directory "$part"
done
parts_close
