#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Makes the root of a Debian release that has nothing but its minimal packages, once, in a folder. Needs root.
#   tests/package/base.sh RELEASE FOLDER
set -euo pipefail
cd "$(dirname "$0")/../.."
release=$1 folder=$2
mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
if ! flock -w 3000 9; then
	echo "base.sh: another process has been making $folder for 50 minutes" >&2
	exit 1
fi
if [ ! -d "$folder" ]; then
	rm -rf --one-file-system "$folder.part"
	tests/lib/bootstrap.sh "$release" "$folder.part" 9>&-
	mv "$folder.part" "$folder"
fi
