package experiment

import (
	"fmt"
	"strings"
)

// Closest is the one of known that name was most likely meant to be, or "" if none
// is near: upper and lower case aside, at most a third of its letters differ.
func Closest(name string, known []string) string {
	best, bestDistance := "", min(len(name), 64)/3+1
	for _, k := range known {
		if strings.EqualFold(k, name) {
			return k
		}
		if d := distance(strings.ToLower(name), strings.ToLower(k), bestDistance); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance is the number of single-letter insertions, deletions, replacements and
// swaps of neighbours that turn a into b; limit stands for all greater ones.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+differ(a[i-1], b[j-1]))
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return min(last[len(b)], limit)
}

func differ(a, b byte) int {
	if a == b {
		return 0
	}
	return 1
}

// maxListed is how many names a hint lists before it says how many more there are.
const maxListed = 21

// suggest is the hint for a name that is not known: what was meant, if that is clear,
// else what there is. plural names the kind: "roles".
func suggest(name, plural string, known []string) string {
	c := Closest(name, known)
	switch {
	case c == "":
		return knownNames(plural, known)
	case len(known) > maxListed:
		return fmt.Sprintf("did you mean %q?", c)
	}
	return fmt.Sprintf("did you mean %q? %s", c, knownNames(plural, known))
}

func knownNames(plural string, known []string) string {
	if len(known) == 0 {
		return "there are no " + plural
	}
	if len(known) > maxListed {
		return fmt.Sprintf("known %s: %s and %d more", plural, strings.Join(known[:maxListed], ", "), len(known)-maxListed)
	}
	return fmt.Sprintf("known %s: %s", plural, strings.Join(known, ", "))
}
