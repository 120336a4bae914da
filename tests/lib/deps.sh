#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Installs the missing packages of the named groups, as root. Takes no time when nothing is missing. Starts no service.
#   tests/lib/deps.sh GROUP ...          the groups are those of the table below
set -euo pipefail

# The packages of each group, on Debian 12, 13 and sid: where a name is not that of all releases, "a|b" means what is
# installed, or else the first that the release has. "@GROUP" is another group.
declare -A table=(
	[build]="gcc libc6-dev make pkg-config libvirt-dev librabbitmq-dev libcurl4-openssl-dev libcjson-dev
		libglib2.0-dev libnbd-dev libxml2-dev libsqlite3-dev libsystemd-dev libssl-dev zlib1g-dev libzstd-dev
		libbz2-dev liblzma-dev libbrotli-dev librbd-dev librados-dev libmicrohttpd-dev"
	# For the unit tests.
	[check]="perl qemu-utils nbdkit"
	[run-directory]="rabbitmq-server libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients
		qemu-system-x86 qemu-utils python3 busybox-static cpio xz-utils ca-certificates"
	# Glance of sid is served by uwsgi.
	[run]="@run-directory glance-api uwsgi-plugin-python3"
	[test]="perl python3-oslo.config python3-oslo.log python3-oslo.messaging python3-keystoneauth1 python3-psutil
		libvirt-daemon-driver-lxc e2fsprogs mount util-linux openssl systemd apparmor python3-seccomp libfaketime
		zsh man-db prometheus prometheus-node-exporter curl python3-nova @ceph"
	# With Glance's rbd store.
	[ceph]="ceph-mon ceph-mgr ceph-osd ceph-common qemu-block-extra python3-rbd python3-rados"
	# nova-compute-qemu installs the QEMU of every architecture on Debian 13 and later.
	[e2e]="keystone nova-api nova-conductor nova-scheduler nova-compute nova-compute-kvm|nova-compute-qemu
		placement-api mariadb-server uwsgi-core uwsgi-plugin-python3 python3-pymysql python3-openstacksdk
		python3-amqp ovmf swtpm-tools @ceph"
	[roots]="debootstrap debian-archive-keyring iproute2 mount util-linux wget"
	[container]="docker.io @roots"
	[deb]="build-essential dpkg-dev debhelper lintian systemd-dev|systemd"
	[policy]="apparmor checkpolicy logrotate semodule-utils"
	[rpm]="cpio rpm"
	[image]="buildah crun podman @roots"
	[ansible]="ansible-core ansible-lint"
	[bench]="gnuplot-nox curl nbdkit openssl procps"
	[lint]="clang-format clang-tidy cppcheck git shellcheck"
	[fuzz]="clang libclang-rt-dev"
	[valgrind]="valgrind"
	[coverage]="gcovr"
)

packages_of() { # group
	local word
	if [ -z "${table[$1]:-}" ]; then
		echo "deps.sh: there is no group \"$1\"; the groups are: ${!table[*]}" >&2
		return 2
	fi
	for word in ${table[$1]}; do
		if [[ $word == @* ]]; then
			packages_of "${word#@}"
		else
			echo "$word"
		fi
	done
}

wanted=""
for group in "$@"; do
	wanted+=" $(packages_of "$group")"
done

is_installed() { # package
	local status
	status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null || true)
	[ "${status:0:2}" = ii ]
}

any_installed() { # package|package...
	local package
	for package in ${1//|/ }; do
		if is_installed "$package"; then
			return 0
		fi
	done
	return 1
}

missing=""
for package in $wanted; do
	any_installed "$package" || missing+=" $package"
done
if [ -z "$missing" ]; then
	exit 0
fi
if [ ! -e /etc/debian_version ]; then
	echo "deps.sh: this is not Debian; install what corresponds to:$missing" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "deps.sh: packages are missing; as root: apt-get install --no-install-recommends$missing" >&2
	exit 1
fi

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
made_policy=
trap 'rm -f "$log" ${made_policy:+"$policy"}' EXIT
# The tests start their own services, so the packages must not start theirs.
if [ ! -e "$policy" ]; then
	made_policy=yes
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
run_apt() { # argument...
	if ! DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1 </dev/null; then
		tail -n 20 "$log" >&2
		echo "deps.sh: \"apt-get $*\" failed" >&2
		exit 1
	fi
}

echo "installing:$missing" >&2
run_apt update
chosen=()
for package in $missing; do
	for each in ${package//|/ }; do
		if [ -n "$(apt-cache madison "$each" 2>/dev/null)" ]; then
			break
		fi
		each=${package%%|*}
	done
	chosen+=("$each")
done
run_apt install -y --no-install-recommends "${chosen[@]}"
