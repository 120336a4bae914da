#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Builds novasnap and runs its unit tests in the roots of Debian releases (tests/lib/root.sh), with GCC and with Clang, a
# warning being an error. Needs root.
#   tests/lib/matrix.sh [RELEASE ...]
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
if [ $# -eq 0 ]; then
	set -- bookworm trixie sid
fi
failed=0
results=()

record() { # release compiler seconds result
	results+=("$(printf '%-10s %-8s %7d:%02d  %s' "$1" "$2" $(($3 / 60)) $(($3 % 60)) "$4")")
	[ "$4" = passed ] || failed=1
}

for release in "$@"; do
	echo "== $release: packages"
	if ! tests/lib/root.sh "$release" tests/lib/deps.sh build check fuzz; then
		record "$release" - 0 "the root or its packages cannot be installed"
		continue
	fi
	for compiler in gcc clang; do
		echo "== $release: $compiler"
		begin=$SECONDS
		result=passed
		NOVASNAP_BUILD=build-$release-$compiler WERROR=1 tests/lib/root.sh --net private "$release" \
			make CC=$compiler all tools bench-programs check || result=FAILED
		record "$release" $compiler $((SECONDS - begin)) "$result"
	done
done
printf '\n%-10s %-8s %10s  %s\n' release compiler minutes result
printf '%s\n' "${results[@]}"
exit "$failed"
