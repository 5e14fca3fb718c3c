package kernel

import "testing"

func TestPassed(t *testing.T) {
	for _, c := range []struct {
		from, now, wanted State
		want              bool
	}{
		{Close, SynSent, SynSent, true},
		{Close, Established, SynSent, true},
		{Close, Established, Listen, false},
		{Close, Established, SynRecv, false}, // only simultaneous opens go there
		{Close, FinWait2, Established, true},
		{Close, TimeWait, FinWait1, true},
		{Close, TimeWait, FinWait2, false}, // or through CLOSING, or neither
		{Close, TimeWait, Closing, false},
		{Close, LastAck, CloseWait, true},
		{Close, LastAck, FinWait1, false},
		{SynRecv, CloseWait, Established, true},
		{SynRecv, Established, SynRecv, true},
		{Established, FinWait2, FinWait1, true},
		{FinWait1, TimeWait, FinWait2, false},
		{FinWait2, TimeWait, FinWait1, false}, // it was behind it at the last look
		{Established, SynSent, TimeWait, false},
		{Established, Established, SynSent, false},
	} {
		if got := passed(c.from, c.now, c.wanted); got != c.want {
			t.Errorf("from %v to %v by %v: %v", c.from, c.now, c.wanted, got)
		}
	}
}

func TestPathReachesClose(t *testing.T) {
	for _, c := range []struct {
		name     string
		accepted bool
		steps    []State
		want     bool
	}{
		{"just made", false, []State{Close, Close}, false},
		{"refused", false, []State{Close, SynSent, Close}, true},
		{"never seen in a state", true, []State{Close}, true},
		{"to its end", false, []State{SynSent, Established, FinWait2, TimeWait, Close}, true},
		{"still there", false, []State{SynSent, Established, TimeWait}, false},
	} {
		p := newPath(Close, c.accepted)
		reached := false
		for _, s := range c.steps {
			reached = p.step(s, false)
		}
		if reached != c.want {
			t.Errorf("%s: %v", c.name, reached)
		}
	}
}

func TestPathOfASocketThatWasConnected(t *testing.T) {
	if p := newPath(Close, false); !p.step(Close, true) {
		t.Error("it is in Close, and not closed")
	}
}

func TestPathOfASecondConnection(t *testing.T) {
	p := newPath(SynRecv, false)
	for _, s := range []State{SynSent, Established, Close, SynSent} {
		if p.step(s, false) {
			t.Errorf("%v on the way to %v", p.wanted, s)
		}
	}
	if !p.step(SynRecv, false) {
		t.Error("SYN_RECV was not seen")
	}
}
