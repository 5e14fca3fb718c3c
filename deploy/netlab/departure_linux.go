package netlab

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A packet on a cable carries no time. A veth hands the sender's packet over as it is,
// with the departure time that TCP keeps in the field that the receiving kernel would
// stamp (skb->tstamp, its type not real time). That kernel then leaves the field alone,
// and every tap stamps the arrival for itself when its turn comes: two observers of
// one host disagree by whatever interrupted the processor between them, tens of
// microseconds on a busy machine. So the switch clears the field of what it forwards,
// and a host of the lab stamps an arrival as it would one from a network card: once,
// for all taps, as the packet enters its stack.

// newEraser loads the program that clears the field.
func newEraser() (*ebpf.Program, error) {
	const unspecified, pass = 0, 0 // BPF_SKB_TSTAMP_UNSPEC, TC_ACT_OK
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "erase_departure",
		Type: ebpf.SchedCLS,
		Instructions: asm.Instructions{
			// R1 is the packet already.
			asm.Mov.Imm(asm.R2, 0),
			asm.Mov.Imm(asm.R3, unspecified),
			asm.FnSkbSetTstamp.Call(),
			asm.Mov.Imm(asm.R0, pass),
			asm.Return(),
		},
		License: "Dual BSD/GPL",
	})
}

// eraseDepartures clears the departure time of every packet that leaves the switch
// for a host's first link; nobody times the other.
// The filters hold the program, and go with their ports. Where BPF cannot be had, the
// lab works, and says what it lacks.
func (f *fabric) eraseDepartures() (*Missing, error) {
	program, err := newEraser()
	if err != nil {
		return &Missing{
			What:   "one stamp of an arrival for all taps of a host",
			Why:    fmt.Sprintf("the switch cannot erase departure times (%v)", errors.Unwrap(err)),
			Remedy: "run as root on Linux 5.18 or later; until then the stamps of two observers differ by a few microseconds",
		}, nil
	}
	defer program.Close()
	ports, err := f.ports()
	if err != nil {
		return nil, err
	}
	for _, port := range ports {
		if port.Attrs().MasterIndex == f.bridges[1].Attrs().Index {
			continue
		}
		if err := f.filter(port, program); err != nil {
			return nil, fmt.Errorf("netlab: put a filter on port %s of the switch: %w", port.Attrs().Name, err)
		}
	}
	return nil, nil
}

func (f *fabric) filter(port netlink.Link, program *ebpf.Program) error {
	index := port.Attrs().Index
	err := f.links.QdiscAdd(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	})
	if err != nil {
		return fmt.Errorf("add clsact: %w", kernelLacks(err, "sch_ingress"))
	}
	return f.links.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1,
		},
		Fd: program.FD(), Name: "erase_departure", DirectAction: true,
	})
}
