#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# clang-format, clang-tidy, cppcheck and shellcheck over the tree, and a check of the pages. LINT_ONLY names one of them:
# clang-format, cppcheck, shellcheck, clang-tidy, docs.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
only=${LINT_ONLY:-}
failed=0
mapfile -t c < <(git ls-files '*.c')
mapfile -t h < <(git ls-files '*.h')
mapfile -t sh < <(git ls-files '*.sh' .ci/run)
mapfile -t flags < <(pkg-config --cflags glib-2.0 libvirt librabbitmq libcurl libcjson libnbd libxml-2.0 inih sqlite3 \
	libsystemd zlib libzstd | tr ' ' '\n' | grep .)
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
# clang-tidy counts the warnings of headers on its standard error: noise.
# shellcheck disable=SC2317
tidy() {
	local i status=0
	for ((i = 0; i < ${#c[@]}; i += 8)); do
		clang-tidy --quiet "${c[@]:i:8}" -- "${flags[@]}" 2>/dev/null || status=1
	done
	return "$status"
}
run clang-format clang-format --dry-run --Werror "${c[@]}" "${h[@]}"
# Suppressed: cppcheck reads hexadecimal floats wrongly, does not know that g_thread_join frees, and takes an
# initializer of one of libnbd's structures for a use of it. GLib's assertions are in tests that are never built
# without them.
run cppcheck cppcheck --quiet --error-exitcode=1 --enable=warning,performance,portability --inline-suppr \
	--suppress=missingInclude --suppress=invalidPrintfArgType_uint --suppress=invalidPrintfArgType_sint \
	--suppress=incorrectLogicOperator:rpc/json.c --suppress=memleak:agent/novasnapd.c \
	--suppress=legacyUninitvar:image/source/nbd.c --suppress=assertWithSideEffect:tests/unit/* \
	--library=gtk --include=tests/lib/cppcheck.h -I. "${c[@]}"
run shellcheck shellcheck "${sh[@]}"
run clang-tidy tidy
run docs tests/lib/check-docs.py
exit "$failed"
