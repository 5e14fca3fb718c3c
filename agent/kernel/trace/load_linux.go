//go:build 386 || amd64 || arm || arm64 || loong64 || mips64le || mipsle || ppc64le || riscv64

package trace

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"syncline/agent/kernel"
	synclinev1 "syncline/proto/syncline/v1"
)

// program is one of bpf/trace.bpf.c, with what it takes of the kernel.
type program struct {
	kind       synclinev1.TraceKind
	name       string
	tracepoint string
	// arguments the tracepoint must have at least, since the program looks at them.
	arguments int
	// since is the first Linux that has them all.
	since string
}

var programs = []program{
	{synclinev1.TraceKind_TRACE_KIND_STATE, programsProgState, "inet_sock_set_state", 3, "4.16"},
	{synclinev1.TraceKind_TRACE_KIND_RETRANSMIT, programsProgRetransmit, "tcp_retransmit_skb", 2, "4.16"},
	{synclinev1.TraceKind_TRACE_KIND_RETRANSMIT_SYNACK, programsProgRetransmitSynack, "tcp_retransmit_synack", 2, "4.16"},
	{synclinev1.TraceKind_TRACE_KIND_RESET_SENT, programsProgResetSent, "tcp_send_reset", 2, "4.16"},
	{synclinev1.TraceKind_TRACE_KIND_RESET_RECEIVED, programsProgResetReceived, "tcp_receive_reset", 1, "4.16"},
	{synclinev1.TraceKind_TRACE_KIND_DESTROYED, programsProgDestroyed, "tcp_destroy_sock", 1, "4.16"},
	{synclinev1.TraceKind_TRACE_KIND_ERROR, programsProgError, "inet_sk_error_report", 1, "5.15"},
	{synclinev1.TraceKind_TRACE_KIND_DROP, programsProgDrop, "kfree_skb", 3, "5.17"},
	{synclinev1.TraceKind_TRACE_KIND_READY, programsProgReady, "sk_data_ready", 1, "6.3"},
}

// names are those of its programs, in the order in which the kernel is to call them.
func (p *program) names() []string { return []string{p.name, p.name + "_nested"} }

// tracepoints says how many arguments each tracepoint of this kernel has; -1 without it.
func tracepoints(spec *btf.Spec) (map[string]int, error) {
	all := make(map[string]int, len(programs))
	for _, p := range programs {
		n, err := arguments(spec, p.tracepoint)
		if err != nil {
			return nil, err
		}
		all[p.tracepoint] = n
	}
	return all, nil
}

func arguments(spec *btf.Spec, tracepoint string) (int, error) {
	var t *btf.Typedef
	if err := spec.TypeByName("btf_trace_"+tracepoint, &t); errors.Is(err, btf.ErrNotFound) {
		return -1, nil
	} else if err != nil {
		return 0, fmt.Errorf("trace: look up tracepoint %s in the kernel's BTF: %w", tracepoint, err)
	}
	if p, ok := t.Type.(*btf.Pointer); ok {
		if f, ok := p.Target.(*btf.FuncProto); ok {
			// The first is the tracepoint's own.
			return len(f.Params) - 1, nil
		}
	}
	return 0, fmt.Errorf("trace: tracepoint %s is a %v in the kernel's BTF, not a function", tracepoint, t.Type)
}

// objects are what Open has loaded into the kernel. Whoever holds them closes them.
type objects struct {
	ring, counts *ebpf.Map
	maps         []*ebpf.Map
	// programs are the first ones, which the kernel leaves out of nested events.
	programs []*ebpf.Program
	links    []link.Link
}

func (o *objects) detach() error {
	var errs []error
	for _, l := range o.links {
		errs = append(errs, l.Close())
	}
	o.links = nil
	return errors.Join(errs...)
}

func (o *objects) close() error {
	errs := []error{o.detach()}
	for _, p := range o.programs {
		errs = append(errs, p.Close())
	}
	for _, m := range o.maps {
		errs = append(errs, m.Close())
	}
	o.programs, o.maps = nil, nil
	return errors.Join(errs...)
}

// namespace is the inode of the calling thread's network namespace.
func namespace() (uint32, error) {
	var st unix.Stat_t
	const path = "/proc/thread-self/ns/net"
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("trace: find this thread's network namespace: %w", &os.PathError{Op: "stat", Path: path, Err: err})
	}
	return uint32(st.Ino), nil
}

// loaded is what Open gets from load.
type loaded struct {
	objects
	decoder decoder
	missing []Missing
}

// types are the kernel's, read from /sys/kernel/btf/vmlinux when they are first asked
// for. They are the same for as long as it runs, and reading them is most of what a
// tracer costs to open, so they stay: some 6 MB.
var types = btf.NewCache()

// carried are the programs that this binary carries; users copy them.
var carried = sync.OnceValues(func() (*ebpf.CollectionSpec, error) {
	programs, err := loadPrograms()
	if err != nil {
		return nil, fmt.Errorf("trace: read the programs that this binary carries: %w", err)
	}
	return programs, nil
})

