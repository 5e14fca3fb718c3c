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
		{"e = socket(udp)", SocketArgs{2, 2, 17}},
		{"e = socket(udp6)", SocketArgs{10, 2, 17}},
		{"e = socket(unix)", SocketArgs{1, 1, 0}},
		{"e = socket(mptcp)", SocketArgs{2, 1, 262}},
		{"e = socket(mptcp6)", SocketArgs{10, 1, 262}},
		{"e = socket(raw icmp)", SocketArgs{2, 3, 1}},
		{"e = socket(raw  icmp6)", SocketArgs{10, 3, 58}},
		{"connect(c, 10.0.0.1:$port + 1)", ConnectArgs{Address{IP: netip.MustParseAddr("10.0.0.1"), Port: 81}}},
		{"connect(d, B:$port)", ConnectArgs{Address{Role: "B", Port: 80, Six: true}}},
		{"bind(x, unix:door)", BindArgs{Address{Unix: "door"}}},
		{"connect(r, B)", ConnectArgs{Address{Role: "B", NoPort: true}}},
		{"connect(r, 10.0.0.1)", ConnectArgs{Address{IP: netip.MustParseAddr("10.0.0.1"), NoPort: true}}},
		{"bind(r6, [fd00::1])", BindArgs{Address{IP: netip.MustParseAddr("fd00::1"), NoPort: true}}},
		{"bind(r6, fd00::1)", BindArgs{Address{IP: netip.MustParseAddr("fd00::1"), NoPort: true}}},
		{"connect(r6, B)", ConnectArgs{Address{Role: "B", NoPort: true, Six: true}}},
		{"listen(c, $port - 10 * 2)", ListenArgs{60}},
		{"send(c, hex(0a 1B), MSG_MORE|MSG_DONTWAIT)", SendArgs{Data: []byte{10, 27}, Flags: 0x8040}},
		{"send(c, bytes(2 * 2 - 1))", SendArgs{Data: []byte{0, 0, 0}}},
		{"recv(c, 10, MSG_PEEK)", RecvArgs{Size: 10, Flags: 2}},
		{"sendto(u, B:$port, \"x\")", SendToArgs{Address: Address{Role: "B", Port: 80}, Data: []byte("x")}},
		{"sendto(u, [fd00::2]:9, \"x\", MSG_CONFIRM) -> EAFNOSUPPORT", SendToArgs{Address: Address{IP: netip.MustParseAddr("fd00::2"), Port: 9}, Data: []byte("x"), Flags: 0x800}},
		{"sendto(c, B:$port, \"x\", MSG_FASTOPEN)", SendToArgs{Address: Address{Role: "B", Port: 80}, Data: []byte("x"), Flags: 0x20000000}},
		{"recvfrom(u, 9, MSG_ERRQUEUE)", RecvFromArgs{Size: 9, Flags: 0x2000}},
		{"recvfrom(u, 9)", RecvFromArgs{Size: 9}},
		{"nonblock(c)", NonblockArgs{On: true}},
		{"nonblock(c, off)", NonblockArgs{}},
		{"poll(c, IN|OUT)", PollArgs{Events: 5, Limit: -1}},
		{"poll(c, POLLRDHUP|PRI|HUP|ERR, 0s)", PollArgs{Events: 0x201a}},
		{"poll(c, OUT, 100ms)", PollArgs{Events: 4, Limit: 100 * time.Millisecond}},
		{"e = dup(c)", nil},
		{"getsockname(c)", nil},
		{"getpeername(c)", nil},
		{"info(c)", nil},
		{"getsockopt(c, SO_ERROR)", GetSockOptArgs{1, 4, 4, OptionErrno}},
		{"getsockopt(c, SO_LINGER)", GetSockOptArgs{1, 13, 8, OptionLinger}},
		{"getsockopt(c, SO_RCVTIMEO)", GetSockOptArgs{1, 20, 16, OptionTimeval}},
		{"getsockopt(c, TCP_MAXSEG)", GetSockOptArgs{6, 2, 4, OptionInt}},
		{"getsockopt(c, TCP_CONGESTION)", GetSockOptArgs{6, 13, 16, OptionName}},
		{"getsockopt(c, IP_MTU)", GetSockOptArgs{0, 14, 4, OptionInt}},
		{"getsockopt(c, SO_COOKIE)", GetSockOptArgs{1, 57, 8, OptionBytes}},
		{"setsockopt(c, SO_MARK, 0x10)", SetSockOptArgs{Level: 1, Name: 36, Value: []byte{16, 0, 0, 0}}},
		{"setsockopt(c, IP_MTU_DISCOVER, IP_PMTUDISC_DO)", SetSockOptArgs{Level: 0, Name: 10, Value: []byte{2, 0, 0, 0}}},
		{"setsockopt(c, IPV6_MTU_DISCOVER, PROBE)", SetSockOptArgs{Level: 41, Name: 23, Value: []byte{3, 0, 0, 0}}},
		{"setsockopt(c, IP_LOCAL_PORT_RANGE, {40000, 40010})", SetSockOptArgs{Level: 0, Name: 51, Value: []byte{0x40, 0x9c, 0x4a, 0x9c}}},
		{"setsockopt(c, SO_BINDTODEVICE, eth0.1)", SetSockOptArgs{Level: 1, Name: 25, Value: []byte("eth0.1")}},
		{"setsockopt(u, IP_ADD_MEMBERSHIP, {224.0.0.251, 10.0.0.1})", SetSockOptArgs{Level: 0, Name: 35, Value: []byte{224, 0, 0, 251, 10, 0, 0, 1}}},
		{"setsockopt(u, IP_ADD_SOURCE_MEMBERSHIP, {232.1.1.1, 0.0.0.0, 10.0.0.1})", SetSockOptArgs{Level: 0, Name: 39, Value: []byte{232, 1, 1, 1, 0, 0, 0, 0, 10, 0, 0, 1}}},
		{"setsockopt(d, IPV6_ADD_MEMBERSHIP, {ff02::fb, 3})", SetSockOptArgs{Level: 41, Name: 20, Value: []byte{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfb, 3, 0, 0, 0}}},
		{"setsockopt(c, TCP_FASTOPEN_KEY, hex(00112233445566778899aabbccddeeff))", SetSockOptArgs{Level: 6, Name: 33, Value: []byte{0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}}},
		{"setsockopt(c, TCP_MD5SIG, {B, \"key\"})", SetSockOptArgs{Level: 6, Name: 14, Value: md5Struct(0, 0, "key"), Peer: Address{Role: "B", NoPort: true}}},
		{"setsockopt(d, TCP_MD5SIG, {B, \"key\"})", SetSockOptArgs{Level: 6, Name: 14, Value: md5Struct(0, 0, "key"), Peer: Address{Role: "B", NoPort: true, Six: true}}},
		{"setsockopt(c, TCP_MD5SIG_EXT, {10.0.0.0, 8, \"k, }\"})", SetSockOptArgs{Level: 6, Name: 32, Value: md5Struct(1, 8, "k, }"), Peer: Address{IP: netip.MustParseAddr("10.0.0.0"), NoPort: true}}},
	}
	for _, test := range tests {
		t.Run(test.call, func(t *testing.T) {
			steps := parseLane(t, "c = socket(tcp)", "d = socket(tcp6)", "u = socket(udp)", "x = socket(unix)",
				"r = socket(raw icmp)", "r6 = socket(raw icmp6)", "'"+test.call+"'")
			if diff := cmp.Diff(test.want, steps[6].Args, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
		})
	}
}

