package packet

import (
	"testing"
	"time"

	synclinev1 "syncline/proto/syncline/v1"
)

// Run leaves frames in a ring that has room: reading them would take the processor from
// those who send. A ring that fills ends that, and so does whoever wants the packets now.
func TestFramesWaitWhileTheRingHasRoom(t *testing.T) {
	p := newPair(t)
	cfg := p.config()
	cfg.RingBytes = 1 << 20
	c := p.client.open(cfg)
	defer c.Close()
	c.emit = func([]*synclinev1.Event) {}
	c.leisure = time.Hour
	lingering := make(chan bool)
	linger := func() {
		woken, err := c.linger()
		if err != nil {
			t.Error(err)
		}
		lingering <- woken
	}

	p.exchange(p.server4, 1, 1)
	for deadline := time.Now().Add(10 * time.Second); c.rings[0].ready() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the kernel hands over no block")
		}
		if _, err := c.wait(time.Millisecond, true); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.rings[0].ready(); c.rings[0].filling() {
		t.Errorf("the ring is filling with %d blocks of %d", n, c.rings[0].blocks)
	}
	go linger()
	c.kick()
	if !<-lingering {
		t.Error("a kick has not woken it")
	}

	go linger()
	for waiting := true; waiting; {
		p.exchange(p.server4, 1, 1)
		select {
		case woken := <-lingering:
			waiting = false
			if n := c.rings[0].ready(); woken || n < c.rings[0].blocks/4 {
				t.Errorf("it was over with %d blocks of %d, woken: %t", n, c.rings[0].blocks, woken)
			}
		default:
		}
	}

	if _, err := c.pass(); err != nil {
		t.Fatal(err)
	}
	c.leisure = 0
	go linger()
	if <-lingering {
		t.Error("somebody has woken it")
	}
}
