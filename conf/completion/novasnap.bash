# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Completes the command line of novasnap in bash. Commands, options and kinds of arguments are those of `--help`, and
# jobs, images and instances those of `novasnap jobs --json`.

# Prints a line for each option of a help: the kind of its argument ("-": none), its long name, and its short one.
_novasnap_options() { # help
	local line short long kind
	local pattern='^  ((-[A-Za-z]), )?(--[a-z-]+)(=([^ ]+))?( |$)'
	while IFS= read -r line; do
		if [[ $line =~ $pattern ]]; then
			short=${BASH_REMATCH[2]} long=${BASH_REMATCH[3]} kind=${BASH_REMATCH[5]}
			printf '%s %s %s\n' "${kind:--}" "$long" "$short"
		fi
	done <<<"$1"
}

# Prints the names in the list of commands.
_novasnap_commands() { # help
	sed -n '/^Commands:$/,/^$/s/^  \([a-z][a-z-]*\)  .*/\1/p' <<<"$1"
}

# Prints the arguments of the usage, without the options.
_novasnap_arguments() { # help
	sed -n 's/^  novasnap [a-z-]* \[OPTION\]\.\.\. \(.*\)/\1/p' <<<"$1" | head -n 1
}

# Prints the numbers, images or instances of jobs. Only users who may read the journal get some. --open also lists jobs
# that have ended.
_novasnap_jobs() { # open? member...
	local only=$1 member
	shift
	local lines
	lines=$("${_novasnap_program[@]}" jobs --json ${only:+--open} 2>/dev/null)
	[ -z "$only" ] || lines=$(grep -F '"state":"open"' <<<"$lines")
	for member in "$@"; do
		sed -n 's/.*"'"$member"'":"\{0,1\}\([0-9a-f-]*\)"\{0,1\}[,}].*/\1/p' <<<"$lines"
	done
}

# Fills COMPREPLY with the values of a kind of argument.
_novasnap_values() { # kind command word
	local open=
	case $2 in cancel | watch) open=yes ;; esac
	case $1 in
	DIR* | FOLDER)
		mapfile -t COMPREPLY < <(compgen -d -- "$3")
		case $1 in *glance) mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W glance -- "$3") ;; esac
		compopt -o filenames 2>/dev/null
		;;
	FILE*)
		mapfile -t COMPREPLY < <(compgen -f -- "$3")
		compopt -o filenames 2>/dev/null
		;;
	JOB*) mapfile -t COMPREPLY < <(compgen -W "$(_novasnap_jobs "$open" job image instance)" -- "$3") ;;
	ID) mapfile -t COMPREPLY < <(compgen -W "$(_novasnap_jobs "$open" image instance)" -- "$3") ;;
	UUID) mapfile -t COMPREPLY < <(compgen -W "$(_novasnap_jobs "$open" instance)" -- "$3") ;;
	# A word of the command itself.
	[a-z]*) mapfile -t COMPREPLY < <(compgen -W "$1" -- "$3") ;;
	*) COMPREPLY=() ;;
	esac
}

_novasnap() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command='' help index
	local kind long short given=0
	local -a _novasnap_program=("${COMP_WORDS[0]}")
	# bash takes "=" for a word of its own.
	if [ "$word" = = ]; then
		word=
	elif [ "$before" = = ]; then
		before=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	COMPREPLY=()
	for ((index = 1; index < COMP_CWORD; index++)); do
		case ${COMP_WORDS[index]} in
		-c | --config-file | --config-dir)
			_novasnap_program+=("${COMP_WORDS[index]}")
			[ "${COMP_WORDS[index + 1]:-}" != = ] || index=$((index + 1))
			index=$((index + 1))
			[ $index -ge "$COMP_CWORD" ] || _novasnap_program+=("${COMP_WORDS[index]}")
			;;
		-*) ;;
		*)
			command=${COMP_WORDS[index]}
			break
			;;
		esac
	done
	# shellcheck disable=SC2086
	help=$("${COMP_WORDS[0]}" $command --help 2>/dev/null) || return
	while read -r kind long short; do
		if [ "$kind" != - ] && [[ $before == "$long" || $before == "${short:-$long}" ]]; then
			_novasnap_values "$kind" "$command" "$word"
			return
		fi
		given=1
	done < <(_novasnap_options "$help")
	[ $given = 1 ] || return
	if [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_novasnap_options "$help" | cut -d ' ' -f 2-)" -- "$word")
	elif [ -z "$command" ]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_novasnap_commands "$help")" -- "$word")
	else
		_novasnap_values "$(_novasnap_arguments "$help")" "$command" "$word"
	fi
}

complete -F _novasnap novasnap
