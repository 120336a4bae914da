#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs a command in the root of a Debian release (bookworm, trixie, sid, or another that debootstrap knows). Needs root.
#   tests/lib/root.sh [--net private] RELEASE COMMAND [ARGUMENT ...]
# The command runs in the working tree, which is mounted at /novasnap. The root is made at its first use and kept in
# ${XDG_CACHE_HOME:-~/.cache}/novasnap/roots/RELEASE; packages that a command installs are kept with it.
# What is built there goes into build-RELEASE, where NOVASNAP_BUILD names no other folder.
# Each run has its own /dev, /proc, /sys, /run, /tmp and /var/tmp, so several runs may use one root at the same time.
# With "--net private" the command has a network with a loopback and nothing else.
# All of it happens in new namespaces: when the command ends, fails or is killed, no mount and no process is left.
set -euo pipefail

usage() {
	echo "usage: root.sh [--net private] RELEASE COMMAND [ARGUMENT ...]" >&2
	exit 2
}

net=host
if [ "${1:-}" = --net ]; then
	[ "${2:-}" = private ] || usage
	net=private
	shift 2
fi
[ $# -ge 2 ] || usage
release=$1
shift

# This part runs as process 1 of the new namespaces, with the root as its current folder.

mount_filesystems() { # tree scratch
	mkdir -p novasnap
	mount --bind "$1" novasnap
	mount -t proc proc proc
	mount -t sysfs sysfs sys
	if [ -d /sys/fs/cgroup ]; then
		mount --rbind /sys/fs/cgroup sys/fs/cgroup
	fi
	mount -t tmpfs -o mode=755 tmpfs run
	mkdir -m 1777 run/lock
	local folder
	for folder in tmp var/tmp; do
		mkdir -p "$2/$folder"
		chmod 1777 "$2/$folder"
		mount --bind "$2/$folder" "$folder"
	done
}

make_device() { # name mode type major minor
	mknod -m "$2" "dev/$1" "$3" "$4" "$5"
}

# Nodes of our own: the scripts of packages, such as QEMU's, change the owners of those that they find.
make_devices() {
	mount -t tmpfs -o mode=755 tmpfs dev
	make_device null 666 c 1 3
	make_device zero 666 c 1 5
	make_device full 666 c 1 7
	make_device random 666 c 1 8
	make_device urandom 666 c 1 9
	make_device tty 666 c 5 0
	mkdir dev/pts dev/shm
	mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
	mount -t tmpfs -o mode=1777 tmpfs dev/shm
	ln -s pts/ptmx dev/ptmx
	ln -s /proc/self/fd dev/fd
	ln -s /proc/self/fd/0 dev/stdin
	ln -s /proc/self/fd/1 dev/stdout
	ln -s /proc/self/fd/2 dev/stderr
	if [ -e /dev/kvm ]; then
		# The group of QEMU's user has another number in each root, and may come only with a package.
		make_device kvm 666 c 10 232
	fi
	if [ -e /dev/loop-control ]; then
		make_device loop-control 660 c 10 237
		local number
		for number in {0..63}; do
			make_device "loop$number" 660 b 7 "$number"
		done
	fi
}

# The caller's variables that the command gets, as NAME=VALUE.
kept_variables() {
	local name
	echo "NOVASNAP_BUILD=${NOVASNAP_BUILD:-build-$release}"
	# Kept with the root.
	echo NOVASNAP_GUEST_PACKAGES=/var/cache/novasnap/guest-packages
	for name in $(compgen -e); do
		case $name in
		NOVASNAP_ROOT_* | NOVASNAP_BUILD | NOVASNAP_GUEST_PACKAGES) ;;
		NOVASNAP_* | CC | CI | LANG | SANITIZE | TERM | WERROR) echo "$name=${!name}" ;;
		esac
	done
}

# Ends all processes of the namespace, with half a minute to clean up.
# shellcheck disable=SC2317 # called by a trap
stop_command() {
	trap '' TERM
	kill -TERM -1 || true
	(
		sleep 30
		kill -KILL -1
	) &
	wait "$command" || true
	exit 143
}

