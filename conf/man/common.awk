# SPDX-License-Identifier: LGPL-2.1-or-later
# What the makers of manual pages share: the text of a page is in the language of man(7).

# Text as it is: no character of it is a request.
function escape(text) {
	gsub(/\\/, "\\e", text)
	gsub(/-/, "\\-", text)
	gsub(/'/, "\\(aq", text)
	gsub(/\^/, "\\(ha", text)
	gsub(/~/, "\\(ti", text)
	if (text ~ /^\./)
		text = "\\&" text
	return text
}

# The same with `words` in bold.
function prose(text, parts, count, i, result) {
	count = split(text, parts, "`")
	# Only the beginning of the line may be taken for a request.
	result = (text ~ /^\./) ? "\\&" : ""
	for (i = 1; i <= count; i++) {
		if (i % 2 == 1)
			result = result plain(parts[i])
		else
			result = result "\\fB" plain(parts[i]) "\\fR"
	}
	return result
}

# Within a line.
function plain(text) {
	text = escape(text)
	sub(/^\\&/, "", text)
	# A line may end there, also in a long URL.
	gsub(/,/, ",\\:", text)
	return text
}

function print_head(name, section, what, version) {
	printf ".TH %s %s \"\" \"novasnap %s\" \"novasnap\"\n", escape(toupper(name)), section, version
	# Words are neither broken nor spread.
	print ".nh\n.ad l"
	printf ".SH NAME\n%s \\- %s\n", escape(name), escape(what)
}

# `see`: "name/section" of each page, separated by commas.
function print_see_also(see, own, pages, count, i, parts, text) {
	count = split(see, pages, ",")
	for (i = 1; i <= count; i++) {
		split(pages[i], parts, "/")
		if (parts[1] != own)
			text = text (text == "" ? "" : ",\n") ".BR " escape(parts[1]) " (" parts[2] ")"
	}
	# The comma belongs to the page before it.
	gsub(/\),/, ") ,", text)
	printf ".SH SEE ALSO\n%s\n.PP\nThe documents in /usr/share/doc/novasnap.\n", text
}
