# SPDX-License-Identifier: LGPL-2.1-or-later
# Prints the manual page of a program by its --help, and that of each of its commands.
#   awk -f conf/man/common.awk -f conf/man/program-page.awk -v program=PATH -v name=NAME -v section=8 -v what=TEXT
#       -v version=1.0 -v see="NAME/SECTION,..."

# Reads a help into `lines`. Ends the program if there is none.
function read_help(command, count, line) {
	split("", lines)
	while ((command | getline line) > 0)
		lines[++count] = line
	if (close(command) != 0 || count == 0) {
		print "program-page.awk: " command " has failed" >"/dev/stderr"
		exit failed = 1
	}
	return count
}

# The lines between a title and the next empty line, as first and last in `from` and `to`.
function find_part(title, count, i) {
	from = to = 0
	for (i = 1; i <= count; i++) {
		if (lines[i] == title) {
			for (to = from = i + 1; to <= count && lines[to] != ""; to++)
				;
			to--
			return 1
		}
	}
	return 0
}

function print_usage(count, i) {
	find_part("Usage:", count)
	for (i = from; i <= to; i++)
		printf("%s.B %s\n", (i > from) ? ".br\n" : "", escape(substr(lines[i], 3)))
}

# What is neither a list nor an example, from the first or the second half of the help.
function print_text(count, after, i, text, skipping, past) {
	for (i = 1; i <= count + 1; i++) {
		if (lines[i] ~ /^[A-Z][a-z ]*:$/) {
			skipping = 1
			past = past || lines[i] == "Options:"
		} else if (i > count || lines[i] == "") {
			if (text != "")
				printf ".PP\n%s\n", prose(text)
			text = ""
			skipping = 0
		} else if (!skipping && past == after && lines[i] !~ /^(Global options of|`.*--help` describes)/) {
			text = text (text == "" ? "" : " ") lines[i]
		}
	}
}

function print_options(count, i, names, text) {
	find_part("Options:", count)
	for (i = from; i <= to; i++) {
		names = substr(lines[i], 3)
		match(names, /  +/)
		text = substr(names, RSTART + RLENGTH)
		names = escape(substr(names, 1, RSTART - 1))
		gsub(/=[^,]*/, "\\fR&", names)
		sub(/=/, "=\\fI", names)
		gsub(/, /, "\\fR, \\fB", names)
		printf ".TP\n\\fB%s\\fR\n%s\n", names, prose(text)
	}
}

function print_statuses(count, i, status) {
	find_part("Exit status:", count)
	for (i = from; i <= to; i++) {
		status = lines[i]
		sub(/^ +/, "", status)
		if (status ~ /^[0-9]+  /) {
			match(status, / +/)
			printf ".TP\n%s\n%s\n", substr(status, 1, RSTART - 1), prose(substr(status, RSTART + RLENGTH))
		} else {
			print prose(status)
		}
	}
}

function print_example(count, i) {
	find_part("Example:", count)
	print ".nf"
	for (i = from; i <= to; i++)
		print escape(substr(lines[i], 3))
	print ".fi"
}

function print_command(command, count) {
	count = read_help(program " " command " --help")
	printf ".SS %s\n", command
	print_usage(count)
	print_text(count, 0)
	print_options(count)
	print ".PP\nExit status:"
	print_statuses(count)
	print ".PP\nExample:\n.PP"
	print_example(count)
}

BEGIN {
	count = read_help(program " --help")
	print_head(name, section, what, version)
	print ".SH SYNOPSIS"
	print_usage(count)
	print ".SH DESCRIPTION"
	print_text(count, 0)
	print_text(count, 1)
	if (find_part("Options:", count)) {
		print ".SH OPTIONS"
		print_options(count)
	}
	if (find_part("Commands:", count)) {
		for (i = from; i <= to; i++) {
			split(lines[i], words, " ")
			commands[++command_count] = words[1]
		}
	}
	if (find_part("Exit status:", count)) {
		statuses = 1
		print ".SH EXIT STATUS"
		print_statuses(count)
	}
	if (find_part("Example:", count)) {
		print ".SH EXAMPLE"
		print_example(count)
	}
	if (command_count > 0)
		print ".SH COMMANDS"
	for (i = 1; i <= command_count; i++)
		print_command(commands[i])
	print_see_also(see, name)
}

END {
	exit failed
}