// load configures programs, puts them into the kernel and attaches them. The error is
// Unavailable if that is not possible here.
func load(cfg *Config, unconfigured *ebpf.CollectionSpec) (_ *loaded, err error) {
	if err := permitted(); err != nil {
		return nil, err
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, &Unavailable{fmt.Errorf("raise RLIMIT_MEMLOCK, which kernels before 5.11 charge BPF maps to: %w", err),
			"run the agent as root, or give it LimitMEMLOCK=infinity in its unit"}
	}
	l := &loaded{}
	kernelTypes, err := types.Kernel()
	if err != nil {
		return nil, &Unavailable{fmt.Errorf("read the kernel's types (BTF): %w", err),
			"run a kernel with CONFIG_DEBUG_INFO_BTF, which has /sys/kernel/btf/vmlinux"}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	places := &places{}
	l.decoder = decoder{place: places.name}
	l.decoder.own, l.decoder.others = sides(cfg)
	if l.decoder.drops, err = reasons(kernelTypes, "skb_drop_reason", "SKB_DROP_REASON_", "SKB_"); err != nil {
		return nil, err
	}
	if l.decoder.resets, err = reasons(kernelTypes, "sk_rst_reason", "SK_RST_REASON_"); err != nil {
		return nil, err
	}
	has, err := tracepoints(kernelTypes)
	if err != nil {
		return nil, err
	}
	spec := unconfigured.Copy()
	if err := l.configure(spec, cfg, has); err != nil {
		return nil, err
	}
	maps, err := l.makeMaps(spec, cfg)
	if err != nil {
		return nil, err
	}
	if err := l.attach(spec, maps, cfg, has); err != nil {
		return nil, err
	}
	return l, nil
}

// permitted says what the calling thread lacks of what bpf(2) asks for: CAP_BPF and
// CAP_PERFMON, or CAP_SYS_ADMIN, which is both; see capabilities(7).
func permitted() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("trace: read this thread's capabilities: %w", os.NewSyscallError("capget", err))
	}
	has := func(c uint) bool { return sets[c/32].Effective&(1<<(c%32)) != 0 }
	if has(unix.CAP_SYS_ADMIN) || has(unix.CAP_BPF) && has(unix.CAP_PERFMON) {
		return nil
	}
	return &Unavailable{fmt.Errorf("load BPF programs: %w: no CAP_BPF and CAP_PERFMON", unix.EPERM),
		"run the agent as root, or give it CAP_BPF and CAP_PERFMON (AmbientCapabilities= in its unit)"}
}

// configure sets the constants of the programs, and the sizes of their maps.
func (l *loaded) configure(spec *ebpf.CollectionSpec, cfg *Config, has map[string]int) error {
	ns, err := namespace()
	if err != nil {
		return err
	}
	ring := cfg.RingBytes
	if ring == 0 {
		ring = DefaultRingBytes
	}
	spec.Maps[programsMapRing].MaxEntries = uint32(max(ring, os.Getpagesize()))
	spec.Maps[programsMapAddresses].MaxEntries = uint32(len(cfg.Flows.Addresses))
	few, n := fewAddresses(&cfg.Flows)
	constants := map[string]any{
		programsVarFew:                few,
		programsVarFewCount:           n,
		programsVarNetns:              ns,
		programsVarPorts:              portSet(&cfg.Flows),
		programsVarResetHasReason:     has["tcp_send_reset"] >= 3,
		programsVarRetransmitHasError: has["tcp_retransmit_skb"] >= 3,
		programsVarDropHasSocket:      has["kfree_skb"] >= 4,
		programsVarConsumedReason:     number(l.decoder.drops, "CONSUMED"),
		programsVarTapReason:          number(l.decoder.drops, "PACKET_SOCK_ERROR"),
		programsVarPurgeReason:        number(l.decoder.drops, "QUEUE_PURGE"),
	}
	for name, value := range constants {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("trace: set %s of the programs: %w", name, err)
		}
	}
	return nil
}

// fewAddresses are those of a run that has few; n is 0 of one that has more.
func fewAddresses(f *kernel.Flows) (few [8][16]byte, n uint32) {
	if len(f.Addresses) > len(few) {
		return few, 0
	}
	for i, a := range f.Addresses {
		few[i] = a.Unmap().WithZone("").As16()
	}
	return few, uint32(len(f.Addresses))
}

func portSet(f *kernel.Flows) (set [1024]uint64) {
	for _, p := range f.Ports {
		set[p/64] |= 1 << (p % 64)
	}
	for _, r := range f.Ranges {
		for p := int(r.Low); p <= int(r.High); p++ {
			set[p/64] |= 1 << (p % 64)
		}
	}
	return set
}

// number is that of a name, or one that no reason has.
func number(names map[uint32]string, name string) uint32 {
	for n, s := range names {
		if s == name {
			return n
		}
	}
	return ^uint32(0)
}

