#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs the fuzz targets in the folder BUILD, one after the other, each for SECONDS_EACH; FUZZ=NAME runs only one. Inputs
# that reach new code are kept in BUILD/corpus, and findings in BUILD/findings. Fails when there is a finding.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build-fuzz}
seconds=${SECONDS_EACH:-60}
export G_SLICE=always-malloc ASAN_OPTIONS=quarantine_size_mb=64 UBSAN_OPTIONS=print_stacktrace=1
failed=0

longest() { # target
	case $1 in
	envelope | object | content) echo 32768 ;;
	config) echo 16384 ;;
	url | nbd-extents) echo 1024 ;;
	*) echo 8192 ;;
	esac
}

[ -z "${FUZZ:-}" ] || [ -e "tests/fuzz/fuzz-$FUZZ.c" ] || {
	echo "run.sh: there is no target \"$FUZZ\"" >&2
	exit 2
}
tests/fuzz/seeds.py "$build/seeds" || exit 1
mkdir -p "$build/findings"
printf '%-12s %12s %9s %9s %9s  %s\n' target executions edges features MiB findings
for source in tests/fuzz/fuzz-*.c; do
	name=$(basename "$source" .c)
	name=${name#fuzz-}
	[ "${FUZZ:-$name}" = "$name" ] || continue
	program=$build/tests/fuzz/fuzz-$name
	log=$build/findings/$name.log
	scratch=$(mktemp -d)
	mkdir -p "$build/corpus/$name"
	TMPDIR=$scratch timeout -k 30 $((seconds + 300)) "$program" -max_total_time="$seconds" -timeout=10 \
		-rss_limit_mb=512 -max_len="$(longest "$name")" -dict="$build/seeds/$name.dict" -print_final_stats=1 \
		-artifact_prefix="$build/findings/$name-" "$build/corpus/$name" "$build/seeds/$name" >"$log" 2>&1
	status=$?
	rm -rf "$scratch"
	executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	edges=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1 | cut -d ' ' -f 2)
	features=$(grep -o 'ft: [0-9]*' "$log" | tail -n 1 | cut -d ' ' -f 2)
	mib=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")
	finding=none
	if [ "$status" -ne 0 ]; then
		failed=1
		finding=$(grep -m 1 -E 'ERROR|SUMMARY|runtime error|critical:|ASSERTION|ALARM' "$log" || echo "status $status")
		finding="$finding (see $log)"
	fi
	printf '%-12s %12s %9s %9s %9s  %s\n' "$name" "${executions:--}" "${edges:--}" "${features:--}" "${mib:--}" "$finding"
done
exit "$failed"
