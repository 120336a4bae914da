#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Makes the tiny guest: Debian's cloud kernel, unpacked and not installed, and an initramfs with busybox and
# the writer of numbered blocks. Kept in build/guest; made once.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${BUILD:-build}/guest
mkdir -p "$out"
exec 9>"$out/lock"
flock -w 300 9
if [ -e "$out/initrd" ] && [ "$out/initrd" -nt tests/guest/writer.c ] && [ "$out/initrd" -nt tests/guest/build.sh ]; then
	exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ ! -e "$out/vmlinuz" ]; then
	kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '$1 == "Depends:" { print $2; exit }')
	[ -n "$kernel" ] || {
		apt-get update -qq
		kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '$1 == "Depends:" { print $2; exit }')
	}
	# apt's own user must be able to write there.
	chmod 755 "$work"
	(cd "$work" && apt-get -q -o APT::Sandbox::User=root download "$kernel" >download.log 2>&1) || {
		cat "$work/download.log" >&2
		exit 1
	}
	dpkg-deb -x "$work"/linux-image-*.deb "$work/kernel"
	rm -rf "$out/modules"
	mkdir "$out/modules"
	for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk; do
		find "$work/kernel/lib/modules" -name "$module.ko*" -exec cp {} "$out/modules/" \;
	done
	find "$out/modules" -name '*.xz' -exec xz -d {} \;
	cp "$work"/kernel/boot/vmlinuz-* "$out/vmlinuz"
fi

root=$work/root
mkdir -p "$root"/{bin,dev,proc,sys,modules}
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$out"/modules/*.ko "$root/modules/"
gcc -static -O2 -o "$root/bin/writer" tests/guest/writer.c
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t devtmpfs none /dev
$bb mount -t proc none /proc
for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk; do
	$bb insmod /modules/$module.ko 2>/dev/null
done
for try in 1 2 3 4 5 6 7 8 9 10; do
	[ -b /dev/vda ] && break
	$bb sleep 1
done
echo guest-is-up
/bin/writer /dev/vda
echo writer-ended
$bb sleep 1000000
INIT
chmod 755 "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc) | gzip -1 >"$out/initrd.new"
mv "$out/initrd.new" "$out/initrd"
