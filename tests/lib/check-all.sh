#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs all parts of `make check-all`, or those named, one after the other, also when one has failed, and prints how long
# each took. With a clean working tree each part that passes is recorded for the commit in .cache/check-all/COMMIT, and
# is not run again: after an interruption the same command goes on with the rest.
#   tests/lib/check-all.sh [PART ...]
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
# Each part is a target of the Makefile.
parts=(lint test check-address check-thread check-valgrind check-layouts faults e2e test-container matrix)
if [ $# -gt 0 ]; then
	for part in "$@"; do
		if [[ " ${parts[*]} " != *" $part "* ]]; then
			echo "check-all: there is no part \"$part\"; the parts are: ${parts[*]}" >&2
			exit 2
		fi
	done
	parts=("$@")
fi

# The commit, where nothing has been changed since.
clean_commit() {
	local changes
	changes=$(git status --porcelain 2>/dev/null) && [ -z "$changes" ] && git rev-parse HEAD
}

commit=$(clean_commit || true)
record=
if [ -n "$commit" ]; then
	mkdir -p .cache/check-all
	record=.cache/check-all/$commit
	touch "$record"
	# One run at a time.
	exec 9>.cache/check-all/lock
	if ! flock -n 9; then
		echo "check-all: another check-all is running in this tree" >&2
		exit 1
	fi
else
	echo "check-all: the working tree is not a clean commit, so what passes is not recorded"
fi

minutes() { # seconds
	printf '%d:%02d' $(($1 / 60)) $(($1 % 60))
}

# shellcheck disable=SC2317 # called by a trap
stopped() {
	echo "check-all: stopped; run it again to go on with the parts that have not passed" >&2
	exit 130
}
trap stopped INT TERM

failed=0
total=0
results=()
for part in "${parts[@]}"; do
	seconds=
	if [ -n "$record" ]; then
		seconds=$(awk -v part="$part" '$1 == part { print $2 }' "$record" | tail -n 1)
	fi
	if [ -n "$seconds" ]; then
		result="passed before"
	else
		echo "== check-all: $part"
		begin=$SECONDS
		result=passed
		"${MAKE:-make}" --no-print-directory "$part" 9>&- || result=FAILED
		seconds=$((SECONDS - begin))
		if [ "$result" = FAILED ]; then
			failed=1
		elif [ -n "$record" ] && [ "$(clean_commit || true)" = "$commit" ]; then
			echo "$part $seconds $(date --utc +%FT%TZ)" >>"$record"
		fi
	fi
	total=$((total + seconds))
	results+=("$(printf '%-16s %7s  %s' "$part" "$(minutes "$seconds")" "$result")")
done
printf '\n%-16s %7s  %s\n' part minutes result
printf '%s\n' "${results[@]}"
printf '%-16s %7s  %s\n' total "$(minutes $total)" "${commit:+commit ${commit:0:12}}"
exit "$failed"