// makeMaps makes the maps of the programs, and fills them.
func (l *loaded) makeMaps(spec *ebpf.CollectionSpec, cfg *Config) (map[string]*ebpf.Map, error) {
	only := spec.Copy()
	only.Programs = nil
	made, err := ebpf.NewCollectionWithOptions(only, ebpf.CollectionOptions{Cache: types})
	if err != nil {
		return nil, refused("make the maps of the programs", err)
	}
	for _, m := range made.Maps {
		l.objects.maps = append(l.objects.maps, m)
	}
	l.ring, l.counts = made.Maps[programsMapRing], made.Maps[programsMapCounts]
	for _, a := range cfg.Flows.Addresses {
		key := a.Unmap().WithZone("").As16()
		if err := made.Maps[programsMapAddresses].Put(key, uint8(1)); err != nil {
			return nil, fmt.Errorf("trace: note address %v for the programs: %w", a, err)
		}
	}
	return made.Maps, nil
}

// attach loads the programs that were asked for, one by one, so that one which this
// kernel refuses takes no other with it.
func (l *loaded) attach(spec *ebpf.CollectionSpec, maps map[string]*ebpf.Map, cfg *Config, has map[string]int) error {
	for _, p := range programs {
		if len(cfg.Kinds) > 0 && !slices.Contains(cfg.Kinds, p.kind) {
			continue
		}
		err := p.tells(has)
		if err == nil {
			err = l.attachOne(spec, maps, p)
		}
		var unavailable *Unavailable
		var rejected *rejection
		switch {
		case err == nil:
		case p.kind == synclinev1.TraceKind_TRACE_KIND_STATE && !errors.As(err, &unavailable):
			return &Unavailable{err, "run Linux 5.12 or newer"}
		case errors.Is(err, unix.EPERM) && !errors.As(err, &rejected), p.kind == synclinev1.TraceKind_TRACE_KIND_STATE:
			return err
		default:
			l.missing = append(l.missing, Missing{p.kind, err})
		}
	}
	if len(l.links) == 0 {
		return &Unavailable{fmt.Errorf("none of the tracepoints asked for can be had: %v", l.missing), "run a newer Linux"}
	}
	return nil
}

// tells says why a kernel with these tracepoints, by the number of their arguments, cannot
// run the program; nil if it can.
func (p *program) tells(has map[string]int) error {
	switch n := has[p.tracepoint]; {
	case n < 0:
		return fmt.Errorf("this kernel has no tracepoint %s; Linux %s has", p.tracepoint, p.since)
	case n < p.arguments:
		return fmt.Errorf("this kernel's tracepoint %s tells too little; Linux %s has it whole", p.tracepoint, p.since)
	}
	return nil
}

// attachOne attaches the programs of a tracepoint: that for its events and that for those
// which come while the first is under way. The kernel calls them in the order in which they
// were attached (kernel/tracepoint.c, func_add), and they rest on that. It attaches both or
// neither: the second alone would tell of nothing, and
// the first alone would miss events.
func (l *loaded) attachOne(spec *ebpf.CollectionSpec, shared map[string]*ebpf.Map, p program) error {
	only := spec.Copy()
	names := p.names()
	maps.DeleteFunc(only.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return !slices.Contains(names, name) })
	made, err := ebpf.NewCollectionWithOptions(only, ebpf.CollectionOptions{MapReplacements: shared, Cache: types})
	if err != nil {
		return refused("load the programs for tracepoint "+p.tracepoint, err)
	}
	defer made.Close()
	var all objects
	for _, name := range names {
		attached, err := link.AttachTracing(link.TracingOptions{Program: made.Programs[name]})
		if err != nil {
			return errors.Join(refused("attach to tracepoint "+p.tracepoint, err), all.detach())
		}
		all.links = append(all.links, attached)
	}
	l.links = append(l.links, all.links...)
	l.programs = append(l.programs, made.DetachProgram(p.name))
	return nil
}

// Probe says whether this process can listen to the kernel's tracepoints, and which of them
// this kernel does not have. The error is ErrUnavailable, and says what to do. It attaches
// to the states of sockets, looks the others up among the kernel's types, and keeps the
// answer, since neither the kernel nor the capabilities of a process that drops none
// change. Any goroutine may call it.
func Probe() ([]Missing, error) { return probe() }

var probe = sync.OnceValues(func() ([]Missing, error) {
	nowhere := kernel.Flows{Addresses: []netip.Addr{netip.IPv6Unspecified()}}
	spec, err := carried()
	if err != nil {
		return nil, err
	}
	l, err := load(&Config{Flows: nowhere, RingBytes: MinRingBytes, Kinds: []synclinev1.TraceKind{synclinev1.TraceKind_TRACE_KIND_STATE}}, spec)
	if err != nil {
		return nil, err
	}
	if err := l.close(); err != nil {
		return nil, err
	}
	kernelTypes, err := types.Kernel()
	if err != nil {
		return nil, fmt.Errorf("trace: read the kernel's types (BTF): %w", err)
	}
	has, err := tracepoints(kernelTypes)
	if err != nil {
		return nil, err
	}
	var missing []Missing
	for _, p := range programs {
		if err := p.tells(has); err != nil {
			missing = append(missing, Missing{p.kind, err})
		}
	}
	return missing, nil
})
