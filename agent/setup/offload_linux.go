package setup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// Commands of ethtool(8) through SIOCETHTOOL, of linux/ethtool.h.
const (
	ethtoolGetStrings  = 0x1b
	ethtoolGetSetInfo  = 0x37
	ethtoolGetFeatures = 0x3a
	ethtoolSetFeatures = 0x3b

	stringsOfFeatures = 4 // ETH_SS_FEATURES
	stringLength      = 32
	maxFeatures       = 1024
)

// offloads are the kernel's names of what makes one record of several segments: TSO,
// GSO, GRO, and what the hardware merges.
func isOffload(name string) bool {
	return strings.HasPrefix(name, "tx-tcp") && strings.HasSuffix(name, "segmentation") ||
		slices.Contains([]string{"tx-generic-segmentation", "rx-gro", "rx-gro-hw", "rx-lro", "tx-udp-segmentation"}, name)
}

// ethtool asks an interface by ioctl(2), which every kernel since 2.6.39 answers; the
// newer netlink of ethtool is a module that may be missing.
type ethtool struct {
	fd   int
	name string
}

func openEthtool(name string) (ethtool, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ethtool{}, fmt.Errorf("socket(AF_INET, SOCK_DGRAM), to ask interface %s: %w", name, err)
	}
	return ethtool{fd: fd, name: name}, nil
}

func (e ethtool) close() { unix.Close(e.fd) }

// call runs one command; the kernel reads and writes data.
func (e ethtool) call(what string, data []byte) error {
	// struct ifreq: the name, and a pointer among 24 bytes of union.
	var request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(request.name[:unix.IFNAMSIZ-1], e.name)
	// The kernel follows this pointer, which the collector does not move and pinning
	// keeps alive.
	var pin runtime.Pinner
	pin.Pin(&data[0])
	defer pin.Unpin()
	request.data = unsafe.Pointer(&data[0])
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(e.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno == unix.EOPNOTSUPP {
		return fmt.Errorf("ioctl(SIOCETHTOOL, %s) on interface %s: %w: %w", what, e.name, errno, ErrUnsupported)
	}
	if errno != 0 {
		return fmt.Errorf("ioctl(SIOCETHTOOL, %s) on interface %s: %w", what, e.name, errno)
	}
	return nil
}

// names lists the kernel's features by their bits.
func (e ethtool) names() ([]string, error) {
	// struct ethtool_sset_info: command, reserved, mask of sets, lengths.
	info := make([]byte, 4+4+8+4)
	binary.NativeEndian.PutUint32(info, ethtoolGetSetInfo)
	binary.NativeEndian.PutUint64(info[8:], 1<<stringsOfFeatures)
	if err := e.call("ETHTOOL_GSSET_INFO", info); err != nil {
		return nil, err
	}
	n := int(binary.NativeEndian.Uint32(info[16:]))
	if n == 0 || n > maxFeatures {
		return nil, fmt.Errorf("interface %s tells %d features, between 1 and %d are known", e.name, n, maxFeatures)
	}
	// struct ethtool_gstrings: command, set, length, strings.
	text := make([]byte, 12+n*stringLength)
	binary.NativeEndian.PutUint32(text, ethtoolGetStrings)
	binary.NativeEndian.PutUint32(text[4:], stringsOfFeatures)
	binary.NativeEndian.PutUint32(text[8:], uint32(n))
	if err := e.call("ETHTOOL_GSTRINGS", text); err != nil {
		return nil, err
	}
	all := make([]string, n)
	for i := range all {
		name, _, _ := bytes.Cut(text[12+i*stringLength:12+(i+1)*stringLength], []byte{0})
		all[i] = string(name)
	}
	return all, nil
}

// offloads lists the features that make one record of several segments and can be
// changed: those that are wanted on.
func (e ethtool) offloads(names []string) (on []string, err error) {
	blocks := (len(names) + 31) / 32
	// struct ethtool_gfeatures: command, blocks, and of each: available, requested,
	// active, never changed.
	b := make([]byte, 8+16*blocks)
	binary.NativeEndian.PutUint32(b, ethtoolGetFeatures)
	binary.NativeEndian.PutUint32(b[4:], uint32(blocks))
	if err := e.call("ETHTOOL_GFEATURES", b); err != nil {
		return nil, err
	}
	for i, name := range names {
		block, bit := b[8+16*(i/32):], uint32(1)<<(i%32)
		available, requested := binary.NativeEndian.Uint32(block), binary.NativeEndian.Uint32(block[4:])
		if isOffload(name) && available&requested&bit != 0 {
			on = append(on, name)
		}
	}
	return on, nil
}

// set turns features on or off.
func (e ethtool) set(names, which []string, on bool) error {
	blocks := (len(names) + 31) / 32
	// struct ethtool_sfeatures: command, blocks, and of each: valid, requested.
	b := make([]byte, 8+8*blocks)
	binary.NativeEndian.PutUint32(b, ethtoolSetFeatures)
	binary.NativeEndian.PutUint32(b[4:], uint32(blocks))
	for i, name := range names {
		if !slices.Contains(which, name) {
			continue
		}
		block, bit := b[8+8*(i/32):], uint32(1)<<(i%32)
		binary.NativeEndian.PutUint32(block, binary.NativeEndian.Uint32(block)|bit)
		if on {
			binary.NativeEndian.PutUint32(block[4:], binary.NativeEndian.Uint32(block[4:])|bit)
		}
	}
	return e.call("ETHTOOL_SFEATURES", b)
}

// withOffloads runs f with the offloads of an interface that are on.
func withOffloads(name string, f func(e ethtool, names, on []string) error) error {
	e, err := openEthtool(name)
	if err != nil {
		return err
	}
	defer e.close()
	names, err := e.names()
	if err != nil {
		return err
	}
	on, err := e.offloads(names)
	if err != nil {
		return err
	}
	return f(e, names, on)
}

func prepareOffload(l link, c *synclinev1.LinkChange) (plan, error) {
	if !c.GetNoOffload() {
		return plan{}, nil
	}
	var p plan
	err := withOffloads(l.name, func(_ ethtool, _, on []string) error {
		p.saved = []saved{{key: key{Kind: kindOffload, Link: l.index, Name: l.name}, Old: on}}
		return nil
	})
	p.make = func() error {
		return withOffloads(l.name, func(e ethtool, names, on []string) error { return e.set(names, on, false) })
	}
	return p, err
}

// restoreOffload turns on what was on. Nothing else was changed.
func (h *Host) restoreOffload(b putBack) error {
	l, err := h.surviving(b.key)
	if err != nil || l.index == 0 {
		return err
	}
	err = withOffloads(l.name, func(e ethtool, names, on []string) error {
		off := slices.DeleteFunc(slices.Clone(on), func(name string) bool { return slices.Contains(b.Old, name) })
		if slices.Equal(on, b.Old) {
			return nil
		}
		return errors.Join(e.set(names, b.Old, true), e.set(names, off, false))
	})
	if err != nil {
		return fmt.Errorf("set the offloads of interface %s back: %w", l.name, err)
	}
	return nil
}
