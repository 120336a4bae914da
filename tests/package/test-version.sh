#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The version comes from git's tags: that of the programs, of the Debian package and of the RPM package, at a tag, between
# two tags, and without git. In a clone of its own with other tags. The packages are compiled without optimization.
#   tests/package/test-version.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
fail() { # what
	echo "test-version: $1" >&2
	exit 1
}
run() { # command...
	"$@" >"$place/log" 2>&1 || {
		tail -n 30 "$place/log" >&2
		fail "\"$*\" failed"
	}
}
make=${MAKE:-make}
export DEB_BUILD_OPTIONS="noopt nostrip nocheck" OPT=-O0
unset NOVASNAP_BUILD MAKEFLAGS MAKELEVEL

git ls-files --cached --others --exclude-standard | tar -cf - -T - | (mkdir "$place/tree" && tar -C "$place/tree" -xf -)
cd "$place/tree"
release=$(sed -n 's/^RELEASE := //p' Makefile)
[ "$("$make" -s print-version)" = "$release" ] || fail "without git the version is not that of the Makefile"
run_git() {
	run git -c user.name=test -c user.email=test@example.org "$@"
}
run_git init --quiet
run_git add --all
run_git commit --quiet --message first
[ "$("$make" -s print-version)" = "$release" ] || fail "without a tag the version is not that of the Makefile"

versions() {
	local programs deb rpm
	programs=$(build/novasnapd --version | cut -d' ' -f2)
	[ "novasnap $programs" = "$(build/novasnap --version)" ] || fail "novasnap has another version than novasnapd"
	deb=$(dpkg-deb --field build/deb/novasnap_*.deb Version)
	rpm=$(rpm -qp --queryformat '%{VERSION}' build/rpm/RPMS/*/novasnap-[0-9]*.rpm)
	# What is in the packages.
	dpkg-deb --extract build/deb/novasnap_*.deb "$place/deb"
	mkdir -p "$place/rpm"
	rpm2cpio build/rpm/RPMS/*/novasnap-[0-9]*.rpm | (cd "$place/rpm" && cpio --quiet -idu)
	echo "$programs $deb $rpm $("$place/deb/usr/bin/novasnapd" --version | cut -d' ' -f2)" \
		"$("$place/rpm/usr/bin/novasnapd" --version | cut -d' ' -f2)"
}
run_git tag v7.8.9
run "$make" -j2 all
[ "$(build/novasnapd --version)" = "novasnapd 7.8.9" ] || fail "at the tag: $(build/novasnapd --version)"
run_git tag w9
run_git commit --quiet --allow-empty --message second
later=7.8.9+1.$(git describe --tags | sed 's/.*-//')
# Only what contains the version is compiled again.
run "$make" all
[ "$(grep -c '  CC ' "$place/log")" = "$(grep -rl NOVASNAP_VERSION --include='*.c' agent image | wc -l)" ] || fail "a new version compiles $(grep -c '  CC ' "$place/log") files"
run "$make" deb
run "$make" rpm
[ "$(versions)" = "$later $later $later $later $later" ] || fail "after the tag: $(versions), not $later"
run_git commit --quiet --allow-empty --message third
run_git tag v7.9.0-rc1
candidate=$("$make" -s print-version)
[ "$candidate" = "7.9.0~rc1" ] || fail "of a release candidate: $candidate"

# Both package managers sort them.
before=7.8.9
for after in "$later" "$candidate" 7.9.0; do
	dpkg --compare-versions "$before" lt "$after" || fail "for dpkg $before is not older than $after"
	[ "$(rpm --eval "%{lua:print(rpm.vercmp('$before', '$after'))}")" = -1 ] || fail "for rpm $before is not older than $after"
	before=$after
done
echo "test-version: ok"
