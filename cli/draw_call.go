package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"syncline/controller/timeline"
)

// callNames is the call as its bracket opens, in full and in short. Where a host runs
// several lanes, the lane comes first.
func callNames(l *timeline.Ladder, b *timeline.Bracket) []string {
	lane := ""
	if len(l.Lanes[b.Lane].Roles) > 1 {
		lane = b.Role + ": "
	}
	if b.Lab {
		return []string{"(" + lane + b.Call + ")"}
	}
	name, _, _ := strings.Cut(b.Call, " ")
	if b.Calls > 1 || name == b.Call {
		return []string{lane + b.Call}
	}
	names := []string{lane + b.Call, lane + name}
	if _, number, ok := strings.Cut(b.Role, "["); ok && lane != "" {
		// One of several copies: where room is short its number says which.
		names = append(names, "["+number+" "+name)
	}
	return names
}

// rolesText names the lanes of a host, copies of one lane together: "client[1–8]".
func rolesText(roles []string) string {
	var bases []string
	copies := make(map[string][]int)
	for _, role := range roles {
		base, number, isCopy := copyOf(role)
		if !slices.Contains(bases, base) {
			bases = append(bases, base)
		}
		if isCopy {
			copies[base] = append(copies[base], number)
		}
	}
	for i, base := range bases {
		if numbers := copies[base]; len(numbers) > 0 {
			slices.Sort(numbers)
			bases[i] += "[" + rangesText(numbers) + "]"
		}
	}
	return strings.Join(bases, ", ")
}

// rangesText is "1–3, 5" of 1, 2, 3 and 5.
func rangesText(numbers []int) string {
	var texts []string
	for i := 0; i < len(numbers); {
		n := i
		for n+1 < len(numbers) && numbers[n+1] == numbers[n]+1 {
			n++
		}
		text := strconv.Itoa(numbers[i])
		if n > i {
			text += "–" + strconv.Itoa(numbers[n])
		}
		texts = append(texts, text)
		i = n + 1
	}
	return strings.Join(texts, ", ")
}

// copyOf takes "client[3]" apart.
func copyOf(role string) (base string, number int, ok bool) {
	base, rest, ok := strings.Cut(role, "[")
	if !ok {
		return role, 0, false
	}
	number, err := strconv.Atoi(strings.TrimSuffix(rest, "]"))
	return base, number, err == nil
}

// callResults is what a call gave, as its bracket closes, in full and ever shorter.
func callResults(b *timeline.Bracket, full bool) []string {
	took := timeline.Span(b.Took)
	if !full {
		took = timeline.Span(rounded(b.Took))
	}
	mark, between := "", " in "
	switch {
	case endedByLab(b):
		between = " after "
	case b.Waits && full:
		between = ", waited "
	}
	if b.Failed {
		mark = "✗ "
	}
	texts := []string{mark + b.Result + between + took, mark + b.Result + ", " + took, mark + b.Result}
	if b.Remark != "" && full {
		texts = append([]string{mark + b.Result + " (" + b.Remark + ")" + between + took}, texts...)
	}
	return texts
}

// returnTexts are callResults where the bracket closes, far from its name: with the
// number of the copy that made the call.
func returnTexts(b *timeline.Bracket, full bool) []string {
	texts := callResults(b, full)
	if _, number, isCopy := copyOf(b.Role); isCopy {
		for i := range texts {
			texts[i] = fmt.Sprintf("[%d] %s", number, texts[i])
		}
	}
	return texts
}

// endedByLab reports whether the lab, not the kernel, let a call return: its limit, its
// cancelling, or its killing the process.
func endedByLab(b *timeline.Bracket) bool {
	return b.Result == "timeout" || b.Result == "cancelled" || b.Result == "killed"
}

// rounded keeps three digits of a length of time.
func rounded(ns int64) int64 {
	step := int64(1)
	for ns/step >= 1000 {
		step *= 10
	}
	return (ns + step/2) / step * step
}

// callLines is a call that is shown in one row, in full and ever shorter: its
// arguments go before its time does.
func callLines(l *timeline.Ladder, b *timeline.Bracket, full bool) []string {
	names := callNames(l, b)
	if b.Lab || b.Calls > 1 {
		return names
	}
	results := callResults(b, full)
	if !full && !b.Failed && !endedByLab(b) {
		// The time of a call that did nothing but return is not worth the room.
		results = results[len(results)-1:]
		if b.Result == "0" && b.Remark == "" {
			return names
		}
	}
	return callAndResult(names, results)
}

// callAndResult joins each form of a call with each form of its result.
func callAndResult(names, results []string) []string {
	var texts []string
	for _, result := range results {
		for _, name := range names {
			texts = append(texts, name+": "+result)
		}
	}
	return texts
}
