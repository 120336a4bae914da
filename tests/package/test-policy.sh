#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What confines QEMU, compiled: the lines for AppArmor and the module for SELinux. And the file for logrotate, with a real
# logrotate: after a rotation the reload is asked for, and the old file is kept. Needs root.
#   tests/package/test-policy.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
fail() { # what
	echo "test-policy: $1" >&2
	exit 1
}

# libvirt includes them in the profile of each guest.
printf '%s\n' '#include <tunables/global>' 'profile novasnap-test {' '  #include <abstractions/base>' \
	"  #include \"$PWD/conf/apparmor-libvirt-qemu\"" '}' >"$place/profile"
apparmor_parser --skip-kernel-load --skip-cache "$place/profile" || fail "apparmor_parser does not compile the lines"
rules=$(apparmor_parser --skip-kernel-load --skip-cache --debug "$place/profile")
grep -q 'run/novasnap/nbd-' <<<"$rules" || fail "the profile has no rule for the sockets: $rules"

checkmodule -M -m -o "$place/novasnap.mod" conf/selinux/novasnap.te || fail "checkmodule does not compile the module"
semodule_package -o "$place/novasnap.pp" -m "$place/novasnap.mod" -f conf/selinux/novasnap.fc ||
	fail "semodule_package does not make the package"
[ -s "$place/novasnap.pp" ] || fail "the package is empty"
# A module without a line of the policy compiles, too.
semodule_unpackage "$place/novasnap.pp" "$place/again.mod" "$place/again.fc"
cmp "$place/again.fc" conf/selinux/novasnap.fc || fail "the package has other file contexts"
grep -q "^allow virt_domain novasnap_run_t:sock_file { create .* };" conf/selinux/novasnap.te ||
	fail "QEMU may not create its socket"

# In the place of /var/log/novasnap, and with a systemctl that only notes how it is called.
mkdir "$place/bin" "$place/log"
chmod 755 "$place"
id nova >/dev/null 2>&1 || fail "there is no user nova here: install nova-common"
chown nova:nova "$place/log"
printf '#!/bin/sh\necho "$*" >>%s\n' "$place/calls" >"$place/bin/systemctl"
chmod 755 "$place/bin/systemctl"
sed -e "s,/var/log/novasnap,$place/log,; s,/run/systemd/system,$place/log," conf/novasnap.logrotate >"$place/logrotate"
chmod 644 "$place/logrotate"
echo "first line" >"$place/log/novasnapd.log"
chown nova:nova "$place/log/novasnapd.log"
PATH=$place/bin:$PATH logrotate --force --state "$place/state" "$place/logrotate" || fail "logrotate refuses its file"
[ "$(cat "$place/log/novasnapd.log.1")" = "first line" ] || fail "the log was not rotated"
[ "$(cat "$place/calls")" = "$(printf '%s\n' '--quiet is-active novasnapd.service' 'reload novasnapd.service')" ] ||
	fail "after the rotation systemctl was called with: $(cat "$place/calls")"
echo "test-policy: ok"
