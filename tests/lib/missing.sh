#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Says which of these libraries (for pkg-config) or programs are missing and which Debian packages hold them. Fails when
# there are any.
#   tests/lib/missing.sh library|program NAME:PACKAGE ...
kind=$1
shift
is_there() { # name
	case $kind in
	library) pkg-config --exists "$1" ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

if [ "$kind" = library ] && ! command -v pkg-config >/dev/null; then
	echo "pkg-config is missing. As root: apt-get install pkg-config (or \"make deps\", which installs everything)" >&2
	exit 1
fi
missing=
packages=
for pair in "$@"; do
	if ! is_there "${pair%%:*}"; then
		missing="$missing ${pair%%:*}"
		case " $packages " in
		*" ${pair#*:} "*) ;;
		*) packages="$packages ${pair#*:}" ;;
		esac
	fi
done
if [ -n "$missing" ]; then
	if [ "$kind" = library ]; then
		echo "pkg-config does not find:$missing" >&2
	else
		echo "These programs are missing:$missing" >&2
	fi
	echo "As root: apt-get install$packages (or \"make deps\", which installs everything)" >&2
	exit 1
fi
