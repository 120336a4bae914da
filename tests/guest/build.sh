#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Makes the tiny guest: Debian's cloud kernel and guest agent, unpacked and not installed, and an initramfs
# with busybox, the agent with the libraries it needs (the host's own), and the programs that write. Kept in
# build/guest; made anew when a file of this folder is newer.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p "${BUILD:-build}/guest"
out=$(realpath "${BUILD:-build}/guest")
exec 9>"$out/lock"
flock -w 300 9
if [ -e "$out/vmlinuz" ] && [ -e "$out/initrd" ] && [ -z "$(find tests/guest -newer "$out/initrd")" ]; then
	exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# apt's own user must be able to write there.
chmod 755 "$work"

# In the order in which they are loaded. What the kernel has built in is no module, and is passed over.
modules="virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk virtio_console
  crc16 crc32c_generic libcrc32c mbcache jbd2 ext4"

kernel_package() {
	apt-cache depends linux-image-cloud-amd64 | awk '$1 == "Depends:" { print $2; exit }'
}

download() { # packages...
	(cd "$work" && apt-get -q -o APT::Sandbox::User=root download "$@" >download.log 2>&1)
}

# What was downloaded is kept: the guest is made anew without the network.
if ! ls "$out"/linux-image-*.deb "$out"/qemu-guest-agent_*.deb >"$work/found" 2>/dev/null; then
	rm -f "$out"/*.deb
	kernel=$(kernel_package)
	if [ -z "$kernel" ] || ! download "$kernel" qemu-guest-agent; then
		apt-get update -qq
		download "$(kernel_package)" qemu-guest-agent || {
			cat "$work/download.log" >&2
			exit 1
		}
	fi
	mv "$work"/*.deb "$out/"
fi
for package in linux-image qemu-guest-agent; do
	dpkg-deb -x "$out/$package"[-_]*.deb "$work/$package"
done
cp "$work"/linux-image/boot/vmlinuz-* "$out/vmlinuz"

root=$work/root
mkdir -p "$root"/{bin,dev,proc,sys,run,mnt,modules}
for module in $modules; do
	find "$work/linux-image/lib/modules" -name "$module.ko*" -exec cp {} "$root/modules/" \;
done
find "$root/modules" -name '*.xz' -exec xz -d {} \;
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$work/qemu-guest-agent/usr/sbin/qemu-ga" "$root/bin/"
libraries=$(ldd "$root/bin/qemu-ga")
if [[ $libraries == *"not found"* ]]; then
	echo "build.sh: the guest agent lacks libraries of the host:" >&2
	grep "not found" <<<"$libraries" >&2
	exit 1
fi
grep -o '/[^ ]*' <<<"$libraries" | while read -r library; do
	mkdir -p "$root${library%/*}"
	cp -L "$library" "$root$library"
done
for program in writer churn; do
	gcc -static -O2 -o "$root/bin/$program" "tests/guest/$program.c"
done
echo "$modules" >"$root/modules/order"
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t devtmpfs none /dev
$bb mount -t proc none /proc
$bb mount -t sysfs none /sys
for module in $($bb cat /modules/order); do
	[ -e /modules/$module.ko ] && $bb insmod /modules/$module.ko
done
for try in 1 2 3 4 5 6 7 8 9 10; do
	[ -b /dev/vda ] && break
	$bb sleep 1
done

# The agent, where libvirt gave the guest its channel; the port's name comes after its driver.
agent() {
	for try in 1 2 3 4 5 6 7 8 9 10; do
		for port in /sys/class/virtio-ports/*; do
			[ "$($bb cat $port/name 2>/dev/null)" = org.qemu.guest_agent.0 ] || continue
			$bb mkdir -p /dev/virtio-ports
			$bb ln -sf /dev/${port##*/} /dev/virtio-ports/org.qemu.guest_agent.0
			exec /bin/qemu-ga -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -t /run
		done
		$bb sleep 1
	done
}

if $bb grep -qw novasnap.fs /proc/cmdline; then
	$bb mount -t ext4 /dev/vda /mnt
	agent &
	echo guest-is-up
	/bin/churn /mnt
else
	agent &
	echo guest-is-up
	/bin/writer /dev/vda
fi
echo writer-ended
$bb sleep 1000000
INIT
chmod 755 "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc) | gzip -1 >"$out/initrd.new"
mv "$out/initrd.new" "$out/initrd"
