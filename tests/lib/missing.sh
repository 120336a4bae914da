#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Says which of these libraries (for pkg-config), C headers or programs are missing and which Debian packages hold them. Fails when
# there are any.
#   tests/lib/missing.sh library|header|program NAME:PACKAGE ...
kind=$1
shift
is_there() { # name
	case $kind in
	library) pkg-config --exists "$1" ;;
	header) echo "#include <$1>" | ${CC:-cc} -E -x c -o /dev/null - 2>/dev/null ;;
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
	case $kind in
	library) echo "pkg-config does not find:$missing" >&2 ;;
	header) echo "The compiler does not find:$missing" >&2 ;;
	*) echo "These programs are missing:$missing" >&2 ;;
	esac
	echo "As root: apt-get install$packages (or \"make deps\", which installs everything)" >&2
	exit 1
fi
