# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# For a script with a large folder of its own, $place, that is removed at its end. run_child runs what works in there: when
# the script is ended, that is ended before.
place='' child=''
# shellcheck disable=SC2317 # called by a trap
clean_up() {
	trap '' HUP INT TERM
	if [ -n "$child" ]; then
		kill "$child" 2>/dev/null || true
		wait "$child" || true
	fi
	if [ -n "$place" ]; then
		rm -rf --one-file-system "$place"
	fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM
make_place() {
	place=$(mktemp -d -p /var/tmp)
}
run_child() { # command...
	"$@" &
	child=$!
	wait "$child"
	child=''
}
