package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"syncline/deploy/netlab"
	synclinev1 "syncline/proto/syncline/v1"
)

// stampTolerance is how far tshark's stamp of a packet may be from ours, in
// nanoseconds.
const stampTolerance = 2000

// markerPort is where the tests send datagrams that tell how far tshark is.
const markerPort = 9

// The timeline holds exactly the TCP packets that tshark saw on each host: none is
// missing, none invented, and all agree in flags, numbers, options, lengths and time.
func TestTimelineIsWhatTsharkSaw(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("needs tshark: apt-get install tshark")
	}
	const repetitions = 200
	source := library(t, demoExperiment)
	l := newTestLab(t, mustParse(t, source))
	var witnesses []*witness
	for _, agent := range []string{"vm1", "vm2"} {
		witnesses = append(witnesses, newWitness(t, l.Host(agent), l.Host(controllerHost).Address, "tcp port 8080"))
	}
	run := l.run(source, repetitions)
	summary := l.verdicts(run)
	// A busy machine may let packets overtake each other; what tshark saw is the same then.
	excused := 0
	if found, ok := l.overtakings(run, summary); ok {
		excused = min(len(found), repetitions/50)
	}
	wantPasses(t, run, summary, repetitions, excused)
	wantChain(t, summary, repetitions-excused)

	ours := map[string][]seenPacket{}
	var widest int64
	for n := 1; n <= repetitions; n++ {
		tl := l.timeline(run, n)
		collectPackets(t, tl, ours)
		widest = max(widest, checkTruth(t, tl))
	}
	for _, w := range witnesses {
		theirs := w.stop()
		compare(t, w.host.Name, ours[w.host.Name], theirs)
	}
	t.Logf("%d events in %d bytes: %.1f bytes an event; widest bound on the offset ±%d ns",
		run.Events, run.Bytes, float64(run.Bytes)/float64(run.Events), widest)
}

// wantChain makes sure that the handshake's order is among the expectations.
func wantChain(t *testing.T, s *runSummary, atLeast int) {
	t.Helper()
	for _, part := range []string{"enter(client.connect)", "return(server.accept)", "sent(A, FIN)"} {
		found := false
		for _, tally := range s.tally.Tallies {
			found = found || strings.Contains(tally.Expectation, part) && tally.Passed >= atLeast
		}
		if !found {
			t.Errorf("no expectation with %s passed %d times", part, atLeast)
		}
	}
}

// checkTruth uses that both hosts share a kernel here: the true offset of their
// clocks is zero, and every bound must hold it. It returns the half-width.
func checkTruth(t *testing.T, tl *synclinev1.Timeline) (half int64) {
	t.Helper()
	for _, h := range tl.Hosts {
		if h.Method == "reference" {
			continue
		}
		if h.OffsetLowNs == nil || h.OffsetHighNs == nil || h.Method != "segments" {
			t.Fatalf("repetition %d: host %s is tied to no clock: %v", tl.Repetition, h.Host.Name, h)
		}
		if *h.OffsetLowNs > 0 || *h.OffsetHighNs < 0 {
			t.Errorf("repetition %d: the true offset of host %s is 0, the bound says %d to %d ns", tl.Repetition, h.Host.Name, *h.OffsetLowNs, *h.OffsetHighNs)
		}
		half = max(half, (*h.OffsetHighNs-*h.OffsetLowNs+1)/2)
	}
	return half
}

// seenPacket is what both observers say of a packet.
type seenPacket struct {
	stamp                int64
	source, destination  netip.AddrPort
	seq, ack             uint32
	flags                uint16
	window, payload, all int
	options              string
	repetition           uint32
}

// sameButTime reports whether two observers saw the same packet.
func (p seenPacket) sameButTime(q seenPacket) bool {
	p.stamp, p.repetition, q.stamp, q.repetition = 0, 0, 0, 0
	return p == q
}

func collectPackets(t *testing.T, tl *synclinev1.Timeline, by map[string][]seenPacket) {
	t.Helper()
	for _, e := range tl.Events {
		p := e.Event.GetPacket()
		if p == nil {
			continue
		}
		agent := tl.Hosts[e.Host].Host.Agent
		seen := packetOf(t, p)
		seen.repetition = tl.Repetition
		by[agent] = append(by[agent], seen)
	}
}

// packetOf is a packet as the run's own tap saw it.
func packetOf(t testing.TB, p *synclinev1.Packet) seenPacket {
	t.Helper()
	return seenPacket{
		stamp:  p.RealtimeNs,
		source: addrPortOf(t, p.Source, p.SourcePort), destination: addrPortOf(t, p.Destination, p.DestinationPort),
		seq: p.Sequence, ack: p.Acknowledgment, flags: uint16(p.Flags), window: int(p.Window),
		payload: int(p.PayloadLength), all: int(p.WireLength), options: hex.EncodeToString(p.Options),
	}
}

func addrPortOf(t testing.TB, address []byte, port uint32) netip.AddrPort {
	t.Helper()
	a, ok := netip.AddrFromSlice(address)
	if !ok {
		t.Fatalf("address of %d bytes", len(address))
	}
	return netip.AddrPortFrom(a, uint16(port))
}

