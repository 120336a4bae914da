#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs clang-format, cppcheck, shellcheck and clang-tidy over the tree, and the project's own checks.
#   tests/lib/lint.sh           all of them; LINT_ONLY=NAME: only one
#   tests/lib/lint.sh format    formats the C code
# The tree is formatted as version 14 of clang-format does, the version of Debian 12: other versions format otherwise.
# Newer versions of the other tools may find more. On another release: tests/lib/root.sh bookworm make lint
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
only=${LINT_ONLY:-}
failed=0
mapfile -t c < <(git ls-files '*.c')
mapfile -t h < <(git ls-files '*.h')
mapfile -t sh < <(git ls-files '*.sh' '*.bash' .ci/run)
[ ${#c[@]} -gt 0 ] || {
	echo "lint.sh: git lists no files here" >&2
	exit 1
}
mapfile -t flags < <(make -s print-cflags | tr ' ' '\n' | grep .)
clang_format=clang-format
if command -v clang-format-14 >/dev/null; then
	clang_format=clang-format-14
fi
format_version=$("$clang_format" --version | grep -o 'version [0-9]*')
if [ "${1:-}" = format ]; then
	if [ "$format_version" != "version 14" ]; then
		echo "lint.sh: clang-format is of $format_version, and the tree is formatted with version 14 (Debian 12's)" >&2
		exit 1
	fi
	exec "$clang_format" -i "${c[@]}" "${h[@]}"
fi
flags+=(-std=c11 -D_GNU_SOURCE '-DNOVASNAP_VERSION="0"' '-DG_LOG_DOMAIN="lint"' -I.)

run() { # name command...
	local name=$1
	shift
	[ -z "$only" ] || [ "$only" = "$name" ] || return 0
	if "$@"; then echo "$name: clean"; else
		echo "$name: FAILED"
		failed=1
	fi
}
# Several at a time. On its standard error clang-tidy only counts the warnings of the system's headers.
# shellcheck disable=SC2016,SC2317
tidy() {
	printf '%s\0' "${c[@]}" | xargs -0 -n 8 -P "$(nproc)" bash -c \
		'clang-tidy --quiet "${@:2+$1}" -- "${@:2:$1}" 2>/dev/null' bash ${#flags[@]} "${flags[@]}"
}
if [ "$format_version" = "version 14" ]; then
	run clang-format "$clang_format" --dry-run --Werror "${c[@]}" "${h[@]}"
else
	echo "clang-format: skipped, since it is of $format_version, and the tree is formatted with version 14"
fi
# Suppressed: cppcheck misreads hexadecimal floats, does not know that g_thread_join() frees the thread, and takes the
# initializer of one of libnbd's structures for a use of it. The tests are never built without GLib's assertions.
run cppcheck cppcheck --quiet --error-exitcode=1 --enable=warning,performance,portability --inline-suppr \
	--suppress=missingInclude --suppress=invalidPrintfArgType_uint --suppress=invalidPrintfArgType_sint \
	--suppress=incorrectLogicOperator:rpc/json.c --suppress=memleak:agent/daemon/daemon.c \
	--suppress=legacyUninitvar:image/source/nbd.c --suppress=assertWithSideEffect:tests/unit/* \
	--library=gtk --include=tests/lib/cppcheck.h -I. "${c[@]}"
run shellcheck shellcheck "${sh[@]}"
# The project's own checks, each of which has a name of its own: architecture, docs.
for check in tests/lib/check-*.py; do
	name=${check##*/check-}
	run "${name%.py}" "$check"
done
run clang-tidy tidy
exit "$failed"
