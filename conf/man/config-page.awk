# SPDX-License-Identifier: LGPL-2.1-or-later
# Prints the manual page of the configuration by the sample and what config-keys says of its keys.
#   awk -f conf/man/common.awk -f conf/man/config-page.awk -v keys=FILE -v name=NAME -v section=5 -v what=TEXT
#       -v version=1.0 -v see="NAME/SECTION,..." conf/novasnap.conf

BEGIN {
	FS = "\t"
	while ((getline line <keys) > 0) {
		split(line, parts, "\t")
		facts[parts[1] " " parts[2]] = parts[3]
	}
	print_head(name, section, what, version)
	print ".SH DESCRIPTION"
}

# A line of a comment.
/^# / {
	text = text (text == "" ? "" : " ") substr($0, 3)
	next
}

/^\[/ {
	group = substr($0, 2, length($0) - 2)
	printf ".SH [%s]\n", escape(group)
}

/^#[^ ]/ {
	split(substr($0, 2), parts, " =")
	key = parts[1]
	value = substr($0, length(key) + 4)
	sub(/^ /, "", value)
	if (!((group " " key) in facts)) {
		print "config-page.awk: there is no key [" group "]" key >"/dev/stderr"
		exit failed = 1
	}
	printf ".TP\n\\fB%s\\fR = %s\n%s\n", escape(key), value == "" ? "(not set)" : escape(value), prose(text)
	if (facts[group " " key] != "")
		printf ".IP\n%s\n", prose(facts[group " " key])
}

/^$/ && text != "" && group == "" {
	printf ".PP\n%s\n", prose(text)
}

{
	text = ""
}

END {
	if (!failed)
		print_see_also(see, name)
	exit failed
}
