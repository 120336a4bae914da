#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Makes the small guest of the tests in BUILD/guest: Debian's cloud kernel and guest agent, which are unpacked and not
# installed, and an initramfs with busybox, the agent with this machine's libraries, and the programs that write.
# Makes it again when a file of this folder is newer.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BUILD:-${NOVASNAP_BUILD:-build}}
# The packages are kept, for all kinds of build: the guest is made again without the network.
packages=${NOVASNAP_GUEST_PACKAGES:-${NOVASNAP_BUILD:-build}/guest-packages}
mkdir -p "$build/guest" "$packages"
out=$(realpath "$build/guest")
packages=$(realpath "$packages")
exec 9>"$packages/lock"
flock -w 300 9
if [ -e "$out/vmlinuz" ] && [ -e "$out/initrd" ] && [ -z "$(find tests/guest -newer "$out/initrd")" ]; then
	exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# apt's own user must be able to pass through.
chmod 755 "$work"

# In the order in which they are loaded. A kernel that has one built in has no such file.
modules="virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk virtio_console
  scsi_common scsi_mod sd_mod virtio_scsi
  crc16 crc32c_generic crc32c-cryptoapi libcrc32c mbcache jbd2 ext4"

dependencies() { # package pattern
	apt-cache depends "$1" | awk -v pattern="$2" '$1 == "Depends:" && $2 ~ pattern { print $2 }'
}

# The newest cloud kernel. Before Debian 14 it is one package, later the image and the modules are others.
kernel_packages() {
	local image
	image=$(dependencies linux-image-cloud-amd64 '^linux-image-[0-9]' | head -n 1)
	[ -n "$image" ] || return 1
	echo "$image"
	dependencies "$image" '^linux-(binary|modules)-[0-9]'
}

download() {
	local names
	names=$(kernel_packages) || return 1
	# shellcheck disable=SC2086 # several names
	(cd "$work" && apt-get -q -o APT::Sandbox::User=root download $names qemu-guest-agent >download.log 2>&1)
}

if [ ! -e "$packages/complete" ]; then
	rm -f "$packages"/*.deb
	if ! download; then
		apt-get update -qq
		if ! download; then
			cat "$work/download.log" >&2 || true
			echo "build.sh: apt-get cannot download a cloud kernel and the guest agent" >&2
			exit 1
		fi
	fi
	mv "$work"/*.deb "$packages/"
	touch "$packages/complete"
fi
for package in "$packages"/*.deb; do
	dpkg-deb -x "$package" "$work/unpacked"
done
kernel=$(find "$work/unpacked" -type f -name 'vmlinuz*' | head -n 1)
if [ -z "$kernel" ]; then
	echo "build.sh: there is no kernel in the packages in $packages; remove them to download them again" >&2
	exit 1
fi
cp "$kernel" "$out/vmlinuz"

root=$work/root
mkdir -p "$root"/{bin,dev,proc,sys,run,mnt,modules}
for module in $modules; do
	find "$work/unpacked" -path '*lib/modules/*' -name "$module.ko*" -exec cp {} "$root/modules/" \;
done
find "$root/modules" -name '*.xz' -exec xz -d {} \;
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$work/unpacked/usr/sbin/qemu-ga" "$root/bin/"
libraries=$(ldd "$root/bin/qemu-ga")
if [[ $libraries == *"not found"* ]]; then
	echo "build.sh: this machine has no such libraries, which the guest agent needs:" >&2
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
	for disk in /dev/vda /dev/sda; do
		[ -b $disk ] && break 2
	done
	$bb sleep 1
done

# Starts the agent where libvirt has given the guest its channel. The port's name appears after its driver.
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
	$bb mount -t ext4 $disk /mnt
	agent &
	echo guest-is-up
	/bin/churn /mnt
elif $bb grep -qw novasnap.idle /proc/cmdline; then
	agent &
	echo guest-is-up
else
	agent &
	echo guest-is-up
	/bin/writer $disk
fi
echo writer-ended
$bb sleep 1000000
INIT
chmod 755 "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc) | gzip -1 >"$out/initrd.new"
mv "$out/initrd.new" "$out/initrd"
