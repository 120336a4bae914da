# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The part of test-package.sh that runs in a root which has nothing of novasnap or nova.
fail() { # what
	echo "test-package: $1" >&2
	exit 1
}
apt() {
	DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "$@"
}
# Everything on the disk but what dpkg, apt and the package's dependencies keep for themselves.
list_files() {
	find / -xdev \( -path /novasnap -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /var/log \
		-o -path /tmp -o -path /var/tmp -o -path /proc -o -path /sys -o -path /dev -o -path /run \) -prune -o -print | sort
}
is_enabled() {
	find /etc/systemd -name 'novasnap*' | grep -q .
}

tests/lib/deps.sh build deb
make deb
make deb DEB_REVISION=+1
version=$("${MAKE:-make}" -s print-version)
folder=$NOVASNAP_BUILD/deb
arch=$(dpkg --print-architecture)
first=./$folder/novasnap_${version}_$arch.deb
second=./$folder/novasnap_${version}+1_$arch.deb
rbd=./$folder/novasnap-rbd_${version}+1_$arch.deb
lintian --fail-on error "$second" "./$folder/novasnap-dbgsym_${version}+1_$arch.deb" "$rbd" || fail "lintian finds errors"
dpkg-deb --field "$first" Depends

# The dependencies first, so that the difference is the package's own.
apt satisfy -y --no-install-recommends "systemd, $(dpkg-deb --field "$first" Depends)" \
	"$(dpkg-deb --field "$rbd" Depends | sed 's/novasnap ([^)]*), *//')"
before=$(list_files)
apt install -y --no-install-recommends "$first"
# The same number as nova-common's.
[ "$(id -u nova):$(id -gn nova)" = 64060:nova ] || fail "the user nova is $(id nova)"
[ "$(stat -c %a:%U:%G /etc/novasnap/novasnap.conf)" = 640:root:nova ] || fail "novasnap.conf has the wrong mode"
[ "$(novasnapd --version)" = "novasnapd $version" ] || fail "novasnapd does not run"
[ -x /usr/bin/novasnap-thaw ] || fail "novasnap-thaw is missing"
[ ! -e /usr/bin/novasnap-rbd ] || fail "novasnap-rbd is not in a package of its own"
if ldd /usr/bin/novasnapd | grep -E 'librados|librbd'; then fail "novasnapd links Ceph's libraries"; fi
if is_enabled; then fail "the service is enabled"; fi
for unit in $(dpkg -L novasnap | grep -E '/systemd/system/.*\.(service|timer)$'); do
	systemd-analyze verify "$unit" || fail "systemd does not accept $unit"
done
# Restarted by an upgrade only if it runs, and never started.
scripts=/var/lib/dpkg/info/novasnap
grep -q "try-restart .*novasnapd.service" $scripts.postinst || fail "an upgrade does not restart novasnapd"
if grep -E "deb-systemd-invoke +(start|restart|\\\$_dh_action)" $scripts.postinst; then
	fail "the installation may start novasnapd"
fi

echo "# kept" >>/etc/novasnap/novasnap.conf
mkdir -p /var/lib/novasnap/journal /var/lib/novasnap/rejected
touch /var/lib/novasnap/rejected/message
apt install -y --no-install-recommends "$second"
[ "$(dpkg-query -W -f '${Version}' novasnap)" = "$version+1" ] || fail "the package was not upgraded"
grep -q '^# kept' /etc/novasnap/novasnap.conf || fail "the upgrade has replaced novasnap.conf"
[ "$(stat -c %a:%U:%G /etc/novasnap/novasnap.conf)" = 640:root:nova ] || fail "the upgrade has changed novasnap.conf's mode"
if is_enabled; then fail "the upgrade has enabled the service"; fi

apt install -y --no-install-recommends "$rbd"
[ "$(novasnap-rbd --version)" = "novasnap-rbd $version" ] || fail "novasnap-rbd does not run"

apt remove -y novasnap
[ ! -e /usr/bin/novasnap-rbd ] || fail "remove has left novasnap-rbd, which needs novasnap"
[ ! -e /usr/bin/novasnapd ] || fail "remove has left novasnapd"
[ -e /etc/novasnap/novasnap.conf ] || fail "remove has removed novasnap.conf"
[ -e /var/lib/novasnap/rejected/message ] || fail "remove has removed the state"
# With a job that was open at the removal its journal is kept.
touch /var/lib/novasnap/open-jobs
apt purge -y novasnap novasnap-rbd
[ -e /var/lib/novasnap/open-jobs ] || fail "purge has removed a journal with open jobs"
[ ! -e /etc/novasnap ] || fail "purge has left the configuration"
rm /var/lib/novasnap/open-jobs
apt install -y --no-install-recommends "$second"
mkdir -p /var/log/novasnap
touch /var/log/novasnap/novasnapd.log.1
apt purge -y novasnap
[ ! -e /var/log/novasnap ] || fail "purge has left the logs"
left=$(comm -13 <(echo "$before") <(list_files))
# As with nova-common, the user stays: files elsewhere may be its.
left=$(grep -vE '^/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$' <<<"$left" || true)
[ -z "$left" ] || fail "purge has left: $left"
