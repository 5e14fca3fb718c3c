package netlab

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tunDevice makes TAP links.
const tunDevice = "/dev/net/tun"

// tapQueue is how many frames the kernel keeps of a TAP until they are read. Full, it drops
// them and counts tx_dropped of the link.
const tapQueue = 4096

// openTAP makes a link of that name in the thread's namespace. The link lives as
// long as the descriptor, wherever it is moved to. Reads and writes carry one Ethernet
// frame each and do not block.
//
// It has no offloads, since none is asked for by TUNSETOFFLOAD: the kernel segments and
// checksums before a frame reaches a tap or the link, and what is read is what a cable carries.
func openTAP(name string) (fd int, err error) {
	fd, err = unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, tunRefused(err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return -1, errors.Join(fmt.Errorf("netlab: name a TAP link %q: %w", name, err), unix.Close(fd))
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_TUN_EXCL)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return -1, errors.Join(privileged("add the TAP link "+name+": ioctl(TUNSETIFF)", err), unix.Close(fd))
	}
	return fd, nil
}

// tunRefused says what to do about a device that cannot be opened. ErrPrivilege is not
// in its chain: what is missing is the device, not the lab's privileges.
func tunRefused(err error) error {
	remedy := "give this user read and write access to it"
	if errors.Is(err, os.ErrNotExist) {
		remedy = "try modprobe tun; in a container, pass the device through"
	} else if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		remedy = "try modprobe tun"
	}
	return fmt.Errorf("netlab: a wire needs to open %s, to move frames in user space: %w; %s", tunDevice, err, remedy)
}

// movedTAP makes a TAP in the namespace of the switch, so that its descriptor holds
// that and not the host's, and gives the link to the host.
func (f *fabric) movedTAP(host *os.File, s seat, p *plan) (fd int, err error) {
	c := s.cables[0]
	if fd, err = f.tap(c.port, p.MTU); err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unix.Close(fd))
		}
	}()
	link, err := f.links.LinkByName(c.port)
	if err != nil {
		return -1, fmt.Errorf("netlab: find the TAP link %s: %w", c.port, err)
	}
	if err := f.links.LinkSetHardwareAddr(link, c.hardware[:]); err != nil {
		return -1, fmt.Errorf("netlab: set the address of the TAP link %s: %w", c.port, err)
	}
	if err := f.links.LinkSetNsFd(link, int(host.Fd())); err != nil {
		return -1, fmt.Errorf("netlab: move the TAP link %s to host %s: %w", c.port, s.name, err)
	}
	inside, err := routeHandle(host)
	if err != nil {
		return -1, err
	}
	defer inside.Close()
	// It may have another number there.
	if link, err = inside.LinkByName(c.port); err != nil {
		return -1, fmt.Errorf("netlab: find the TAP link %s at host %s: %w", c.port, s.name, err)
	}
	if err := inside.LinkSetName(link, c.name); err != nil {
		return -1, fmt.Errorf("netlab: call the TAP link %s of host %s %s: %w", c.port, s.name, c.name, err)
	}
	return fd, nil
}

// tap makes a TAP in the namespace of the switch.
func (f *fabric) tap(name string, mtu int) (fd int, err error) {
	err = inNamespace(f.ns, func() (err error) {
		fd, err = openTAP(name)
		return err
	})
	if err != nil {
		return -1, err
	}
	link, err := f.links.LinkByName(name)
	if err == nil {
		err = errors.Join(f.links.LinkSetMTU(link, mtu), f.links.LinkSetTxQLen(link, tapQueue))
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("netlab: set the MTU and queue of the TAP link %s: %w", name, err), unix.Close(fd))
	}
	return fd, nil
}

// uplink joins the hub to the bridge, where the hosts without a wire are.
func (f *fabric) uplink(p *plan) (fd int, err error) {
	const name = "wires"
	f.own[name] = true
	if fd, err = f.tap(name, p.MTU); err != nil {
		return -1, err
	}
	link, err := f.links.LinkByName(name)
	if err == nil {
		err = f.links.LinkSetMaster(link, f.bridges[0])
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("netlab: make the TAP link %s a port of the switch: %w", name, err), unix.Close(fd))
	}
	if err := f.up(link); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// missed is how many frames of a host the kernel dropped because the TAP's queue was
// full.
func missed(host *os.File, name string) (uint64, error) {
	links, err := routeHandle(host)
	if err != nil {
		return 0, err
	}
	defer links.Close()
	link, err := links.LinkByName(name)
	var gone netlink.LinkNotFoundError
	if errors.As(err, &gone) {
		// Somebody inside removed or renamed it.
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("netlab: read the counters of %s: %w", name, err)
	}
	if s := link.Attrs().Statistics; s != nil {
		return s.TxDropped, nil
	}
	return 0, nil
}
