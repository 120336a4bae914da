#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# `make image` on a Debian of its own, with buildah, and what test-image.py and test-image-role.py try with the image.
# Needs root, a network, and build/deb with the package that `make deb` builds.
#   tests/package/test-image.sh [TEST ...]    the tests of test-image.py whose names contain one of these
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${NOVASNAP_BUILD:-build}
release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
version=$("${MAKE:-make}" -s print-version)
. tests/package/place.sh
make_place
storage="--root $place/storage --runroot $place/runroot --storage-driver vfs"
base=$build/base-$release
tests/package/base.sh "$release" "$base"
# shellcheck disable=SC2086 # options
tar -C "$base" --numeric-owner --exclude='./dev/*' -c . | podman $storage import - localhost/novasnap-base
# In Kolla's containers QEMU's user is nova.
user=$(id -u libvirt-qemu)
"${MAKE:-make}" --no-print-directory image BASE=localhost/novasnap-base IMAGE=localhost/novasnap:test \
	DEB="$(echo "$build/deb/novasnap_${version}"_*.deb)" \
	IMAGE_BUILD="buildah $storage build --isolation chroot --network host" \
	IMAGE_ARGS="--build-arg NOVA_UID=$user --build-arg NOVA_GID=$user"
export NOVASNAP_IMAGE_STORAGE=$storage BUILD=$build
run_child /usr/bin/python3 tests/package/test-image.py "$@"
if [ $# = 0 ]; then
	run_child /usr/bin/python3 tests/package/test-image-role.py
fi
