#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The Debian package, in a new root of each release that is removed afterwards: builds it and a newer one, installs,
# upgrades, removes and purges them. Needs root and a network.
#   tests/package/test-package.sh RELEASE ...
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ "${1:-}" = --inside ]; then
	. tests/package/inside.sh
	exit
fi
. tests/package/place.sh
for release in "$@"; do
	# root.sh keeps its roots there; this one is used once.
	make_place
	run_child env XDG_CACHE_HOME="$place" NOVASNAP_BUILD="build-package-$release" tests/lib/root.sh "$release" \
		tests/package/test-package.sh --inside
	rm -rf --one-file-system "$place"
	echo "test-package: $release: ok"
done
