package timeline

import (
	"fmt"
	"strconv"
	"strings"

	"syncline/controller/experiment"
)

// kernelApplies reports whether an expectation is meant for the kernels of a run:
// that of its host, or those of all hosts. unknown says why nobody can tell.
func kernelApplies(e *experiment.Expectation, hosts []Host) (applies bool, unknown string) {
	if len(e.Kernel) == 0 {
		return true, ""
	}
	asked := false
	for i := range hosts {
		h := &hosts[i]
		if e.KernelHost != "" && h.Name != e.KernelHost {
			continue
		}
		asked = true
		release, ok := releaseNumbers(h.Kernel)
		if !ok {
			unknown = fmt.Sprintf("it is for kernels %s, and the kernel of %s is not known (%q)", kernelText(e.Kernel), h.Name, h.Kernel)
			continue
		}
		for _, r := range e.Kernel {
			if !inRange(release, r) {
				return false, ""
			}
		}
	}
	if !asked {
		return true, fmt.Sprintf("it is for kernels %s of %s, and the run has no such host", kernelText(e.Kernel), e.KernelHost)
	}
	return true, unknown
}

func kernelText(ranges []experiment.KernelRange) string {
	var parts []string
	for _, r := range ranges {
		parts = append(parts, r.Comparison+" "+r.Release)
	}
	return strings.Join(parts, " and ")
}

// releaseNumbers are the leading numbers of a kernel's release: 6, 12, 8 of
// "6.12.8-amd64". What a distribution appends says nothing of the order.
func releaseNumbers(release string) ([]int, bool) {
	end := strings.IndexFunc(release, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end >= 0 {
		release = release[:end]
	}
	var numbers []int
	for part := range strings.SplitSeq(strings.TrimSuffix(release, "."), ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, false
		}
		numbers = append(numbers, n)
	}
	return numbers, len(numbers) > 0
}

// inRange compares as many numbers as the range has: 6.1.55 is within "<= 6.1".
func inRange(release []int, r experiment.KernelRange) bool {
	want, ok := releaseNumbers(r.Release)
	if !ok {
		return false
	}
	order := 0
	for i, n := range want {
		have := 0
		if i < len(release) {
			have = release[i]
		}
		if have != n {
			order = 1
			if have < n {
				order = -1
			}
			break
		}
	}
	switch r.Comparison {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case "=":
		return order == 0
	case ">=":
		return order >= 0
	case ">":
		return order > 0
	}
	return false
}
