#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# `make install` into a DESTDIR with its own PREFIX: the list of files, programs that run there, units that systemd
# accepts, and an uninstall that leaves nothing but a changed configuration.
#   tests/package/test-install.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export DESTDIR=$place PREFIX=/opt/novasnap SYSCONFDIR=/opt/etc UNITDIR=/opt/units
fail() { # what
	echo "test-install: $1" >&2
	exit 1
}
run_make() {
	local said
	said=$("${MAKE:-make}" --no-print-directory "$@" 2>&1) || {
		echo "$said" >&2
		fail "\"make $*\" failed"
	}
}
installed() {
	(cd "$place" && find . -type f | sort)
}
base_names() { # file ...
	printf '%s\n' "${@##*/}"
}

run_make install
expected=$(
	{
		base_names agent/novasnap*.c novasnap-rbd.c | sed 's,\.c$,,; s,^,./opt/novasnap/bin/,'
		base_names conf/*.service conf/*.timer | grep -v '\*' | sed 's,^,./opt/units/,'
		base_names README.md CHANGELOG.md COPYING conf/docs/* conf/novasnap.conf conf/apparmor-libvirt-qemu |
			sed 's,^,./opt/novasnap/share/doc/novasnap/,'
		base_names conf/casts/* conf/novasnapd-exclusive.conf conf/prometheus/* conf/grafana/* conf/selinux/novasnap.* |
			sed 's,^,./opt/novasnap/share/doc/novasnap/examples/,'
		echo ./opt/etc/novasnap/novasnap.conf
		echo ./opt/etc/logrotate.d/novasnap
		awk '!/^#/ { print "./opt/novasnap/share/man/man" $2 "/" $1 "." $2 }' conf/man/pages
		echo ./opt/novasnap/share/bash-completion/completions/novasnap
		echo ./opt/novasnap/share/zsh/site-functions/_novasnap
		echo ./opt/novasnap/lib/tmpfiles.d/novasnap.conf
		echo ./opt/novasnap/lib/sysusers.d/novasnap.conf
	} | sort
)
diff <(echo "$expected") <(installed) || fail "these files differ from what was to be installed"

version=$("${MAKE:-make}" -s print-version)
[ "$("$place/opt/novasnap/bin/novasnapd" --version)" = "novasnapd $version" ] || fail "novasnapd does not run"
[ "$("$place/opt/novasnap/bin/novasnap-rbd" --version)" = "novasnap-rbd $version" ] || fail "novasnap-rbd does not run"
[ "$("$place/opt/novasnap/bin/novasnap" --version)" = "novasnap $version" ] || fail "novasnap does not run"
grep -q '^ExecStart=/opt/novasnap/bin/novasnapd$' "$place/opt/units/novasnapd.service" || fail "the unit starts another program"
if grep -q 'Conflicts=' "$place/opt/units/novasnapd.service"; then fail "the unit conflicts with nova-compute"; fi
page=$place/opt/novasnap/share/man/man1/novasnap.1
grep -q '^\.SS top$' "$page" || fail "the manual page has no command top"
grep -q '^The documents in /opt/novasnap/share/doc/novasnap\.$' "$page" || fail "the manual page names another folder"
# Links between the pages hold in one folder.
while read -r page; do
	while read -r link; do
		[ -e "$(dirname "$page")/$link" ] || fail "$page refers to $link, which is not installed"
	done < <(grep -o '](\([A-Za-z0-9_-]*\.md\|[A-Z]*\)[)#]' "$page" | sed 's/^](//; s/[)#]$//' | sort -u)
done < <(find "$place" -name '*.md')

run_make install
[ "$(installed)" = "$expected" ] || fail "a second installation has other files"
echo "changed = yes" >>"$place/opt/etc/novasnap/novasnap.conf"
run_make uninstall
[ "$(installed)" = ./opt/etc/novasnap/novasnap.conf ] || fail "uninstall has left or removed: $(installed)"
cp conf/novasnap.conf "$place/opt/etc/novasnap/novasnap.conf"
run_make uninstall
[ -z "$(installed)" ] || fail "uninstall has left $(installed)"
[ ! -e "$place/opt/novasnap/share/doc/novasnap" ] || fail "uninstall has left a folder"
echo "test-install: ok"