func compare(t *testing.T, host string, ours, theirs []seenPacket) {
	t.Helper()
	byTime := func(a, b seenPacket) int { return cmp.Compare(a.stamp, b.stamp) }
	slices.SortStableFunc(ours, byTime)
	slices.SortStableFunc(theirs, byTime)
	if len(theirs) == 0 {
		t.Fatalf("%s: tshark saw nothing", host)
	}
	var furthest int64
	for i := range min(len(ours), len(theirs)) {
		if !ours[i].sameButTime(theirs[i]) {
			t.Fatalf("%s: packet %d (repetition %d) is\n%+v, tshark saw\n%+v", host, i, ours[i].repetition, ours[i], theirs[i])
		}
		furthest = max(furthest, ours[i].stamp-theirs[i].stamp, theirs[i].stamp-ours[i].stamp)
	}
	if len(ours) != len(theirs) {
		t.Errorf("%s: the timelines hold %d packets, tshark saw %d", host, len(ours), len(theirs))
	}
	if furthest > stampTolerance {
		t.Errorf("%s: a stamp is %d ns from tshark's", host, furthest)
	}
	t.Logf("%s: %d packets, tshark saw %d; stamps differ by at most %d ns", host, len(ours), len(theirs), furthest)
}

// witness is tshark on one host.
type witness struct {
	t       *testing.T
	host    *netlab.Host
	to      netip.Addr // where markers go
	process *netlab.Process
	file    string
	said    *bytes.Buffer
}

// newWitness returns when tshark sees what passes the host and a filter, as pcap-filter(7)
// has it.
func newWitness(t *testing.T, host *netlab.Host, to netip.Addr, filter string) *witness {
	t.Helper()
	w := &witness{t: t, host: host, to: to, file: filepath.Join(t.TempDir(), host.Name+".pcapng"), said: new(bytes.Buffer)}
	cmd := exec.Command("tshark", "-q", "-n", "-i", host.Interface, "-w", w.file, "-f", fmt.Sprintf("%s or udp port %d", filter, markerPort))
	cmd.Stderr = w.said
	var err error
	if w.process, err = host.Start(cmd); err != nil {
		t.Fatal(err)
	}
	w.mark()
	return w
}

// mark sends datagrams until tshark has written down that one more of them passed.
func (w *witness) mark() {
	w.t.Helper()
	size := func() int64 {
		info, err := os.Stat(w.file)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	// An empty file has the section and the interface, not half a KiB.
	before := max(size(), 512)
	await(w.t, "tshark on "+w.host.Name+" sees markers", func() bool {
		err := w.host.Do(func() error {
			conn, err := net.Dial("udp", netip.AddrPortFrom(w.to, markerPort).String())
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.Write(make([]byte, 400))
			return err
		})
		// Nobody listens there, and the peer's kernel says so.
		if err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			w.t.Fatal(err)
		}
		return size() > before
	})
}

// stop ends tshark and returns the TCP packets it saw.
func (w *witness) stop() []seenPacket {
	w.t.Helper()
	w.mark()
	if err := w.process.Signal(syscall.SIGINT); err != nil {
		w.t.Fatal(err)
	}
	<-w.process.Done()
	if strings.Contains(w.said.String(), "dropped") {
		w.t.Fatalf("tshark on %s: %s", w.host.Name, w.said)
	}
	fields := []string{"frame.time_epoch", "ip.src", "tcp.srcport", "ip.dst", "tcp.dstport", "tcp.seq_raw", "tcp.ack_raw", "tcp.flags", "tcp.window_size_value", "tcp.len", "frame.len", "tcp.options"}
	args := []string{"-n", "-r", w.file, "-Y", "tcp", "-T", "fields"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := exec.Command("tshark", args...).Output()
	if err != nil {
		w.t.Fatalf("tshark -r: %v", err)
	}
	var seen []seenPacket
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		seen = append(seen, w.parse(strings.Split(lines.Text(), "\t"), len(fields)))
	}
	return seen
}

func (w *witness) parse(f []string, fields int) seenPacket {
	w.t.Helper()
	if len(f) != fields {
		w.t.Fatalf("tshark printed %d fields, want %d: %q", len(f), fields, f)
	}
	number := func(s string, bits int) uint64 {
		n, err := strconv.ParseUint(s, 0, bits)
		if err != nil {
			w.t.Fatalf("tshark printed %q: %v", s, err)
		}
		return n
	}
	seconds, nanos, _ := strings.Cut(f[0], ".")
	return seenPacket{
		stamp:       int64(number(seconds, 63))*1e9 + int64(number(strings.TrimLeft(nanos[:8], "0")+nanos[8:9], 63)),
		source:      netip.AddrPortFrom(netip.MustParseAddr(f[1]), uint16(number(f[2], 16))),
		destination: netip.AddrPortFrom(netip.MustParseAddr(f[3]), uint16(number(f[4], 16))),
		seq:         uint32(number(f[5], 32)), ack: uint32(number(f[6], 32)), flags: uint16(number(f[7], 16)),
		window: int(number(f[8], 31)), payload: int(number(f[9], 31)), all: int(number(f[10], 31)),
		options: strings.ReplaceAll(f[11], ":", ""),
	}
}