if [ -n "${NOVASNAP_ROOT_FOLDER:-}" ]; then
	cd "$NOVASNAP_ROOT_FOLDER"
	mount --bind . .
	cd "$NOVASNAP_ROOT_FOLDER"
	mount_filesystems "$NOVASNAP_ROOT_TREE" "$NOVASNAP_ROOT_SCRATCH"
	make_devices
	if [ "$net" = private ]; then
		ip link set lo up
	else
		cp -L /etc/resolv.conf etc/resolv.conf
	fi
	mapfile -t variables < <(kept_variables)
	# With chroot, what enters a mount namespace of the command's (nsenter) would leave the root.
	mkdir -p mnt
	pivot_root . mnt
	cd /
	/usr/bin/umount --lazy /mnt
	# shellcheck disable=SC2016 # for the inner shell
	/usr/bin/env -i HOME=/root USER=root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		"${variables[@]}" /bin/sh -c 'cd /novasnap && exec "$@"' sh "$@" <&0 &
	command=$!
	trap stop_command TERM
	status=0
	wait "$command" || status=$?
	exit "$status"
fi

# This part is what the caller runs.

if [ "$(id -u)" != 0 ]; then
	echo "root.sh: only root can enter the root of a Debian release" >&2
	exit 1
fi
for program in debootstrap flock ip setpriv unshare; do
	if ! command -v "$program" >/dev/null; then
		echo "root.sh: $program is missing; \"tests/lib/deps.sh roots\" installs it" >&2
		exit 1
	fi
done
tree=$(realpath "$(dirname "$0")/../..")
roots=${XDG_CACHE_HOME:-$HOME/.cache}/novasnap/roots
root=$roots/$release
mkdir -p "$roots"

namespaces=''
scratch=''
# When the process that waits for the namespaces is killed, the kernel ends everything in them.
# shellcheck disable=SC2317 # called by a trap
clean_up() {
	if [ -n "$namespaces" ]; then
		kill -KILL "$namespaces" 2>/dev/null || true
		wait "$namespaces" 2>/dev/null || true
	fi
	if [ -n "$scratch" ]; then
		rm -rf --one-file-system "$scratch"
	fi
}
# Asks process 1 of the namespaces to end the command, and waits for it.
# shellcheck disable=SC2317 # called by a trap
stop() { # exit status
	trap '' HUP INT TERM
	if [ -n "$namespaces" ]; then
		local inner
		read -r inner <"/proc/$namespaces/task/$namespaces/children" || true
		if [ -n "${inner:-}" ] && kill -TERM "$inner" 2>/dev/null; then
			wait "$namespaces" 2>/dev/null || true
		fi
	fi
	exit "$1"
}
trap clean_up EXIT
trap 'stop 129' HUP
trap 'stop 130' INT
trap 'stop 143' TERM

in_namespaces() { # [option of unshare ...] command [argument ...]
	local status=0
	setpriv --pdeathsig KILL unshare --mount --propagation private --ipc --uts --pid --fork --kill-child "$@" <&0 &
	namespaces=$!
	wait "$namespaces" || status=$?
	namespaces=
	return "$status"
}

make_scratch() {
	scratch=$(mktemp -d "$roots/.$release.XXXXXX")
	# Held as long as a process of this run lives.
	exec 8>"$scratch/lock"
	flock 8
}

# One run at a time makes the root, or removes what a killed run left.
exec 9>"$roots/.$release-lock"
if ! flock -w 3600 9; then
	echo "root.sh: for an hour somebody else has been making $root" >&2
	exit 1
fi
for old in "$roots/.$release."*; do
	if [ ! -e "$old/lock" ] || flock -n "$old/lock" true; then
		rm -rf --one-file-system "$old"
	fi
done
if [ ! -d "$root" ]; then
	echo "root.sh: making the root of $release in $root, once; this takes some minutes" >&2
	make_scratch
	in_namespaces "$tree/tests/lib/bootstrap.sh" "$release" "$scratch/root"
	mv "$scratch/root" "$root"
	rm -rf --one-file-system "$scratch"
fi
make_scratch
exec 9>&-

options=()
arguments=()
if [ "$net" = private ]; then
	options=(--net)
	arguments=(--net private)
fi
status=0
NOVASNAP_ROOT_FOLDER=$root NOVASNAP_ROOT_TREE=$tree NOVASNAP_ROOT_SCRATCH=$scratch in_namespaces "${options[@]}" \
	"$(realpath "$0")" "${arguments[@]}" "$release" "$@" || status=$?
exit "$status"
