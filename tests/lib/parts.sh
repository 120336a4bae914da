# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# For scripts that run many parts, one after the other: it goes on when a part has failed, prints how long each took, and
# records each part that passes for the commit, in .cache/NAME/COMMIT, where nothing of the working tree was changed.
# What is recorded is not run again: after an interruption the same command goes on with the rest. To be sourced at the
# top of the working tree.
#   parts_open NAME                  begins; one run of that name at a time
#   parts_passed PART                whether it has passed for this commit before
#   parts_run PART COMMAND...        runs it, unless it has passed before
#   parts_fail PART REASON           notes a failure of a part that cannot be run
#   parts_close                      prints the table; its status is 1 if a part has failed
# $parts_commit is the commit, and $parts_record the file; both are empty where the working tree was changed.

# The commit, where nothing has been changed since.
parts_clean_commit() {
	local changes
	changes=$(git status --porcelain 2>/dev/null) && [ -z "$changes" ] && git rev-parse HEAD
}

parts_open() { # name
	parts_name=$1
	parts_record=
	parts_failed=0
	parts_total=0
	parts_results=()
	parts_commit=$(parts_clean_commit || true)
	if [ -z "$parts_commit" ]; then
		echo "$parts_name: the working tree is not a clean commit, so what passes is not recorded"
	fi
	mkdir -p ".cache/$parts_name"
	exec 9>".cache/$parts_name/lock"
	if ! flock -n 9; then
		echo "$parts_name: another $parts_name is running in this tree" >&2
		exit 1
	fi
	if [ -n "$parts_commit" ]; then
		parts_record=.cache/$parts_name/$parts_commit
		touch "$parts_record"
	fi
	trap parts_stopped INT TERM
}

# shellcheck disable=SC2317 # called by a trap
parts_stopped() {
	echo "$parts_name: stopped; run it again to go on with the parts that have not passed" >&2
	exit 130
}

# Prints how many seconds a part took when it passed.
parts_seconds() { # part
	[ -z "$parts_record" ] || awk -v part="$1" '$1 == part { seconds = $2 } END { print seconds }' "$parts_record"
}

parts_passed() { # part
	[ -n "$(parts_seconds "$1")" ]
}

parts_minutes() { # seconds
	printf '%d:%02d' $(($1 / 60)) $(($1 % 60))
}

parts_note() { # part seconds result
	parts_total=$((parts_total + $2))
	parts_results+=("$(printf '%-24s %7s  %s' "$1" "$(parts_minutes "$2")" "$3")")
}

parts_run() { # part command...
	local part=$1 seconds begin
	shift
	seconds=$(parts_seconds "$part")
	if [ -n "$seconds" ]; then
		parts_note "$part" "$seconds" "passed before"
		return
	fi
	echo "== $parts_name: $part"
	begin=$SECONDS
	if "$@" 9>&-; then
		seconds=$((SECONDS - begin))
		parts_note "$part" "$seconds" passed
		if [ -n "$parts_record" ] && [ "$(parts_clean_commit || true)" = "$parts_commit" ]; then
			echo "$part $seconds $(date --utc +%FT%TZ)" >>"$parts_record"
		fi
	else
		parts_note "$part" $((SECONDS - begin)) FAILED
		parts_failed=1
	fi
}

parts_fail() { # part reason
	parts_note "$1" 0 "FAILED: $2"
	parts_failed=1
}

parts_close() {
	printf '\n%-24s %7s  %s\n' "$parts_name" minutes result
	printf '%s\n' "${parts_results[@]}"
	printf '%-24s %7s  %s\n' total "$(parts_minutes "$parts_total")" "${parts_commit:+commit ${parts_commit:0:12}}"
	return "$parts_failed"
}
