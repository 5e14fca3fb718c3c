package packet

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	synclinev1 "syncline/proto/syncline/v1"
)

// line is one packet as both tshark and a Capture tell of it.
type line struct {
	Source, Destination                 string
	SourcePort, DestinationPort         uint64
	Sequence, Acknowledgment            uint64
	Flags, Window, Urgent, Wire, Length uint64
	TTL                                 uint64
	Options                             string
}

// stamped is a line and when it was, CLOCK_REALTIME.
type stamped struct {
	line
	at int64
}

var fields = []string{
	"frame.time_epoch", "frame.len", "ip.src", "ip.dst", "ip.ttl", "ipv6.src", "ipv6.dst", "ipv6.hlim",
	"tcp.srcport", "tcp.dstport", "tcp.seq", "tcp.ack", "tcp.flags", "tcp.window_size_value", "tcp.urgent_pointer",
	"tcp.len", "tcp.options",
}

// TestAgreesWithTshark hears the same connections as Wireshark's own capture program.
func TestAgreesWithTshark(t *testing.T) {
	needTshark(t)
	p := newPair(t)
	file := filepath.Join(t.TempDir(), "eth0.pcapng")
	finish := p.client.dumpcap(file, "tcp")
	r := p.client.record(p.config())
	p.exchange(p.server4, 100, 5000)
	p.exchange(p.server6, 10, 0)
	r.drain()
	var ours []stamped
	for _, packet := range r.packets() {
		ours = append(ours, stamped{lineOf(packet), packet.RealtimeNs})
	}
	var theirs []stamped
	for deadline := time.Now().Add(10 * time.Second); len(theirs) < len(ours) && time.Now().Before(deadline); {
		theirs = readBack(t, file)
	}
	finish()
	theirs = readBack(t, file)
	if d := cmp.Diff(lines(theirs), lines(ours)); d != "" {
		t.Fatalf("tshark (-) and the capture (+) differ:\n%s", d)
	}
	checkStamps(t, ours, theirs, p.client4, p.client6)
}

func needTshark(t *testing.T) {
	t.Helper()
	for _, program := range []string{"tshark", "dumpcap"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%v (install tshark)", err)
		}
	}
}

// checkStamps: a packet that goes out has one stamp for all taps. One that comes in
// over veth still has TCP's departure time where the kernel would put a stamp, so that
// each tap reads the clock at its own turn.
func checkStamps(t *testing.T, ours, theirs []stamped, own ...netip.Addr) {
	t.Helper()
	var in []int64
	for i := range ours {
		apart := ours[i].at - theirs[i].at
		if source := netip.MustParseAddr(ours[i].Source); !slices.Contains(own, source) {
			in = append(in, max(apart, -apart))
		} else if apart != 0 {
			t.Errorf("packet %d: our stamp is %d ns from tshark's", i, apart)
		}
	}
	slices.Sort(in)
	t.Logf("incoming stamps are apart by %d ns", in)
	if median := in[len(in)/2]; median > 2000 {
		t.Errorf("incoming stamps are %d ns from tshark's, by the median", median)
	}
}

// dumpcap captures what passes a filter on eth0 into a file, from its return until
// finish is called.
func (h *host) dumpcap(file, filter string) (finish func()) {
	h.t.Helper()
	cmd := exec.Command("dumpcap", "-i", "eth0", "-f", filter, "-w", file)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	h.do(cmd.Start)
	out := bufio.NewScanner(stderr)
	for out.Scan() && !strings.HasPrefix(out.Text(), "File:") {
		h.t.Log(out.Text())
	}
	return func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			h.t.Error(err)
		}
		for out.Scan() {
			h.t.Log(out.Text())
		}
		if err := cmd.Wait(); err != nil {
			h.t.Errorf("dumpcap: %v", err)
		}
	}
}

func readBack(t *testing.T, file string) (list []stamped) {
	t.Helper()
	for _, values := range tshark(file, fields) {
		list = append(list, parseLine(t, values))
	}
	return list
}

// tshark gives the fields of each packet of a file; of a field that comes more than
// once, as in what an error quotes, the first.
func tshark(file string, fields []string) (rows [][]string) {
	args := []string{"-r", file, "-T", "fields", "-E", "occurrence=f", "-o", "tcp.relative_sequence_numbers:FALSE"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	// A file that is still being written may end within a packet: tshark then says so
	// and fails, after the packets that are whole.
	out, _ := exec.Command("tshark", args...).Output()
	for text := range strings.Lines(string(out)) {
		rows = append(rows, strings.Split(strings.TrimSuffix(text, "\n"), "\t"))
	}
	return rows
}

func parseLine(t *testing.T, f []string) stamped {
	t.Helper()
	if len(f) != len(fields) {
		t.Fatalf("tshark gives %d fields: %q", len(f), f)
	}
	seconds, fraction, _ := strings.Cut(f[0], ".")
	at := number(t, seconds)*1e9 + number(t, fraction)
	return stamped{line{
		Source: f[2] + f[5], Destination: f[3] + f[6], TTL: number(t, f[4]+f[7]), Wire: number(t, f[1]),
		SourcePort: number(t, f[8]), DestinationPort: number(t, f[9]),
		Sequence: number(t, f[10]), Acknowledgment: number(t, f[11]), Flags: number(t, f[12]),
		Window: number(t, f[13]), Urgent: number(t, f[14]), Length: number(t, f[15]),
		Options: strings.ReplaceAll(f[16], ":", ""),
	}, int64(at)}
}

func number(t *testing.T, s string) uint64 {
	t.Helper()
	digits, base := s, 10
	if hexadecimal, ok := strings.CutPrefix(s, "0x"); ok {
		digits, base = hexadecimal, 16
	}
	n, err := strconv.ParseUint(digits, base, 64)
	if err != nil {
		t.Fatalf("tshark says %q: %v", s, err)
	}
	return n
}

func lineOf(p *synclinev1.Packet) line {
	from, _ := netip.AddrFromSlice(p.Source)
	to, _ := netip.AddrFromSlice(p.Destination)
	return line{
		Source: from.String(), Destination: to.String(), TTL: uint64(p.Ttl), Wire: uint64(p.WireLength),
		SourcePort: uint64(p.SourcePort), DestinationPort: uint64(p.DestinationPort),
		Sequence: uint64(p.Sequence), Acknowledgment: uint64(p.Acknowledgment), Flags: uint64(p.Flags),
		Window: uint64(p.Window), Urgent: uint64(p.Urgent), Length: uint64(p.PayloadLength),
		Options: hex.EncodeToString(p.Options),
	}
}

// lines are the packets in words, in order of time.
func lines(list []stamped) (text []string) {
	slices.SortStableFunc(list, func(a, b stamped) int { return int(a.at - b.at) })
	for _, l := range list {
		text = append(text, fmt.Sprintf("%+v", l.line))
	}
	return text
}
