package agent

import (
	"net"
	"strings"
	"testing"
	"time"

	synclinev1 "syncline/proto/syncline/v1"
)

// What a lane has closed and the peer has not is ended with the lease, and the end of the run says
// so; an agent that may not do that says that.
func TestOrphansEndWithTheLease(t *testing.T) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := server.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Fatalf("read %d bytes, %v; want the end", n, err)
	}

	rs, boot := leasedRuns(t)
	plan := leasedPrepare("r-1", 1)
	plan.Flows = &synclinev1.Flows{Ports: []uint32{uint32(l.Addr().(*net.TCPAddr).Port)}}
	if err := rs.admit(plan, false); err != nil {
		t.Fatal(err)
	}
	r := rs.byID["r-1"]
	boot.Add(int64(15 * time.Second))
	rs.checkLeases()
	if !r.working() {
		t.Fatal("the run has ended with its lease, and not at twice that")
	}
	boot.Add(int64(15 * time.Second))
	rs.checkLeases()
	<-r.done
	ended := r.finished.Error
	if !strings.Contains(ended, "its lease of the run ran out") {
		t.Errorf("the run ended with %q", ended)
	}
	if strings.Contains(ended, "it takes CAP_NET_ADMIN") || strings.Contains(ended, "this kernel cannot") {
		t.Skipf("run the test as root, with CONFIG_INET_DIAG_DESTROY: %s", ended)
	}
	if !strings.Contains(ended, "sockets that no lane held any more still waited for their peers and were reset: 1, the first "+client.LocalAddr().String()) {
		t.Errorf("the run ended with %q, want that of its orphan", ended)
	}
}
