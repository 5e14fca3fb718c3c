package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"syncline/agent/packet"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

// burstConnections is how large the burst of TestBurstIsCountedToTheLastPacket is.
var burstConnections = flag.Int("burst.connections", 4000, "connections of the burst that overruns a small capture ring")

const (
	burstPort = 8650
	// atOneTime connections make a repetition: a file has at most 10,000 steps.
	atOneTime = 1600
	// burstLanes are the pairs of lanes that make them side by side.
	burstLanes = 8
)

// burst is an experiment of nothing but connections, as fast as they come.
func burst() []byte {
	return fmt.Appendf(nil, `experiment: burst
about: Connections as fast as they come, for a tap that cannot keep up.
hosts: { A: {}, B: {} }
observe: [syscalls, packets, icmp]
setup:
  A: { sysctl: { net.ipv4.ip_local_port_range: 1025 64999 } }
lanes:
  server:
    host: B
    do:
      - s = socket(tcp)
      - setsockopt(s, SO_REUSEADDR, 1)
      - bind(s, 0.0.0.0:%[1]d)
      - listen(s, 4096)
      - signal(listening)
      - repeat: %[2]d
        do:
          - a = accept(s)
          - close(a)
  client:
    host: A
    copies: %[3]d
    do:
      - wait(server.listening)
      - repeat: %[4]d
        do:
          - c = socket(tcp)
          - connect(c, B:%[1]d)
          - close(c)
repeat: { runs: 1, timeout: 60s }
expect:
  - packets: { of: "client[1].c", pattern: ["A>B SYN", ...] }
  - never: any RST
  - never: ICMP
  - count: { of: "B>A SYN+ACK", equals: %[2]d }
  - count: { of: "B>A SYN+ACK", at_most: %[2]d }
  - retransmits: { of: A>B SYN, equals: 0 }
`, burstPort, atOneTime, burstLanes, atOneTime/burstLanes)
}

// takeCensus begins to count, in the namespace of the calling thread, the TCP packets of
// the burst's port that its host sends and gets: by the firewall, and so apart from any
// tap. The chains stand where a packet has just passed the tap, or is about to.
func takeCensus() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := conn.AddTable(&nftables.Table{Name: "census", Family: nftables.TableFamilyIPv4})
	count := func(chain *nftables.Chain, ports []expr.Any) {
		tcp := []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		}
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: slices.Concat(tcp, ports, []expr.Any{&expr.Counter{}})})
	}
	for _, c := range []nftables.Chain{
		{Name: "received", Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw},
		{Name: "sent", Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityLast},
	} {
		c.Table, c.Type = table, nftables.ChainTypeFilter
		chain := conn.AddChain(&c)
		// A client may have the port too: a packet from the port to the port counts once.
		count(chain, isPort(sourcePort, expr.CmpOpEq))
		count(chain, append(isPort(sourcePort, expr.CmpOpNeq), isPort(destinationPort, expr.CmpOpEq)...))
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("make a table of counters: %w", err)
	}
	return nil
}

// Offsets of the ports in a TCP header (RFC 9293, section 3.1).
const sourcePort, destinationPort = 0, 2

// isPort compares a packet's port, at an offset of its TCP header, with the burst's.
func isPort(offset uint32, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Op: op, Register: 1, Data: []byte{burstPort >> 8, burstPort & 0xff}},
	}
}

// counted is how many packets the census of the calling thread's namespace has seen.
func counted() (packets uint64, err error) {
	conn, err := nftables.New()
	if err != nil {
		return 0, fmt.Errorf("open nftables: %w", err)
	}
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return 0, fmt.Errorf("list chains: %w", err)
	}
	rules := 0
	for _, c := range chains {
		if c.Table.Name != "census" {
			continue
		}
		all, err := conn.GetRules(c.Table, c)
		if err != nil {
			return 0, fmt.Errorf("list the rules of %s: %w", c.Name, err)
		}
		for _, r := range all {
			if counter, ok := r.Exprs[len(r.Exprs)-1].(*expr.Counter); ok {
				rules++
				packets += counter.Packets
			}
		}
	}
	if rules != 4 {
		return 0, errors.New("the census has lost its rules")
	}
	return packets, nil
}

