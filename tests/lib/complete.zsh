# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by an interactive zsh, makes Tab write what it would offer to the file $OFFERED, one word on each line and
# "<end>" at the end, instead of showing it. The functions of the folder $FUNCTIONS are completed.
PS1= PS2=
fpath=($FUNCTIONS $fpath)
autoload -Uz compinit
compinit -u -D
compadd() {
	# With these options it only fills an array.
	if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
		builtin compadd "$@"
		return
	fi
	local -a hits
	builtin compadd -A hits "$@"
	[[ $#hits -gt 0 ]] && print -rl -- $hits >>$OFFERED
	builtin compadd "$@"
}
offer() {
	zle complete-word
	print '<end>' >>$OFFERED
	BUFFER=
}
zle -N offer
bindkey '^I' offer
print '<end>' >>$OFFERED
