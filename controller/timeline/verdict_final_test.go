package timeline

import (
	"testing"

	"syncline/controller/experiment"
)

// The client comes back from the port that the server has in TIME_WAIT: between the two
// addresses there is one socket a host in the end, and it is the later one's.
func TestFinalOfAddressesUsedAgain(t *testing.T) {
	const events = `
B server socket s -40..-39 = 7
A client connect c 0..60 = 0
B server accept s->a -20..95 = 8
A>B SYN 5..25
B>A SYN+ACK 30..50
A>B ACK 55..75
B server close a 200..210 = 0
B>A FIN+ACK 205..225
A>B ACK 228..248
A client close c 300..310 = 0
A>B FIN+ACK 305..325
B>A ACK 328..348
A client connect d 1000..1060 = 0
B server accept s->b 900..1095 = 9
A>B SYN 1005..1025 seq 900000
B>A SYN+ACK 1030..1050 seq 960000 ack 900001
A>B ACK 1055..1075 seq 900001 ack 960001
A dump ESTABLISHED 2000
B dump ESTABLISHED 2000
`
	const file = `
experiment: again
hosts: { A: {}, B: {} }
observe: [syscalls, packets, tcp-states]
lanes:
  server:
    host: B
    do: [s = socket(tcp), "bind(s, 0.0.0.0:8080)", "listen(s, 1)", a = accept(s), close(a), b = accept(s)]
  client:
    host: A
    do: [c = socket(tcp), "connect(c, B:8080)", close(c), d = socket(tcp), "connect(d, B:8080)"]
expect:
  - final: { CLOSED: [client.c] }
  - final: { CLOSED: [server.a] }
  - final: { ESTABLISHED: [client.d] }
  - final: { ESTABLISHED: [server.b] }
  - final: { ESTABLISHED: [client.c] }
  - final: { TIME_WAIT: [server.a] }
`
	exp, err := experiment.Parse([]byte(file), experiment.Options{FileName: "again.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	tl, err := Build(newScript(t, events).run, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(tl.Connections) != 2 {
		t.Fatalf("%d connections, not two", len(tl.Connections))
	}
	verdicts := tl.Judge(exp)
	verdicts = verdicts[len(verdicts)-6:]
	for i, want := range []Ruling{Pass, Pass, Pass, Pass, Fail, Fail} {
		if v := verdicts[i]; v.Ruling != want {
			t.Errorf("%s: %v, not %v: %s", v.Expectation, v.Ruling, want, v.Reason)
		}
	}
}
