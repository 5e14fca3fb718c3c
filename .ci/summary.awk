# Reads the output of `go test -v` and prints, per package: of a package that passed, the
# tests that were skipped, each with its reason, and the ok line; of one that failed, all it
# said but the tests that passed. go test prints a package's output in one piece and its
# line last. At the very end stands once more what every test that failed said of it itself,
# without the logs of the processes that it ran.

/^(ok|FAIL|\?)[ \t]+[^ \t]/ || /^\t[^ ].*coverage:/ || /^\?/ {
	report($1 == "FAIL")
	if ($0 !~ /no test files/) print
	next
}
{ held[++n] = $0 }
END {
	report(1)
	for (i = 1; i <= said; i++) print (i == 1 ? "what failed, in short:\n" : "") words[i]
}

function report(failed,    i, last) {
	for (i = 1; i <= n; i++) {
		if (failed) {
			gather(held[i])
			if (held[i] !~ /^=== / && held[i] !~ /^ *--- PASS/ && held[i] !~ /^(PASS|FAIL)$/) print held[i]
		} else if (held[i] ~ /^ *--- SKIP/) {
			print held[i] (last == "" ? "" : ":" last)
		}
		if (held[i] ~ /^ +[^ ]+\.go:[0-9]+: /) {
			last = held[i]
			sub(/^ +[^ ]+\.go:[0-9]+:/, "", last)
		} else if (held[i] ~ /^=== RUN/) {
			last = ""
		}
	}
	n = 0
}

# gather keeps the words of each test until it is known how it ended. A message begins with
# its place in the source; of what stands below it a few lines are kept.
function gather(line,    part) {
	split(line, part, /[ :]+/)
	if (line ~ /^=== (RUN|NAME|CONT) /) {
		test = part[3]
		own = 0
	} else if (line ~ /^ *--- (PASS|FAIL|SKIP): /) {
		split(line, part, /--- [A-Z]+: | \(/)
		if (line ~ /--- FAIL/ && part[2] in short) words[++said] = line "\n" short[part[2]]
		delete short[part[2]]
		own = 0
	} else {
		if (line ~ /^ +[^ ]+\.go:[0-9]+: /) own = line ~ /: \[rapid\] draw |lab_linux_test\.go:[0-9]+: [a-z0-9]+: [{]/ ? 0 : 6
		if (own-- > 0 && length(short[test]) < 2000) short[test] = short[test] substr(line, 1, 300) "\n"
	}
}
