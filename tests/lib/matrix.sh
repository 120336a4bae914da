#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Builds and tests novasnap on Debian releases, in their roots (tests/lib/root.sh). Needs root. Each cell of the matrix is
# one kind of test on one release, without a network but for the installation of packages:
#   gcc, clang         compiles everything again, a warning being an error, and runs the unit tests
#   demo               make demo
#   integration        the integration tests, and the kills at each step of a streamed snapshot
#   e2e-plain          make e2e with the defaults of oslo.messaging
#   e2e-modern         its tests of Nova and of novasnapd beside nova-compute, with quorum queues and streams; the other
#                      files do not depend on the kind of the queues
#   demo-directory     make demo IMAGES=directory; runs only if it is named
# What has passed for this commit is not run again (tests/lib/parts.sh), nor what has passed for another one from which no
# input of it differs. That is also remembered for each file of the tests in Python. When all cells have passed for one
# commit, the table in conf/docs/compatibility.md is written.
#   tests/lib/matrix.sh [RELEASE-KIND | RELEASE | KIND ...]
#   tests/lib/matrix.sh --list          prints the names of the cells
#   tests/lib/matrix.sh --page          writes the table from what is recorded for this commit
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/parts.sh
releases=(bookworm trixie sid)
kinds=(gcc clang demo integration e2e-plain e2e-modern)
named_kinds=(demo-directory)
packages="gcc clang libglib2.0-dev libvirt-daemon qemu-system-x86 rabbitmq-server erlang-base librabbitmq-dev
  libcurl4-openssl-dev libcjson-dev libnbd-dev libsqlite3-dev libssl-dev python3-oslo.messaging python3-oslo.config
  keystone glance-common placement-common nova-common mariadb-server ovmf swtpm ceph-common"

# oslo.messaging has these queues since 2023.
has_cell() { # release kind
	[ "$1-$2" != bookworm-e2e-modern ]
}

list_cells() { # kind...
	local release kind
	for release in "${releases[@]}"; do
		for kind in "$@"; do
			if has_cell "$release" "$kind"; then
				echo "$release-$kind"
			fi
		done
	done
}

mapfile -t all < <(list_cells "${kinds[@]}")
# Prints the cells that a word names.
cells_of() { # word
	local cell
	for cell in $(list_cells "${kinds[@]}" "${named_kinds[@]}"); do
		if [ "$cell" = "$1" ] || [ "${cell#*-}" = "$1" ] ||
			{ [ "${cell%%-*}" = "$1" ] && [[ " ${named_kinds[*]} " != *" ${cell#*-} "* ]]; }; then
			echo "$cell"
		fi
	done
}

write_page() { # commit
	tests/lib/matrix-page.py ".cache/matrix/$1" conf/docs/compatibility.md "${all[@]}"
}

case ${1:-} in
--list)
	printf '%s\n' "${all[@]}"
	list_cells "${named_kinds[@]}"
	exit
	;;
--page)
	write_page "$(git rev-parse HEAD)"
	exit
	;;
esac

cells=("${all[@]}")
if [ $# -gt 0 ]; then
	cells=()
	for word in "$@"; do
		mapfile -t found < <(cells_of "$word")
		if [ ${#found[@]} -eq 0 ]; then
			echo "matrix: there is no cell \"$word\"; the cells are: ${all[*]} $(list_cells "${named_kinds[@]}" | xargs)" >&2
			exit 2
		fi
		cells+=("${found[@]}")
	done
fi
# With CI set no test may be skipped. Each release has a folder of its own for what is built.
export WERROR=1 CI=true
unset NOVASNAP_BUILD

# In the caller's process group, so that what ends the caller ends the command.
in_root() { # seconds [option of root.sh ...] release command...
	local limit=$1
	shift
	timeout --foreground -k 60 "$limit" tests/lib/root.sh "$@"
}

# The groups of packages (tests/lib/deps.sh), and the guest of the tests, for which the network is needed.
prepare() { # release kind
	local groups guest=yes
	case $2 in
	gcc) groups="build check" guest= ;;
	clang) groups="build check fuzz" guest= ;;
	demo) groups="build run" ;;
	demo-directory) groups="build run-directory" ;;
	integration) groups="build check run test" ;;
	*) groups="build run test e2e" ;;
	esac
	# shellcheck disable=SC2086 # several groups
	in_root 2400 "$1" tests/lib/deps.sh $groups && { [ -z "$guest" ] || in_root 600 "$1" tests/guest/build.sh; }
}

# Notes the versions of the packages beside the record.
note_versions() { # release
	[ -n "$parts_record" ] || return 0
	local file=$parts_record-$1 found
	# dpkg-query fails where one of them is not installed.
	# shellcheck disable=SC2086,SC2016 # several packages; dpkg's variables
	found=$(in_root 60 "$1" dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\n' $packages 2>/dev/null || true)
	touch "$file"
	sed -n 's/^installed //p' <<<"$found" | sort -u - "$file" -o "$file"
}

run_cell() { # cell
	local release=${1%%-*} kind=${1#*-}
	local build=build-$release
	case $kind in
	gcc | clang)
		if [ "$kind" = clang ]; then
			build+=-clang
		fi
		# What was built before may be of other versions of the packages, or have hidden a warning.
		rm -rf "$build"
		NOVASNAP_BUILD=$build in_root 1500 --net private "$release" make CC="$kind" all tools bench-programs check
		;;
	demo) in_root 600 --net private "$release" make demo ;;
	demo-directory) in_root 600 --net private "$release" make IMAGES=directory demo ;;
	integration) run_files "$1" 3600 test ;;
	e2e-*)
		# test-beside takes 20 minutes where another cell runs at the same time.
		NOVASNAP_E2E_MESSAGING=${kind#e2e-} NOVASNAP_TEST_TIMEOUT=900 run_files "$1" 3600 e2e
		;;
	esac
}

