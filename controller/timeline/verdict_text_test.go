package timeline

import (
	"fmt"
	"strings"
	"testing"
)

// TestTimesAreTheLadders: a reason writes a time as the time column of the ladder
// does, with the same unit and rounded the same way.
func TestTimesAreTheLadders(t *testing.T) {
	for _, test := range []struct{ scene, want string }{
		{"A>B SYN 0.031..0.1156", "115.6 µs"},
		{"A>B SYN 0.031..20.1156", "20.116 ms"},
		{"A>B SYN 0.031..200000.1156", "200.000 s"},
	} {
		tl := parseScene(t, "host A 10.0.0.1\nhost B 10.0.0.2\n"+test.scene)
		v := tl.Judge(expectations(t, "order received(B, SYN) < sent(A, SYN)"))[2]
		if want := "received(B, SYN) at " + test.want + " is after "; !strings.HasPrefix(v.Reason, want) {
			t.Errorf("%s: reason %q, want it to begin with %q", test.scene, v.Reason, want)
		}
		l := tl.Ladder(LadderOptions{})
		for i := range l.Rows {
			at, _ := l.Time(&l.Rows[i])
			if i == len(l.Rows)-1 && at+" "+l.Unit.String() != test.want {
				t.Errorf("%s: the ladder shows %s %s, want %s", test.scene, at, l.Unit, test.want)
			}
		}
	}
}

// closedByLab has a FIN of A that its own lane did not send, unless shut by shutdown,
// and a reset of B's that answers the lab's close of it.
func closedByLab(shutdown bool) *lab {
	l := newLab(2)
	k := l.open("", 0, 1, 4001)
	if shutdown {
		k.call(0, l.at, l.at+1_000, Call{Lane: "client", Step: 1, Name: "shutdown", Socket: "c", Arguments: "WR", FD: 7})
		l.at += 2_000
	}
	arrived := l.at
	if shutdown {
		arrived = k.up(l.at, FIN|ACK, 1, 1, 0, fate{})
	}
	k.call(0, l.at+10_000, l.at+19_000, Call{Lane: "client", Step: 1, Name: "close", Socket: "c", FD: 7, ByLab: true})
	if !shutdown {
		arrived = k.up(l.at+13_000, FIN|ACK, 1, 1, 0, fate{})
	}
	k.call(1, arrived+1_000, arrived+9_000, Call{Lane: "server", Step: 1, Name: "close", Socket: "a", FD: 8, ByLab: true})
	l.at = k.down(arrived+4_000, RST|ACK, 1, 2, 0, fate{})
	return l
}

// TestTheLabsOwnCloseIsNamed: what the lab did to tidy up is not laid to the lanes.
func TestTheLabsOwnCloseIsNamed(t *testing.T) {
	const (
		fin = ", by the lab's own close at the end of lane client"
		rst = ", after the lab's own close at the end of lane server"
	)
	closedByLab(false).wants(t, "never any FIN", Fail, "A>B FIN+ACK seen by A at ", fin)
	closedByLab(false).wants(t, "never any RST", Fail, "B>A RST+ACK seen by ", rst)
	closedByLab(false).wants(t, "packets SYN, SYN+ACK, ACK", Fail, "expected nothing more as 4th packet, got A>B FIN+ACK at ", fin)
	closedByLab(false).wants(t, "order received(B, any RST) < received(B, any FIN)", Fail)
	closedByLab(false).wants(t, "order sent(B, any RST) < received(B, any FIN)", Fail,
		fin, "sent(B, any RST) at ", rst+" is after")
	v, _ := closedByLab(true).judge(t, "never any FIN")
	if v.Ruling != Fail || strings.Contains(v.Reason, "lab") {
		t.Errorf("the FIN of a shutdown: %s: %s", v.Ruling, v.Reason)
	}
}

// TestNoGoTextInReasons: what a call gave is said in the words of the lab.
func TestNoGoTextInReasons(t *testing.T) {
	tl := parseScene(t, change(t, handshake, "= 0 as try", "= cancel as try"))
	for _, v := range tl.Judge(expectations(t, "result try ok")) {
		for _, word := range []string{"context", "<nil>", "%!"} {
			if strings.Contains(v.Reason, word) {
				t.Errorf("%s: %s", fmt.Sprint(v.Expectation), v.Reason)
			}
		}
	}
}