// md5Struct is struct tcp_md5sig of include/uapi/linux/tcp.h without an address.
func md5Struct(flags, prefix byte, key string) []byte {
	out := make([]byte, 128, 216) // sockaddr_storage
	out = append(out, flags, prefix, byte(len(key)), 0, 0, 0, 0, 0)
	return append(out, append([]byte(key), make([]byte, 80-len(key))...)...)
}

func TestOutcomes(t *testing.T) {
	tests := []struct {
		call string
		want Outcome
	}{
		{"connect(c, B:80) -> EINPROGRESS", Outcome{Errnos: []uint32{115}}},
		{"connect(c, B:80, timeout=1s)  ->  ok or  ECONNREFUSED or timeout", Outcome{OK: true, Errnos: []uint32{111}, Timeout: true}},
		{"connect(c, B:80) -> any", Outcome{OK: true, Errnos: allErrnos}},
		{"connect(c, B:80) -> EAGAIN or EWOULDBLOCK", Outcome{Errnos: []uint32{11}}},
		{"recv(c, 10) -> $port * 2 + 1 or 0", Outcome{Values: []int64{161, 0}}},
		{"recv(c, 10) -> \"a or b as c\" or 0 as hello", Outcome{Values: []int64{0}, Data: [][]byte{[]byte("a or b as c")}}},
		{"recvfrom(u, 10) -> hex(00ff) or pattern(2, 1234567)", Outcome{Data: [][]byte{{0, 0xff}, {0x85, 0xfc}}}},
		{"poll(c, OUT) -> OUT", Outcome{Values: []int64{4}}},
		{"poll(c, OUT, 1s) -> IN|HUP|RDHUP or ERR or 0", Outcome{Values: []int64{0x2011, 8, 0}}},
		{"poll(c, OUT) -> EINTR or NVAL", Outcome{Values: []int64{32}, Errnos: []uint32{4}}},
		{"getsockopt(c, SO_ERROR) -> ECONNREFUSED", Outcome{Values: []int64{111}}},
		{"getsockopt(c, SO_ERROR) -> 0 or EPIPE", Outcome{Values: []int64{0, 32}}},
		{"getsockopt(c, TCP_LINGER2) -> -1 or 2m", Outcome{Values: []int64{-1, 120}}},
		{"getsockopt(c, TCP_NODELAY) -> 1 or ENOPROTOOPT", Outcome{Values: []int64{1}, Errnos: []uint32{92}}},
		{"getsockopt(c, TCP_CONGESTION) -> \"cubic\" or \"reno\"", Outcome{Data: [][]byte{[]byte("cubic"), []byte("reno")}}},
	}
	for _, test := range tests {
		t.Run(test.call, func(t *testing.T) {
			steps := parseLane(t, "c = socket(tcp)", "u = socket(udp)", "bind(c, 0.0.0.0:$port)", "'"+test.call+"'")
			if diff := cmp.Diff(&test.want, steps[3].Outcome); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
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
