//go:build 386 || amd64 || arm || arm64 || loong64 || mips64le || mipsle || ppc64le || riscv64

package trace

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// refused is the error of a call of bpf(2).
func refused(what string, err error) error {
	// The verifier refuses with the errnos of missing privileges and of old kernels too.
	// What it has to say, it says in its log.
	var verifier *ebpf.VerifierError
	if errors.As(err, &verifier) && len(verifier.Log) > 0 {
		return &Unavailable{fmt.Errorf("%s: %w", what, &rejection{verifier}),
			"run Linux 5.12 or newer; if this is, report its release with these lines as a bug of syncline"}
	}
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return &Unavailable{fmt.Errorf("%s: %w", what, err),
			"run the agent as root, or give it CAP_BPF and CAP_PERFMON (AmbientCapabilities= in its unit)"}
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return &Unavailable{fmt.Errorf("%s: %w", what, err), "run Linux 5.12 or newer"}
	}
	return fmt.Errorf("trace: %s: %w", what, err)
}

// rejection is what the kernel's verifier had against a program.
type rejection struct{ verifier *ebpf.VerifierError }

const (
	// firstLines and lastLines of the verifier's log are told: where it begins to read,
	// and what it stumbled over. All of it may be megabytes.
	firstLines, lastLines = 2, 4
	maxLine               = 200
)

// Error is "the kernel's verifier refused the program (permission denied): first | … | last".
func (r *rejection) Error() string {
	lines := r.verifier.Log
	if len(lines) > firstLines+lastLines {
		omitted := fmt.Sprintf("… %d lines …", len(lines)-firstLines-lastLines)
		lines = append(append(append([]string{}, lines[:firstLines]...), omitted), lines[len(lines)-lastLines:]...)
	}
	told := make([]string, 0, len(lines))
	for _, line := range lines {
		if line = strings.TrimSpace(line); len(line) > maxLine {
			line = line[:maxLine] + "…"
		}
		told = append(told, line)
	}
	return fmt.Sprintf("the kernel's verifier refused the program (%v): %s", r.verifier.Cause, strings.Join(told, " | "))
}

func (r *rejection) Unwrap() error { return r.verifier }
