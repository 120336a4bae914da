#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs one test for prove, in the way of its kind, with a limit on its time.
export G_SLICE=always-malloc TSAN_OPTIONS="suppressions=$PWD/tests/lib/tsan.supp:history_size=7:${TSAN_OPTIONS:-}"
# shellcheck disable=SC2086 # NOVASNAP_UNIT_UNDER is a command with its options
case $1 in
*.py) exec timeout -k 20 "$((${NOVASNAP_TEST_TIMEOUT:-1140} + 60))" /usr/bin/python3 "$@" ;;
*) exec timeout -k 5 "${NOVASNAP_UNIT_TIMEOUT:-300}" ${NOVASNAP_UNIT_UNDER:-} "$@" --tap ;;
esac
