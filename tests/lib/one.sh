#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs one test file for prove, as its kind needs it, with a time limit.
#   tests/lib/one.sh FILE [ARGUMENT ...]
# In the caller's process group, so that Ctrl-C ends it too.
# NOVASNAP_TEST_TIMEOUT: seconds that one test function of a Python file may take.
# NOVASNAP_UNIT_TIMEOUT: seconds that the program of a unit test may take.
# NOVASNAP_UNIT_UNDER: a command with options that runs the unit tests, such as valgrind.
export BUILD="${BUILD:-${NOVASNAP_BUILD:-build}}" G_DEBUG=fatal-criticals G_SLICE=always-malloc
export TSAN_OPTIONS="suppressions=$PWD/tests/lib/tsan.supp:history_size=7:${TSAN_OPTIONS:-}"
python() { # file's limit in seconds, arguments...
	limit=$1
	shift
	exec timeout --foreground -k 20 "$limit" /usr/bin/python3 "$@"
}
case $1 in
tests/faults/*.py)
	# The faults are put in at points that only a build with FAULTS=1 has.
	BUILD=${BUILD%-faults}-faults
	export NOVASNAP_TEST_TIMEOUT="${NOVASNAP_TEST_TIMEOUT:-3000}"
	python "$((NOVASNAP_TEST_TIMEOUT + 60))" "$@"
	;;
tests/e2e/*.py)
	export NOVASNAP_TEST_TIMEOUT="${NOVASNAP_TEST_TIMEOUT:-600}"
	# A file has several functions, and a control plane to start.
	python "$((NOVASNAP_TEST_TIMEOUT * 2))" "$@"
	;;
*.py) python "$((${NOVASNAP_TEST_TIMEOUT:-1140} + 60))" "$@" ;;
*)
	# An assertion of GLib's prints "Bail out!", at which prove would end all other files too. The exit status says
	# that this file has failed.
	# shellcheck disable=SC2086 # a command with its options
	exec timeout --foreground -k 5 "${NOVASNAP_UNIT_TIMEOUT:-300}" ${NOVASNAP_UNIT_UNDER:-} "$@" --tap \
		> >(sed -u 's/^Bail out!/# &/')
	;;
esac
