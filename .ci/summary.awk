# Reads the output of `go test -v` and prints, per package: of a package that passed, the
# tests that were skipped, each with its reason, and the ok line; of one that failed, all it
# said but the tests that passed. go test prints a package's output in one piece and its
# line last.

/^(ok|FAIL|\?)[ \t]+[^ \t]/ || /^\t[^ ].*coverage:/ || /^\?/ {
	report($1 == "FAIL")
	if ($0 !~ /no test files/) print
	next
}
{ held[++n] = $0 }
END { report(1) }

function report(failed,    i, last) {
	for (i = 1; i <= n; i++) {
		if (failed) {
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
