package trace

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// Each tracepoint has both its programs.
func TestTwoLinksEach(t *testing.T) {
	p := newPair(t)
	w := p.client.watch(t, Config{Flows: p.flows()})
	got, want := map[string]int{}, map[string]int{}
	seen := map[ebpf.ProgramID]bool{}
	for _, l := range w.tracer.links {
		info := must(l.Info())
		got[info.RawTracepoint().Name]++
		if seen[info.Program] {
			t.Errorf("program %d is attached twice", info.Program)
		}
		seen[info.Program] = true
	}
	missing := map[synclinev1.TraceKind]bool{}
	for _, m := range w.tracer.Missing() {
		missing[m.Kind] = true
	}
	for _, p := range programs {
		if !missing[p.kind] {
			want[p.tracepoint] = len(p.names())
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("links by tracepoint (-want +got):\n%s", diff)
	}
}

// A tracepoint whose first program cannot be attached keeps no second one, and the other
// tracepoints are there.
func TestHalfAttached(t *testing.T) {
	p := newPair(t)
	p.client.do(func() error {
		cfg := &Config{Flows: p.flows(), Kinds: []synclinev1.TraceKind{synclinev1.TraceKind_TRACE_KIND_STATE, synclinev1.TraceKind_TRACE_KIND_READY}}
		l, err := loadWith(cfg, func(spec *ebpf.CollectionSpec) {
			// It can be loaded, and be attached to no tracepoint.
			ready := spec.Programs[programsProgReady].Copy()
			ready.Type, ready.AttachType, ready.AttachTo = ebpf.SocketFilter, 0, ""
			ready.Instructions = returnZero
			spec.Programs[programsProgReady] = ready
		})
		if errors.Is(err, ErrUnavailable) {
			return err
		}
		if err != nil {
			return err
		}
		defer l.close()
		if len(l.missing) != 1 || l.missing[0].Kind != synclinev1.TraceKind_TRACE_KIND_READY || !strings.Contains(l.missing[0].String(), "sk_data_ready") {
			t.Errorf("missing %v", l.missing)
		}
		if len(l.links) != 2 || len(l.programs) != 1 {
			t.Errorf("%d links and %d programs of the one tracepoint that was attached whole", len(l.links), len(l.programs))
		}
		if n := linksOfThisProcess(); n != 2 {
			t.Errorf("this process holds %d links", n)
		}
		return nil
	})
}

// linksOfThisProcess counts descriptors of BPF links.
func linksOfThisProcess() (n int) {
	for _, fd := range must(os.ReadDir("/proc/self/fd")) {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.Contains(to, "bpf_link") {
			n++
		}
	}
	return n
}

// loadWith loads the programs of this binary, changed.
func loadWith(cfg *Config, change func(*ebpf.CollectionSpec)) (*loaded, error) {
	spec := must(carried()).Copy()
	change(spec)
	return load(cfg, spec)
}

var (
	returnZero = asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
	// readTooFar reads an argument that no tracepoint has.
	readTooFar = asm.Instructions{asm.LoadMem(asm.R0, asm.R1, 4096, asm.DWord), asm.Mov.Imm(asm.R0, 0), asm.Return()}
)

// What the verifier refuses is told as that, and in its words.
func TestRejectedProgram(t *testing.T) {
	p := newPair(t)
	p.client.do(func() error {
		cfg := &Config{Flows: p.flows()}
		for _, c := range []struct{ program, kind string }{{programsProgDrop, "drop"}, {programsProgState, "state"}} {
			l, err := loadWith(cfg, func(spec *ebpf.CollectionSpec) {
				spec.Programs[c.program].Instructions = readTooFar
			})
			var told string
			var unavailable *Unavailable
			switch {
			case errors.As(err, &unavailable) && c.program == programsProgState:
				told = unavailable.Error()
			case err == nil && len(l.missing) == 1 && l.missing[0].Kind == synclinev1.TraceKind_TRACE_KIND_DROP:
				told = l.missing[0].String()
			case errors.Is(err, unix.EPERM):
				t.Skip(err)
			default:
				return fmt.Errorf("load with a %s that the verifier refuses: %w; missing %v", c.kind, err, l)
			}
			if l != nil {
				check(l.close())
			}
			if !strings.Contains(told, "the kernel's verifier refused the program (permission denied)") ||
				!strings.Contains(told, "invalid bpf_context access") || !strings.Contains(told, "as a bug of syncline") || strings.Contains(told, "CAP_BPF") {
				t.Errorf("%s: %s", c.kind, told)
			}
		}
		return nil
	})
}
