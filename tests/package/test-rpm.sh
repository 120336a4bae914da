#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# `make rpm`: its files are those of `make install`, and its scripts do on installation, upgrade and removal what those
# of the Debian package do. They run in an empty Debian, where systemctl is a stand-in that only notes how it is called.
#   tests/package/test-rpm.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${NOVASNAP_BUILD:-build}
place=$(mktemp -d)
trap 'rm -rf --one-file-system "$place"' EXIT
fail() { # what
	echo "test-rpm: $1" >&2
	exit 1
}
run_make() {
	"${MAKE:-make}" --no-print-directory "$@" >"$place/log" 2>&1 || {
		tail -n 30 "$place/log" >&2
		fail "\"make $*\" failed"
	}
}

# The part that runs in a mount namespace, on an empty Debian that is not changed.
if [ "${1:-}" = --inside ]; then
	base=$2 package=$3
	trap 'umount -R "$place" || true; rmdir "$place"' EXIT
	mount -t tmpfs tmpfs "$place"
	mkdir "$place"/{upper,work,root}
	mount -t overlay overlay -o "lowerdir=$base,upperdir=$place/upper,workdir=$place/work" "$place/root"
	root=$place/root
	mkdir -p "$root/run/systemd/system"
	rm -f "$root/usr/bin/systemctl"
	cat >"$root/usr/bin/systemctl" <<-'EOF'
		#!/bin/sh
		if [ "$1" = show ]; then cat /state; else echo "$*" >>/calls; fi
	EOF
	echo ActiveState=inactive >"$root/state"
	chmod 755 "$root/usr/bin/systemctl"
	mkdir -p "$root/var/lib/rpm"
	rpm() {
		: >"$root/calls"
		command rpm --root "$root" --nodeps "$@" 2>&1
	}
	units="novasnap-beside-guard.timer novasnap-beside-guard.service novasnapd.service"
	said=$(rpm --install "$package") || fail "the installation failed: $said"
	[ "$(cat "$root/calls")" = daemon-reload ] || fail "the installation calls systemctl: $(cat "$root/calls")"
	[ "$(chroot "$root" id -u nova):$(chroot "$root" id -gn nova)" = 162:nova ] || fail "the user nova is another"
	[ "$(chroot "$root" stat -c %a:%U:%G /etc/novasnap/novasnap.conf)" = 640:root:nova ] || fail "novasnap.conf's mode"
	echo "# kept" >>"$root/etc/novasnap/novasnap.conf"
	said=$(rpm --upgrade --replacepkgs --replacefiles "$package") || fail "the upgrade failed: $said"
	grep -qx "try-restart $units" "$root/calls" || fail "the upgrade calls systemctl: $(cat "$root/calls")"
	if grep -vE '^(daemon-reload|try-restart .*)$' "$root/calls"; then fail "the upgrade does more with systemctl"; fi
	grep -q '^# kept' "$root/etc/novasnap/novasnap.conf" || fail "the upgrade has replaced novasnap.conf"
	mkdir -p "$root/var/lib/novasnap/journal"
	touch "$root/var/lib/novasnap/journal/beside.json"
	if said=$(rpm --erase novasnap); then fail "it is removed although nova-compute depends on it"; fi
	grep -q "novasnap beside --disable" <<<"$said" || fail "the refusal says: $said"
	[ ! -s "$root/calls" ] || fail "the refusal calls systemctl: $(cat "$root/calls")"
	[ -x "$root/usr/bin/novasnapd" ] || fail "the refusal has removed novasnapd"
	rm "$root/var/lib/novasnap/journal/beside.json"
	echo ActiveState=activating >"$root/state"
	if said=$(rpm --erase novasnap); then fail "it is removed although its units still run"; fi
	grep -q " still runs" <<<"$said" || fail "the refusal says: $said"
	[ -x "$root/usr/bin/novasnapd" ] || fail "the refusal has removed novasnapd"
	echo ActiveState=inactive >"$root/state"
	# The program itself has no libraries here.
	printf '#!/bin/sh\necho "job 17"\n' >"$root/usr/bin/novasnap"
	touch "$root/var/lib/novasnap/journal/journal.db"
	said=$(rpm --erase novasnap) || fail "the removal failed: $said"
	grep -q "has unfinished jobs" <<<"$said" || fail "the removal says: $said"
	grep -qx "job 17" <<<"$said" || fail "the removal says: $said"
	[ -e "$root/var/lib/novasnap/journal/journal.db" ] || fail "the removal has removed the journal"
	[ "$(cat "$root/calls")" = "disable --now $units" ] || fail "the removal calls systemctl: $(cat "$root/calls")"
	[ ! -e "$root/usr/bin/novasnapd" ] || fail "the removal has left novasnapd"
	[ -e "$root/etc/novasnap/novasnap.conf.rpmsave" ] || fail "the removal has removed a changed novasnap.conf"
	exit
fi

run_make rpm
run_make install DESTDIR="$place/tree" QEMU_GROUP=qemu
version=$("${MAKE:-make}" -s print-version)
package=$(echo "$build/rpm/RPMS"/*/novasnap-"$version"-1*.rpm)
rbd=$(echo "$build/rpm/RPMS"/*/novasnap-rbd-"$version"-1*.rpm)
for file in "$package" "$rbd"; do
	[ -e "$file" ] || fail "there is no package of version $version: $file"
done
# Build ids belong to no `make install`.
diff <(cd "$place/tree" && find . ! -type d | sed 's,^\.,,' | sort) \
	<(rpm -qp --queryformat '[%{FILENAMES} %{FILEMODES:perms}\n]' "$package" "$rbd" |
		sed -n 's, -.*,,p' | grep -v '^/usr/lib/\.build-id/' | sort) ||
	fail "the files differ from those of make install"
rpm -qp --queryformat '[%{FILENAMES} %{FILEFLAGS:fflags}\n]' "$package" | grep -qx '/etc/novasnap/novasnap.conf cn' ||
	fail "novasnap.conf is no configuration file that is kept"
mkdir "$place/files"
(cd "$place/files" && rpm2cpio "$OLDPWD/$package" | cpio --quiet -id)
[ "$("$place/files/usr/bin/novasnapd" --version)" = "novasnapd $version" ] || fail "novasnapd has another version"
for file in lib/tmpfiles.d/novasnap.conf lib/sysusers.d/novasnap.conf lib/systemd/system/novasnapd.service; do
	cmp "$place/tree/usr/$file" "$place/files/usr/$file" || fail "$file differs"
	if grep -v '^#' "$place/files/usr/$file" | grep libvirt-qemu; then fail "$file names Debian's group of QEMU"; fi
done
tests/package/base.sh bookworm "$build/base-bookworm"
unshare --mount --propagation private tests/package/test-rpm.sh --inside "$PWD/$build/base-bookworm" "$PWD/$package"
echo "test-rpm: ok"
