package netlab

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// Hosts with wires and a host without one reach each other over both IP versions,
// and are what every other host of a lab is.
func TestHostsReachEachOtherOverWires(t *testing.T) {
	delay := Direction{Delay: 2 * time.Millisecond, Jitter: time.Millisecond}
	l := makeLab(t, Config{
		Hosts: []string{"A", "B", "C", "plain"},
		Wires: map[string]Wire{"A": {Out: delay}, "B": {In: delay}, "C": {}},
	})
	for i, h := range l.Hosts() {
		serve(t, h)
		err := h.Do(func() error {
			link, err := net.InterfaceByName(h.Interface)
			if err != nil {
				return err
			}
			want := fmt.Sprintf("02:73:79:6e:63:%02x 1500", i+1)
			if got := fmt.Sprint(link.HardwareAddr, " ", link.MTU); got != want {
				t.Errorf("host %s has address and MTU %s, want %s", h.Name, got, want)
			}
			if diff := cmp.Diff([]string{"ctl0", "eth0", "lo"}, interfaces()); diff != "" {
				t.Errorf("links of host %s (-want +got):\n%s", h.Name, diff)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	for _, client := range l.Hosts() {
		for _, server := range l.Hosts() {
			for _, address := range []netip.Addr{server.Address, server.Address6} {
				if address.IsValid() {
					greet(t, client, server, address)
				}
			}
		}
	}
	reports, err := l.Wires()
	if err != nil || len(reports) != 3 {
		t.Fatalf("%d reports (%v), want those of A, B and C", len(reports), err)
	}
	for _, r := range reports {
		if r.Out.Delivered == 0 || r.In.Delivered == 0 || r.Missed != 0 {
			t.Errorf("the wire of %s: %+v", r.Host, r)
		}
	}
}

// TAPs have the kernel's transmit stamps, as network cards do.
func TestTransmitStamps(t *testing.T) {
	l := makeLab(t, Config{Hosts: []string{"A", "B"}, Mechanism: UserSpace, Wires: map[string]Wire{"A": {}}})
	sender, receiver := datagrams(t, l, "A", "B")
	meet(t, sender, receiver)
	raw, err := sender.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	near := newTap(t, l.Host("A"))
	var stamp time.Time
	err = raw.Control(func(fd uintptr) {
		flags := unix.SOF_TIMESTAMPING_TX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPING, flags); err != nil {
			t.Error(err)
		}
		if _, err := unix.Write(int(fd), numbered(1)); err != nil {
			t.Error(err)
		}
		control := make([]byte, 256)
		// The stamp was made before the write returned.
		_, n, _, _, err := unix.Recvmsg(int(fd), make([]byte, 2048), control, unix.MSG_ERRQUEUE)
		if err != nil {
			t.Errorf("read the stamp: %v", err)
			return
		}
		messages, err := unix.ParseSocketControlMessage(control[:n])
		if err != nil {
			t.Error(err)
		}
		for _, m := range messages {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPING {
				ts := (*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
				stamp = time.Unix(ts.Unix())
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := near.next()
	if off := stamp.Sub(seen.at).Abs(); stamp.IsZero() || off > time.Second {
		t.Errorf("the transmit stamp is %v, the tap's %v", stamp, seen.at)
	}
}