// account is what became of the packets of one host.
type account struct {
	sent, captured, lost uint64
	losses               int
	// repetitions in which some were lost.
	repetitions map[uint32]bool
}

// A capture ring that is far too small for a burst loses packets, and each of them is
// counted: what the firewall of the host counted is what was captured and what is reported
// lost, to the packet. No verdict of a repetition that misses packets is a pass, but for
// those on calls, which are all on record.
func TestBurstIsCountedToTheLastPacket(t *testing.T) {
	source := burst()
	l := newTestLab(t, mustParse(t, source), "--ring-bytes", strconv.Itoa(packet.MinRingBytes))
	accounts := map[string]*account{}
	for _, h := range l.exp.Hosts {
		agent := l.bindings[h.Name]
		accounts[agent] = &account{repetitions: map[uint32]bool{}}
		if err := l.Host(agent).Do(takeCensus); err != nil {
			t.Fatalf("host %s: %v", agent, err)
		}
	}
	repetitions := (*burstConnections + atOneTime - 1) / atOneTime
	began := time.Now()
	run := l.run(source, repetitions)
	took := time.Since(began)
	if run.State != synclinev1.RunState_RUN_STATE_SEALED {
		t.Fatalf("the run is %v: %s", run.State, run.Reason)
	}
	for agent, a := range accounts {
		err := l.Host(agent).Do(func() (err error) { a.sent, err = counted(); return err })
		if err != nil {
			t.Fatalf("host %s: %v", agent, err)
		}
	}
	l.eachEvent(run.Id, func(agent string, e *synclinev1.Event) {
		a := accounts[agent]
		switch {
		case e.GetPacket() != nil:
			a.captured++
		case e.GetLoss() != nil:
			a.losses++
			a.lost += e.GetLoss().Count
			a.repetitions[e.Repetition] = true
			if l := e.GetLoss(); l.Source != synclinev1.Source_SOURCE_PACKETS || l.SinceNs <= 0 || l.SinceNs > e.TimeNs || l.Where == "" {
				t.Errorf("a loss of %s: %v", agent, e)
			}
		}
	})
	missing := map[uint32]bool{}
	for agent, a := range accounts {
		t.Logf("%s: %d sent and received = %d captured + %d lost, in %d losses of %d repetitions of %d; %d connections in %v",
			agent, a.sent, a.captured, a.lost, a.losses, len(a.repetitions), repetitions, repetitions*atOneTime, took.Round(time.Millisecond))
		if a.captured+a.lost != a.sent {
			t.Errorf("%s: %d captured and %d reported lost are %d; the firewall counted %d", agent, a.captured, a.lost, a.captured+a.lost, a.sent)
		}
		maps.Copy(missing, a.repetitions)
	}
	if len(missing) == 0 {
		t.Fatal("nothing was lost: the test tests nothing")
	}
	l.wantNoPassWithout(run, missing)
}

// wantNoPassWithout fails if anything but the outcomes of calls passed in a repetition
// that misses packets.
func (l *testLab) wantNoPassWithout(run *synclinev1.Run, missing map[uint32]bool) {
	l.t.Helper()
	stream, err := l.client.timelines.ListVerdicts(l.t.Context(), &synclinev1.ListVerdictsRequest{RunId: run.Id})
	if err != nil {
		l.t.Fatal(err)
	}
	judged := 0
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			l.t.Fatal(err)
		}
		for _, v := range answer.Verdicts {
			judged++
			isPass := v.Ruling == synclinev1.Ruling_RULING_PASS
			if isPass && v.Expectation != timeline.EveryOutcome && missing[answer.Repetition] {
				l.t.Errorf("repetition %d misses packets, and %q passes", answer.Repetition, v.Expectation)
			}
			if !isPass && v.Expectation == timeline.EveryOutcome {
				l.t.Errorf("repetition %d: %s: %s", answer.Repetition, v.Expectation, v.Reason)
			}
		}
	}
	if judged == 0 {
		l.t.Error("no verdict was given")
	}
}
