package experiment

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// parseLane parses an experiment of one lane with these steps, and returns them.
func parseLane(t *testing.T, steps ...string) []Step {
	t.Helper()
	text := "experiment: x\nvars: { port: 80 }\nhosts: { A: { pick: { p: $port } }, B: }\nobserve: [syscalls]\nlanes:\n  l:\n    host: A\n    do:\n"
	for _, s := range steps {
		text += "      - " + s + "\n"
	}
	exp, err := Parse([]byte(text), Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return exp.Lanes[0].Steps
}

func TestArguments(t *testing.T) {
	tests := []struct {
		call string
		want any
	}{
		{"e = socket(tcp6)", SocketArgs{10, 1, 6}},
		{"bind(c, 0.0.0.0:$port)", BindArgs{Address{IP: netip.MustParseAddr("0.0.0.0"), Port: 80}}},
		{"bind(d, [::]:0)", BindArgs{Address{IP: netip.IPv6Unspecified()}}},
		{"bind(c, A:$port)", BindArgs{Address{Role: "A", Port: 80}}},
		{"listen(c, 128)", ListenArgs{128}},
		{"connect(c, B:$port)", ConnectArgs{Address{Role: "B", Port: 80}}},
		{`send(c, "a, (b) \"c\" -> é\n\x00")`, SendArgs{Data: []byte("a, (b) \"c\" -> é\n\x00")}},
		{`send(c, "$$5 $port")`, SendArgs{Data: []byte("$5 80")}},
		{"send(c, bytes(3))", SendArgs{Data: []byte{0, 0, 0}}},
		// The first outputs of splitmix64 from the seed 1234567, as its author lists them,
		// are 6457827717110365317 and 3203168211198807973.
		{"send(c, pattern(9, 1234567))", SendArgs{Data: []byte{0x85, 0xfc, 0x08, 0xfb, 0x17, 0xd0, 0x9e, 0x59, 0xa5}}},
		{"recv(c, 4096)", RecvArgs{Size: 4096}},
		{"shutdown(c, RD)", ShutdownArgs{0}},
		{"shutdown(c, WR)", ShutdownArgs{1}},
		{"shutdown(c, SHUT_RDWR)", ShutdownArgs{2}},
		{"setsockopt(c, SO_REUSEADDR, 1)", SetSockOptArgs{Level: 1, Name: 2, Value: []byte{1, 0, 0, 0}}},
		{"setsockopt(c, SO_LINGER, {1, 258})", SetSockOptArgs{Level: 1, Name: 13, Value: []byte{1, 0, 0, 0, 2, 1, 0, 0}}},
		{"setsockopt(c, SO_RCVTIMEO, 1500ms)", SetSockOptArgs{Level: 1, Name: 20, Value: []byte{1, 0, 0, 0, 0, 0, 0, 0, 0x20, 0xa1, 7, 0, 0, 0, 0, 0}}},
		{"setsockopt(c, TCP_KEEPIDLE, 2m)", SetSockOptArgs{Level: 6, Name: 4, Value: []byte{120, 0, 0, 0}}},
		{"setsockopt(c, TCP_USER_TIMEOUT, 1s)", SetSockOptArgs{Level: 6, Name: 18, Value: []byte{0xe8, 3, 0, 0}}},
		{"setsockopt(c, TCP_LINGER2, -1)", SetSockOptArgs{Level: 6, Name: 8, Value: []byte{255, 255, 255, 255}}},
		{"setsockopt(c, TCP_CONGESTION, cubic)", SetSockOptArgs{Level: 6, Name: 13, Value: []byte("cubic")}},
		{"sleep(1.5ms)", SleepArgs{1500 * time.Microsecond}},
		{"signal(here)", SignalArgs{"here"}},
		{"close(c)", nil},
	}
	for _, test := range tests {
		t.Run(test.call, func(t *testing.T) {
			steps := parseLane(t, "c = socket(tcp)", "d = socket(tcp6)", "'"+test.call+"'")
			if diff := cmp.Diff(test.want, steps[2].Args, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStep(t *testing.T) {
	steps := parseLane(t, "s = socket(tcp)",
		"a=accept( s , timeout=2s )->ok or EAGAIN or 7 or timeout as  taken",
		"recv(a, 10) -> 0",
		"wait(l.x, timeout=1s) -> timeout",
		"signal(x)")
	want := []Step{
		{Text: "s = socket(tcp)", Pos: Pos{9, 9}, Call: "socket", Makes: "s", Args: SocketArgs{2, 1, 6}},
		{Text: "a=accept( s , timeout=2s )->ok or EAGAIN or 7 or timeout as  taken", Pos: Pos{10, 9},
			Call: "accept", Socket: "s", Makes: "a", Label: "taken", Timeout: 2 * time.Second,
			Outcome: &Outcome{OK: true, Values: []int64{7}, Errnos: []uint32{11}, Timeout: true}},
		{Text: "recv(a, 10) -> 0", Pos: Pos{11, 9}, Call: "recv", Socket: "a", Args: RecvArgs{Size: 10}, Outcome: &Outcome{Values: []int64{0}}},
		{Text: "wait(l.x, timeout=1s) -> timeout", Pos: Pos{12, 9}, Call: "wait", Timeout: time.Second,
			Args: WaitArgs{Lane: "l", Signal: "x"}, Outcome: &Outcome{Timeout: true}},
		{Text: "signal(x)", Pos: Pos{13, 9}, Call: "signal", Args: SignalArgs{"x"}},
	}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// TestBasicOpenClose pins what the rest of the program sees of the first shipped
// experiment.
func TestBasicOpenClose(t *testing.T) {
	source, _ := Open("basic-open-close")
	exp, err := Parse(source, Options{Runs: 3, Set: map[string]string{"port": "9090"}})
	if err != nil {
		t.Fatal(err)
	}
	ports, ranges := exp.Ports()
	if diff := cmp.Diff([]uint16{9090}, ports); diff != "" || len(ranges) != 0 {
		t.Errorf("ports (-want +got):\n%s, and ranges %v", diff, ranges)
	}
	if diff := cmp.Diff(Repeat{Runs: 3, Gap: 10 * time.Millisecond, Timeout: 5 * time.Second}, exp.Repeat); diff != "" {
		t.Errorf("repeat (-want +got):\n%s", diff)
	}
	var got []string
	for _, e := range exp.Expect {
		got = append(got, e.Text)
	}
	want := []string{
		"packets: [A>B SYN, B>A SYN+ACK, A>B ACK no data, ..., A>B data, ..., B>A data, ..., A>B FIN+ACK, B>A ACK, B>A FIN+ACK, A>B ACK]",
		"order: enter(client.connect) < sent(A, SYN) < received(B, SYN) < sent(B, SYN+ACK) < received(A, SYN+ACK) < return(client.connect)",
		"order: received(B, third ACK) < return(server.accept)",
		"order: enter(client.close) < sent(A, FIN) < received(B, FIN) < return(eof)",
		"order: enter(server.close a) < sent(B, FIN) < received(A, FIN)",
		"result: { of: client.connect, ok: true }",
		"never: any RST",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("expectations (-want +got):\n%s", diff)
	}
	closing := exp.Expect[4].Order.Moments[0]
	if diff := cmp.Diff(MomentSelector{Kind: EnterCall, Lane: "server", Call: "close", Socket: "a", Step: 10, Text: "enter(server.close a)"}, closing); diff != "" {
		t.Errorf("moment (-want +got):\n%s", diff)
	}
	if eof := exp.Expect[3].Order.Moments[3]; eof.Label != "eof" || eof.Lane != "server" || eof.Call != "recv" || eof.Step != 8 {
		t.Errorf("the label eof picks %+v", eof)
	}
}

func TestOptionFaults(t *testing.T) {
	source, _ := Open("basic-open-close")
	_, err := Parse(source, Options{FileName: "f", Runs: MaxRuns + 1, Set: map[string]string{"prot": "1"}})
	want := `f: 100001 runs asked for; from 1 to 100000 can be had` + "\n" + `f: the file has no variable "prot" to set; did you mean "port"? known variables: port`
	if err == nil || err.Error() != want {
		t.Errorf("error\n%v, want\n%s", err, want)
	}
}

func TestClosest(t *testing.T) {
	known := []string{"connect", "accept", "close", "recv"}
	for name, want := range map[string]string{
		"conect": "connect", "CONNECT": "connect", "clsoe": "close", "acept": "accept",
		"revc": "recv", "": "", "q": "", "transmogrify": "", "co": "",
	} {
		if got := Closest(name, known); got != want {
			t.Errorf("Closest(%q) = %q, want %q", name, got, want)
		}
	}
	if got := Closest("x", nil); got != "" {
		t.Errorf("Closest of nothing is %q", got)
	}
}
