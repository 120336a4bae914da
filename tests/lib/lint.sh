#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# clang-format, clang-tidy, cppcheck and shellcheck over the tree. LINT_ONLY names one of them.
set -uo pipefail
cd "$(dirname "$0")/../.."
only=${LINT_ONLY:-}
failed=0
mapfile -t c < <(git ls-files '*.c')
mapfile -t h < <(git ls-files '*.h')
mapfile -t sh < <(git ls-files '*.sh' .ci/run)
flags="-std=c11 -D_GNU_SOURCE -DNOVASNAP_VERSION=\"0\" -DG_LOG_DOMAIN=\"x\" -I. $(pkg-config --cflags glib-2.0 libvirt librabbitmq libcurl libcjson libnbd libxml-2.0 inih sqlite3 libsystemd)"

run() { # name command...
	local name=$1
	shift
	[ -z "$only" ] || [ "$only" = "$name" ] || return 0
	if "$@"; then echo "$name: clean"; else
		echo "$name: FAILED"
		failed=1
	fi
}
tidy() {
	# shellcheck disable=SC2086
	printf '%s\n' "${c[@]}" | xargs -P 2 -n 4 sh -c 'clang-tidy --quiet "$@" -- '"$(printf '%q ' $flags)"' 2>/dev/null' tidy
}
run clang-format clang-format --dry-run --Werror "${c[@]}" "${h[@]}"
run cppcheck cppcheck --quiet --error-exitcode=1 --enable=warning,performance,portability --inline-suppr \
	--suppress=missingInclude --library=gtk -I. "${c[@]}"
run shellcheck shellcheck "${sh[@]}"
run clang-tidy tidy
exit $failed
