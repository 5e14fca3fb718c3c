package environment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands of ethtool(8) through SIOCETHTOOL, of linux/ethtool.h.
const (
	ethtoolGetCoalesce = 0x0e
	ethtoolGetStrings  = 0x1b
	ethtoolGetSetInfo  = 0x37
	ethtoolGetFeatures = 0x3a

	stringsOfFeatures = 4 // ETH_SS_FEATURES
	maxFeatures       = 1024
)

// ethtool asks an interface's driver. The ioctl works on every kernel; the netlink of
// ethtool is a module that may be missing.
type ethtool struct {
	fd   int
	name string
}

// ethtool puts what an interface's driver says. What a driver has not is a value.
func (p *page) ethtool(name string) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		p.fail("driver", fmt.Errorf("socket(AF_INET, SOCK_DGRAM), to ask interface %s: %w", name, err))
		return
	}
	defer unix.Close(fd)
	e := ethtool{fd, name}
	p.supported("driver", "none", e.driver)
	p.supported("time stamps", "none", e.timestamps)
	p.supported("interrupt coalescing", "none", e.coalescing)
	all, err := e.features()
	switch {
	case isUnsupported(err):
		p.set("offloads", "none")
	case err != nil:
		p.fail("offloads", err)
	}
	for _, f := range all {
		p.set("offload "+f.name, f.String())
	}
}

// supported puts what read gives, or absent if the driver does not know it.
func (p *page) supported(name, absent string, read func() (string, error)) {
	value, err := read()
	if isUnsupported(err) {
		value, err = absent, nil
	}
	p.put(name, value, err)
}

func (e ethtool) failed(what string, err error) error {
	return fmt.Errorf("ioctl(SIOCETHTOOL, %s) on interface %s: %w", what, e.name, err)
}

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
	if errno != 0 {
		return e.failed(what, errno)
	}
	return nil
}

func (e ethtool) driver() (string, error) {
	info, err := unix.IoctlGetEthtoolDrvinfo(e.fd, e.name)
	if err != nil {
		return "", e.failed("ETHTOOL_GDRVINFO", err)
	}
	parts := []string{unix.ByteSliceToString(info.Driver[:])}
	for _, of := range []struct {
		name string
		text []byte
	}{{"version", info.Version[:]}, {"firmware", info.Fw_version[:]}, {"bus", info.Bus_info[:]}} {
		if text := unix.ByteSliceToString(of.text); text != "" && text != "N/A" {
			parts = append(parts, of.name+" "+text)
		}
	}
	return strings.Join(parts, ", "), nil
}

// timestamps says where packets can be stamped, and by which hardware clock.
func (e ethtool) timestamps() (string, error) {
	info, err := unix.IoctlGetEthtoolTsInfo(e.fd, e.name)
	if err != nil {
		return "", e.failed("ETHTOOL_GET_TS_INFO", err)
	}
	var can []string
	for _, of := range []struct {
		bit  uint32
		name string
	}{
		{unix.SOF_TIMESTAMPING_TX_SOFTWARE, "sent by software"}, {unix.SOF_TIMESTAMPING_RX_SOFTWARE, "received by software"},
		{unix.SOF_TIMESTAMPING_TX_HARDWARE, "sent by hardware"}, {unix.SOF_TIMESTAMPING_RX_HARDWARE, "received by hardware"},
	} {
		if info.So_timestamping&of.bit != 0 {
			can = append(can, of.name)
		}
	}
	if info.Phc_index >= 0 {
		can = append(can, fmt.Sprintf("clock ptp%d", info.Phc_index))
	}
	if len(can) == 0 {
		return "none", nil
	}
	return strings.Join(can, ", "), nil
}

// coalescing is how long the device waits before it interrupts.
func (e ethtool) coalescing() (string, error) {
	// struct ethtool_coalesce: 23 numbers.
	b := make([]byte, 23*4)
	binary.NativeEndian.PutUint32(b, ethtoolGetCoalesce)
	if err := e.call("ETHTOOL_GCOALESCE", b); err != nil {
		return "", err
	}
	word := func(i int) uint32 { return binary.NativeEndian.Uint32(b[4*i:]) }
	return fmt.Sprintf("receive %d µs or %d frames, send %d µs or %d frames, adaptive %d/%d",
		word(1), word(2), word(5), word(6), word(10), word(11)), nil
}

// features are the offloads that change what a tap sees.
func (e ethtool) features() ([]feature, error) {
	// struct ethtool_sset_info: command, reserved, mask of sets, lengths.
	info := make([]byte, 4+4+8+4)
	binary.NativeEndian.PutUint32(info, ethtoolGetSetInfo)
	binary.NativeEndian.PutUint64(info[8:], 1<<stringsOfFeatures)
	if err := e.call("ETHTOOL_GSSET_INFO", info); err != nil {
		return nil, err
	}
	n := int(binary.NativeEndian.Uint32(info[16:]))
	if n <= 0 || n > maxFeatures {
		return nil, e.failed("ETHTOOL_GSSET_INFO", fmt.Errorf("it tells %d features, between 1 and %d are known", n, maxFeatures))
	}
	// struct ethtool_gstrings: command, set, length, strings.
	text := make([]byte, 12+n*stringLength)
	binary.NativeEndian.PutUint32(text, ethtoolGetStrings)
	binary.NativeEndian.PutUint32(text[4:], stringsOfFeatures)
	binary.NativeEndian.PutUint32(text[8:], uint32(n))
	if err := e.call("ETHTOOL_GSTRINGS", text); err != nil {
		return nil, err
	}
	names, err := stringSet(text[12:], n)
	if err != nil {
		return nil, e.failed("ETHTOOL_GSTRINGS", err)
	}
	// struct ethtool_gfeatures: command, blocks, and the blocks.
	count := (n + 31) / 32
	b := make([]byte, 8+16*count)
	binary.NativeEndian.PutUint32(b, ethtoolGetFeatures)
	binary.NativeEndian.PutUint32(b[4:], uint32(count))
	if err := e.call("ETHTOOL_GFEATURES", b); err != nil {
		return nil, err
	}
	all, err := features(names, b[8:])
	if err != nil {
		return nil, e.failed("ETHTOOL_GFEATURES", err)
	}
	if len(all) == 0 {
		return nil, errors.Join(e.failed("ETHTOOL_GFEATURES", unix.EOPNOTSUPP))
	}
	return all, nil
}
