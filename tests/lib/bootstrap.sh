#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Makes the root of a Debian release in a new folder, with debootstrap, from the mirror and through the proxies that
# apt uses on this machine. Needs root. Starts no service and leaves nothing mounted: the packages are configured in
# namespaces of their own, without a network.
#   tests/lib/bootstrap.sh RELEASE FOLDER [PACKAGE ...]
set -euo pipefail
if [ $# -lt 2 ]; then
	echo "usage: bootstrap.sh RELEASE FOLDER [PACKAGE ...]" >&2
	exit 2
fi
release=$1 root=$2
shift 2
packages=$*

if [ "$(id -u)" != 0 ]; then
	echo "bootstrap.sh: only root can make the root of a Debian release" >&2
	exit 1
fi
if [ -e "$root" ]; then
	echo "bootstrap.sh: $root exists already" >&2
	exit 1
fi

# The mirror of this system's own release.
find_mirror() {
	local codename
	codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	codename=${codename:-sid}
	# shellcheck disable=SC2016 # these are apt's names, not the shell's
	apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
		awk -v codename="$codename" \
			'$1 ~ "^(" codename "|sid|unstable)$" && $2 == "main" && $3 ~ "^https?://" { print $3; exit }'
}

mirror=$(find_mirror)
if [ -z "$mirror" ]; then
	echo "bootstrap.sh: apt's sources on this machine name no HTTP mirror of Debian's component main" >&2
	exit 1
fi

settings=$(mktemp)
log=$(mktemp)
trap 'rm -f "$settings" "$log"' EXIT

# debootstrap downloads with wget: write apt's proxies and certificate authorities as a wgetrc. A setting for the
# mirror's host goes before the general one.
host=${mirror#*://}
host=${host%%[/:]*}
apt_value() { # scheme key
	apt-config dump | awk -F'"' -v host="$host" -v scheme="$1" -v key="$2" '
		{ name = tolower($1); sub(/ $/, "", name); base = "acquire::" scheme "::" }
		name == base key && found == "" { found = $2 }
		name == base key "::" host || name == base host "::" key { found = $2; exact = 1 }
		END { print found }'
}
write_settings() {
	local http https authorities
	http=$(apt_value http proxy)
	https=$(apt_value https proxy)
	authorities=$(apt_value https cainfo)
	if [ "$http" = DIRECT ]; then
		echo "use_proxy = off"
		return
	fi
	[ -z "$http" ] || echo "http_proxy = $http"
	[ -z "${https:-$http}" ] || [ "$https" = DIRECT ] || echo "https_proxy = ${https:-$http}"
	[ -z "$authorities" ] || echo "ca_certificate = $authorities"
}
write_settings >"$settings"

# Instead of debootstrap's own words, which do not say what is wrong.
if ! WGETRC=$settings wget --no-verbose --timeout=30 --tries=3 --output-document=/dev/null \
	"${mirror%/}/dists/$release/InRelease" 2>"$log"; then
	cat "$log" >&2
	echo "bootstrap.sh: the mirror $mirror, which apt uses on this machine, does not answer or has no release \"$release\"" >&2
	exit 1
fi

run() { # command...
	if ! "$@" >"$log" 2>&1 </dev/null; then
		tail -n 20 "$log" >&2
		tail -n 20 "$root/debootstrap/debootstrap.log" >&2 2>/dev/null || true
		rm -rf --one-file-system "$root"
		echo "bootstrap.sh: \"$*\" failed" >&2
		exit 1
	fi
}

# The first stage only downloads and unpacks. The mount namespace holds what the second stage mounts.
WGETRC=$settings run timeout -k 10 1500 debootstrap --foreign --variant=minbase --merged-usr \
	${packages:+--include="${packages// /,}"} "$release" "$root" "$mirror"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
run timeout -k 10 1500 unshare --mount --propagation private --net --ipc --uts --pid --fork --kill-child \
	chroot "$root" /debootstrap/debootstrap --second-stage
rm -rf "$root"/var/cache/apt/archives/*.deb

# apt goes through the same proxies inside. debootstrap itself has written the mirror to the sources.
apt-config dump | grep -iE '^Acquire::https?::.*(proxy|cainfo)' >"$root/etc/apt/apt.conf.d/90proxy" || true
# A mirror of sid that stands still is as good for tests.
printf 'Acquire::Retries "3";\nAcquire::Check-Valid-Until "false";\n' >"$root/etc/apt/apt.conf.d/91novasnap"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
