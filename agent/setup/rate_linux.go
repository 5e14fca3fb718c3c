package setup

import (
	"errors"
	"fmt"
	"math"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// A token bucket as tc-tbf(8) has it: bucketTime of the rate may leave at once, and
// queueTime of it may wait. Both hold some packets at the slowest rates.
const (
	bucketTime  = 0.005
	queueTime   = 0.050
	bucketFloor = 2
	queueFloor  = 10
)

// frameHeader is Ethernet's, with room for one tag.
const frameHeader = 18

func prepareRate(l link, c *synclinev1.LinkChange) (plan, error) {
	rate := c.GetRate() / 8
	switch {
	case c.GetRate() == 0:
		return plan{}, nil
	case rate == 0:
		return plan{}, fmt.Errorf("a rate of %d bits a second: 8 is the least", c.GetRate())
	}
	old, err := savedQueue(l)
	if err != nil {
		return plan{}, err
	}
	mtu := l.mtu
	if c.GetMtu() != 0 {
		mtu = int(c.GetMtu())
	}
	frame := float64(mtu + frameHeader)
	bucket := uint32(min(max(bucketTime*float64(rate), bucketFloor*frame), math.MaxUint32/2))
	waiting := min(max(queueTime*float64(rate), queueFloor*frame), math.MaxUint32/2)
	b := tokenBucket{Rate: rate, Limit: bucket + uint32(waiting), Buffer: netlink.Xmittime(rate, bucket)}
	return plan{saved: []saved{old}, make: func() error { return b.set(l) }}, nil
}

// tokenBucket is the lab's tbf: bytes a second, bytes that may wait, and the time that
// a full bucket lasts, in ticks of the kernel's packet scheduler.
type tokenBucket struct {
	Rate   uint64
	Limit  uint32
	Buffer uint32
}

func (b tokenBucket) String() string { return fmt.Sprintf("%d %d %d", b.Rate, b.Limit, b.Buffer) }

func (b tokenBucket) set(l link) error {
	err := netlink.QdiscReplace(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.index, Handle: tbfHandle, Parent: netlink.HANDLE_ROOT},
		Rate:       b.Rate, Limit: b.Limit, Buffer: b.Buffer,
	})
	if errors.Is(err, unix.ENOENT) {
		err = fmt.Errorf("%w: %w (kernel module sch_tbf)", err, ErrUnsupported)
	}
	if err != nil {
		return fmt.Errorf("limit interface %s to %d bytes a second with tc-tbf: %w", l.name, b.Rate, err)
	}
	return nil
}

// tbfHandle marks the lab's queueing discipline; nobody else's automatic one has it.
var tbfHandle = netlink.MakeHandle(0x51ab, 0)

// savedQueue is the token bucket that an earlier change of the lab set, or nothing: the
// kernel's own queueing disciplines, which have the handle 0, come back by themselves.
// One that somebody has set is refused, since its classes and filters could not be put
// back.
func savedQueue(l link) (saved, error) {
	old := saved{key: key{Kind: kindQueue, Link: l.index, Name: l.name}}
	root, err := rootQueue(l.index)
	if err != nil || root == nil || root.Attrs().Handle == 0 {
		return old, err
	}
	if tbf, ok := root.(*netlink.Tbf); ok && tbf.Handle == tbfHandle {
		old.Old = []string{tokenBucket{Rate: tbf.Rate, Limit: tbf.Limit, Buffer: tbf.Buffer}.String()}
		return old, nil
	}
	return saved{}, fmt.Errorf("interface %s has a queueing discipline that somebody set (%s %s), and its classes could not be put back: remove it (`tc qdisc del dev %s root`) or do without a rate",
		l.name, root.Type(), netlink.HandleStr(root.Attrs().Handle), l.name)
}

func rootQueue(index int) (netlink.Qdisc, error) {
	all, err := netlink.QdiscList(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}})
	if err != nil {
		return nil, fmt.Errorf("list the queueing disciplines of interface %d: %w", index, err)
	}
	for _, q := range all {
		if q.Attrs().Parent == netlink.HANDLE_ROOT {
			return q, nil
		}
	}
	return nil, nil
}

// restoreQueue sets the lab's earlier token bucket, or takes it off; the kernel then
// sets its own default.
func (h *Host) restoreQueue(b putBack) error {
	l, err := h.surviving(b.key)
	if err != nil || l.index == 0 {
		return err
	}
	if len(b.Old) > 0 {
		var old tokenBucket
		if _, err := fmt.Sscan(b.Old[0], &old.Rate, &old.Limit, &old.Buffer); err != nil {
			return fmt.Errorf("the rate of %s: %w: %w", b.Name, errDamaged, err)
		}
		return old.set(l)
	}
	root, err := rootQueue(l.index)
	if err != nil || root == nil || root.Attrs().Handle != tbfHandle {
		return err
	}
	if err := netlink.QdiscDel(root); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("take the limit of the rate off interface %s: %w", l.name, err)
	}
	return nil
}
