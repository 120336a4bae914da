#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Installs what is missing of the named groups of packages (Debian 12, as root). Does nothing, and takes no
# time, when all of it is there. Starts no service.
#   tests/lib/deps.sh build|run|run-directory|test|e2e|container|bench|lint|fuzz|valgrind|coverage ...
set -euo pipefail

build="gcc libc6-dev make pkg-config libvirt-dev librabbitmq-dev libcurl4-openssl-dev libcjson-dev libglib2.0-dev
  libnbd-dev libxml2-dev libsqlite3-dev libsystemd-dev libssl-dev zlib1g-dev libzstd-dev"
run_directory="rabbitmq-server libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86
  qemu-utils python3 busybox-static cpio xz-utils ca-certificates"
run="$run_directory glance-api"
test="perl python3-oslo.config python3-oslo.log python3-oslo.messaging python3-keystoneauth1 python3-psutil
  libvirt-daemon-driver-lxc e2fsprogs mount util-linux openssl systemd apparmor python3-seccomp libfaketime"
e2e="keystone nova-api nova-conductor nova-scheduler nova-compute nova-compute-qemu placement-api mariadb-server
  uwsgi-core uwsgi-plugin-python3 python3-pymysql python3-openstacksdk python3-amqp"
container="docker.io debootstrap debian-archive-keyring"
bench="gnuplot-nox curl openssl procps"
lint="clang-format clang-tidy cppcheck shellcheck"
fuzz="clang-14 libclang-rt-14-dev"
valgrind="valgrind"
coverage="gcovr"

wanted=""
for group in "$@"; do
	case $group in
	build) wanted+=" $build" ;;
	run) wanted+=" $run" ;;
	run-directory) wanted+=" $run_directory" ;;
	test) wanted+=" $test" ;;
	e2e) wanted+=" $e2e" ;;
	container) wanted+=" $container" ;;
	bench) wanted+=" $bench" ;;
	lint) wanted+=" $lint" ;;
	fuzz) wanted+=" $fuzz" ;;
	valgrind) wanted+=" $valgrind" ;;
	coverage) wanted+=" $coverage" ;;
	*)
		echo "deps.sh: there is no group \"$group\"" >&2
		exit 2
		;;
	esac
done

missing=""
for package in $wanted; do
	status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
	[ "${status:0:2}" = ii ] || missing+=" $package"
done
[ -n "$missing" ] || exit 0

if [ ! -e /etc/debian_version ]; then
	echo "deps.sh: this is no Debian; install what corresponds to:$missing" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "deps.sh: not root; as root: apt-get install$missing" >&2
	exit 1
fi

# Packages must not start their services here: the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
echo "installing:$missing" >&2
log=$(mktemp)
# shellcheck disable=SC2086
if ! { apt-get -o DPkg::Lock::Timeout=300 update -qq && apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	rm -f "$log"
	echo "deps.sh: apt-get failed" >&2
	exit 1
fi
rm -f "$log"
