#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs test files side by side with prove. Without arguments: what `make test` runs, which is the unit tests, the
# integration tests, and the kills of novasnapd at each step of streamed snapshots.
#   tests/lib/run.sh [FILE ...]
#   NOVASNAP_TESTS=PATTERN: only the files whose path matches the extended regular expression.
#   NOVASNAP_TESTS_EXCEPT=PATTERN: without the files whose path matches this one.
#   NOVASNAP_TEST_JOBS: how many files run at the same time.
set -euo pipefail
cd "$(dirname "$0")/../.."
export BUILD=${BUILD:-${NOVASNAP_BUILD:-build}}
pattern=${NOVASNAP_TESTS:-.}
except=${NOVASNAP_TESTS_EXCEPT:-^$}
# The tests mostly wait, so more files than processors run at the same time.
jobs=${NOVASNAP_TEST_JOBS:-$(($(nproc) + 2))}

# The longest, of a minute and more, run first, so that none of them runs alone at the end.
longest=(beside-command rbd-direct beside-claim stream metrics exclusive rbd conductor outage-rpc beside-forwarding
	rbd-snapshot rpc-connection beside recovery-superseded)

list_files() {
	local name file
	echo tests/faults/test-faults.py
	for name in "${longest[@]}"; do
		file=tests/integration/test-$name.py
		if [ -e "$file" ]; then
			echo "$file"
		else
			echo "run.sh: there is no $file; correct the list of the longest" >&2
		fi
	done
	find tests/integration -maxdepth 1 -type f -name 'test-*.py' | sort
	find "$BUILD/tests/unit" -maxdepth 1 -type f -name 'test-*' ! -name '*.[od]' | sort
}

if [ $# -gt 0 ]; then
	files=$(printf '%s\n' "$@")
else
	files=$(list_files | awk '!seen[$0]++')
	export NOVASNAP_FAULT_METHODS=${NOVASNAP_FAULT_METHODS-stream,cold}
	export NOVASNAP_FAULT_KINDS=${NOVASNAP_FAULT_KINDS-kill}
fi
if ! files=$(grep -E -e "$pattern" <<<"$files" | grep -v -E -e "$except"); then
	echo "run.sh: no test file matches \"$pattern\"${NOVASNAP_TESTS_EXCEPT:+ and not \"$except\"}" >&2
	exit 1
fi
mapfile -t files <<<"$files"
exec prove --timer --jobs "$jobs" --exec tests/lib/one.sh "${files[@]}"