list_files() { # kind
	case $1 in
	integration) ls tests/faults/test-faults.py tests/integration/test-*.py ;;
	e2e-plain) ls tests/e2e/test-*.py ;;
	e2e-modern) ls tests/e2e/test-nova.py tests/e2e/test-beside*.py ;;
	esac
}

# Records the files that pass in .cache/matrix/COMMIT.CELL, and runs only those that have not passed.
run_files() { # cell seconds target
	local record=${parts_record:+$parts_record.$1} pending output status=0
	pending=$(list_files "${1#*-}" | grep -vxF -f <(passed_files "$1") || true)
	if [ -z "$pending" ]; then
		return
	fi
	output=$(mktemp)
	NOVASNAP_TESTS="^($(tr '\n' '|' <<<"$pending" | sed 's/|$//'))\$" in_root "$2" --net private "${1%%-*}" make "$3" |
		tee "$output" || status=${PIPESTATUS[0]}
	if [ -n "$record" ] && [ "$(parts_clean_commit || true)" = "$parts_commit" ]; then
		sed -nE 's,^(\[[0-9:]+\] )?(tests/[a-z0-9/-]+\.py) \.+ ok\b.*,\2,p' "$output" >>"$record"
	fi
	rm -f "$output"
	return "$status"
}

# What only the tests on Ceph use.
ceph_inputs=(tests/lib/ceph.py tests/lib/rbd_direct.py tests/lib/rbd_guest.py)

# Prints the files that have passed in a cell, for this commit or for one from which none of their inputs differs.
passed_files() { # cell
	local record commit file inputs
	for record in .cache/matrix/*."$1"; do
		commit=$(basename "$record" ".$1")
		if [[ $commit =~ ^[0-9a-f]{40}$ ]] &&
			has_same_inputs "$commit" "$1" ':!tests/*/test-*.py' ':!HACKING.md' "${ceph_inputs[@]/#/:!}"; then
			while read -r file; do
				inputs=("$file")
				if [[ $file =~ /test-(rbd|ceph) ]]; then
					inputs+=("${ceph_inputs[@]}")
				fi
				# These two parse all documents.
				if [[ $file =~ /test-(documents|rbd)\.py ]]; then
					inputs+=(HACKING.md)
				fi
				if git diff --quiet "$commit" HEAD -- "${inputs[@]}"; then
					echo "$file"
				fi
			done <"$record"
		fi
	done
}

prepare_and_run() { # cell
	if ! prepare "${1%%-*}" "${1#*-}"; then
		echo "matrix: $1: the root of the release, its packages or the guest could not be made" >&2
		return 1
	fi
	note_versions "${1%%-*}" && run_cell "$1"
}

# The inputs of a cell are all files, but for the tests of other cells, programs beside the tests that none of them uses,
# what CI runs, this script and its pages. After a change of how this script runs a cell, remove .cache/matrix.
has_same_inputs() { # commit cell [path ...]
	local paths=(. ':!.ci' ':!tests/lib/matrix*' ':!CHANGELOG.md' ':!conf/docs/compatibility.md' "${@:3}")
	case ${2#*-} in
	integration) paths+=(':!tests/e2e' ':!tests/unit') ;;
	e2e-*)
		paths+=(':!tests/integration' ':!tests/faults' ':!tests/unit' ':!tests/e2e/kills.py' ':!tests/e2e/record.py')
		paths+=(':!HACKING.md')
		;;
	*) paths+=(':!tests/e2e' ':!tests/integration' ':!tests/faults' "${ceph_inputs[@]/#/:!}") ;;
	esac
	git diff --quiet "$1" HEAD -- "${paths[@]}" 2>/dev/null
}

# Takes over what a cell has achieved for another commit.
take_over() { # cell
	local record commit line
	for record in .cache/matrix/*; do
		commit=${record##*/}
		if [[ $commit =~ ^[0-9a-f]{40}$ ]] && [ "$commit" != "$parts_commit" ] &&
			line=$(grep "^$1 " "$record") && has_same_inputs "$commit" "$1"; then
			echo "$line" >>"$parts_record"
			sort -u -o "$parts_record-${1%%-*}" <(cat "$parts_record-${1%%-*}" "$record-${1%%-*}" 2>/dev/null)
			return
		fi
	done
}

parts_open matrix
if [ -n "$parts_record" ]; then
	for cell in "${all[@]}"; do
		if ! parts_passed "$cell"; then
			take_over "$cell"
		fi
	done
fi
for cell in "${cells[@]}"; do
	parts_run "$cell" prepare_and_run "$cell"
done
parts_close || exit 1
if [ -n "$parts_record" ]; then
	for cell in "${all[@]}"; do
		parts_passed "$cell" || exit 0
	done
	write_page "$parts_commit"
fi
