package experiment

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPorts(t *testing.T) {
	exp := parseParts(t, `
vars: { port: 8080, other: 9000, fixed: 53 }
matrix: { base: [7000, 7500] }
cases:
  plain: {}
  more: { lanes: { third: { host: A, do: [c = socket(tcp), connect(c, B:22)] } } }
lanes:
  first:
    host: B
    do:
      - s = socket(tcp)
      - bind(s, 0.0.0.0:$port)
      - t = socket(tcp)
      - bind(t, 0.0.0.0:0)
      - x = socket(unix)
      - bind(x, unix:door)
      - r = socket(raw icmp)
      - connect(r, A)
  second:
    host: A
    copies: 2
    do:
      - u = socket(udp)
      - sendto(u, B:$fixed, "a")
      - { repeat: 3, do: ['sendto(u, B:$other * 2, "a")'] }
      - sendto(u, B:$base + $port - 8080, "a")
repeat: { fresh: [port, other] }
`)
	ports, ranges := exp.Ports()
	if diff := cmp.Diff([]uint16{22, 53}, ports); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	// 7000 to 7999 and 7500 to 8499 overlap, and 8080 to 9079 begins within.
	if diff := cmp.Diff([]PortRange{{7000, 9079}, {18000, 19998}}, ranges); diff != "" {
		t.Errorf("ranges (-want +got):\n%s", diff)
	}
	second, err := exp.At(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(BindArgs{Address{IP: exp.Lanes[0].Steps[1].Args.(BindArgs).Address.IP, Port: 8081}}, second.Lanes[0].Steps[1].Args, cmp.Comparer(func(a, b Address) bool { return a == b })); diff != "" {
		t.Errorf("in repetition 2 (-want +got):\n%s", diff)
	}
}

func TestJoinRanges(t *testing.T) {
	got := joinRanges([]PortRange{{10, 20}, {1, 5}, {6, 7}, {15, 17}, {65000, 65535}, {65535, 65535}})
	if diff := cmp.Diff([]PortRange{{1, 7}, {10, 20}, {65000, 65535}}, got); diff != "" {
		t.Errorf("ranges (-want +got):\n%s", diff)
	}
}
