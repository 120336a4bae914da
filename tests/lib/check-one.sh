#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Builds what one test file needs and runs it: `make check T=FILE` or `make check T=FILE:TEST`.
#   tests/lib/check-one.sh FILE[:TEST]
# FILE is the name without "test-", with its folder where that is needed (stream, unit/config), or a part of the name
# that no other has. TEST is a part of the names of the tests in the file that are to run.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
wanted=$1
part=
if [[ $wanted == *:* ]]; then
	part=${wanted#*:}
	wanted=${wanted%%:*}
fi
wanted=${wanted#tests/}
wanted=${wanted/#test-/}
wanted=${wanted/\/test-/\/}
wanted=${wanted%.py}
wanted=${wanted%.c}

# Each as FOLDER/NAME.
mapfile -t all < <(find tests/unit/test-*.c tests/{integration,faults,e2e}/test-*.py |
	sed -E 's,^tests/(.*)/test-(.*)\.[a-z]+$,\1/\2,')
exact=()
partial=()
for each in "${all[@]}"; do
	if [ "$each" = "$wanted" ] || [ "${each#*/}" = "$wanted" ]; then
		exact+=("$each")
	elif [[ $each == *"$wanted"* ]]; then
		partial+=("$each")
	fi
done
if [ ${#exact[@]} -eq 0 ]; then
	exact=("${partial[@]}")
fi
if [ ${#exact[@]} -ne 1 ]; then
	if [ ${#exact[@]} -eq 0 ]; then
		echo "check: no test file is named \"$wanted\"; the names are:" >&2
		exact=("${all[@]}")
	else
		echo "check: several test files are named \"$wanted\"; choose one of:" >&2
	fi
	printf '  %s\n' "${exact[@]}" >&2
	exit 2
fi
name=${exact[0]}

run_prove() { # file [argument ...]
	local file=$1
	shift
	BUILD=$build exec prove --verbose --timer --exec tests/lib/one.sh "$file" :: "$@"
}

if [ "${name%%/*}" = unit ]; then
	program=$build/tests/unit/test-${name#*/}
	${MAKE:-make} --no-print-directory "$program"
	options=()
	if [ -n "$part" ]; then
		mapfile -t tests < <("$program" -l | grep '^/')
		for test in "${tests[@]}"; do
			# Skipped, since GLib numbers the tests from 1 again for each that is named.
			if [[ $test != *"$part"* ]]; then
				options+=(-s "$test")
			fi
		done
		if [ ${#options[@]} -eq $((2 * ${#tests[@]})) ]; then
			echo "check: no test of $name is named \"$part\"; the names are:" >&2
			printf '  %s\n' "${tests[@]}" >&2
			exit 2
		fi
	fi
	run_prove "$program" "${options[@]}"
fi

if [ "$(id -u)" != 0 ]; then
	echo "check: the tests in tests/${name%%/*} start services and guests, so they need root" >&2
	exit 1
fi
groups=(build run test)
arguments=()
case $name in
e2e/*) groups+=(e2e) ;;
faults/*) arguments=(FAULTS=1) ;;
esac
tests/lib/deps.sh "${groups[@]}"
${MAKE:-make} --no-print-directory "${arguments[@]}" all tools
run_prove "tests/${name%%/*}/test-${name#*/}.py" ${part:+"$part"}
