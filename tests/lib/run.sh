#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs the tests with prove: the unit tests, then the integration tests one after the other; or those named.
#   tests/lib/run.sh [test ...]
#   NOVASNAP_TESTS='pattern': only those whose path matches.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
pattern=${NOVASNAP_TESTS:-.}

mapfile -t tests < <(
	{
		if [ $# -gt 0 ]; then
			printf '%s\n' "$@"
		else
			find "$build/tests/unit" -maxdepth 1 -type f -name 'test-*' ! -name '*.[od]' | sort
			find tests/integration -maxdepth 1 -type f -name 'test-*.py' | sort
		fi
	} | grep -E "$pattern"
)
[ "${#tests[@]}" -gt 0 ] || {
	echo "run.sh: no test matches \"$pattern\"" >&2
	exit 1
}
export G_DEBUG=fatal-criticals
exec prove --timer --exec tests/lib/one.sh "${tests[@]}"
