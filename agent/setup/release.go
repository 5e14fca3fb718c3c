package setup

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// kernelWithin compares the numbers of a release, uname's "6.12.3-amd64", with as many
// as the author gave: 6.12.3 is = 6.12.
func kernelWithin(release, comparison, wanted string) (bool, error) {
	want, ok := numbers(wanted)
	if !ok || len(want) > 3 {
		return false, fmt.Errorf("kernel release %q: numbers such as 6.12 are needed", wanted)
	}
	have, ok := numbers(strings.TrimRight(leading(release), "."))
	if !ok {
		return false, fmt.Errorf("this kernel's release %q does not begin with numbers", release)
	}
	for len(have) < len(want) {
		have = append(have, 0)
	}
	order := slices.CompareFunc(have[:len(want)], want, cmp.Compare[int])
	switch comparison {
	case "<":
		return order < 0, nil
	case "<=":
		return order <= 0, nil
	case "=":
		return order == 0, nil
	case ">=":
		return order >= 0, nil
	case ">":
		return order > 0, nil
	}
	return false, fmt.Errorf("comparison %q of kernels: one of <, <=, =, >=, > is needed", comparison)
}

// leading is the part of a release that is numbers and dots.
func leading(release string) string {
	i := strings.IndexFunc(release, func(c rune) bool { return c != '.' && (c < '0' || c > '9') })
	if i < 0 {
		return release
	}
	return release[:i]
}

func numbers(text string) ([]int, bool) {
	var all []int
	for part := range strings.SplitSeq(text, ".") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return nil, false
		}
		all = append(all, n)
	}
	return all, true
}
