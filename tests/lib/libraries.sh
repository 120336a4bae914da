#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Says which Debian packages hold the libraries that pkg-config does not find, and fails where there are any.
#   tests/lib/libraries.sh LIBRARY:PACKAGE ...
if ! command -v pkg-config >/dev/null; then
	echo "pkg-config is missing; as root: apt-get install pkg-config (or \"make deps\", which installs everything)" >&2
	exit 1
fi
missing=
packages=
for pair in "$@"; do
	if ! pkg-config --exists "${pair%%:*}"; then
		missing="$missing ${pair%%:*}"
		case " $packages " in
		*" ${pair#*:} "*) ;;
		*) packages="$packages ${pair#*:}" ;;
		esac
	fi
done
if [ -n "$missing" ]; then
	echo "pkg-config does not find:$missing" >&2
	echo "As root: apt-get install$packages (or \"make deps\", which installs everything)" >&2
	exit 1
fi
