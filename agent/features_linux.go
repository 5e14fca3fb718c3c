package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"unsafe"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// features says of what experiments may need of a host, besides sources, if this one has
// it, in the network namespace of the calling thread. It changes nothing, but asking for
// nftables has the kernel load that module, if it is one. What cannot be known before it
// is tried is left out.
func features(addresses []string) []*synclinev1.Feature {
	all := []*synclinev1.Feature{
		feature("root", permitted(unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"), granting("CAP_NET_ADMIN")),
		feature("raw sockets", permitted(unix.CAP_NET_RAW, "CAP_NET_RAW"), granting("CAP_NET_RAW")),
		feature("ipv6", hasIPv6(addresses), "give the host an IPv6 address, or name it to the agent with --address"),
		feature("mptcp", hasMPTCP(), "run the agent on a kernel that is built with CONFIG_MPTCP"),
		feature("tcp-md5", hasMD5(), "run the agent on a kernel that is built with CONFIG_TCP_MD5SIG"),
	}
	switch err := hasNftables(); {
	case errors.Is(err, unix.EPERM):
		all = append(all, feature("nftables", err, granting("CAP_NET_ADMIN")))
	default:
		all = append(all, feature("nftables", err, "run the agent on a kernel that has nf_tables (CONFIG_NF_TABLES)"))
	}
	// As a module it is loaded with the first rule that takes it: its absence says nothing.
	if _, err := os.Stat("/proc/sys/net/netfilter/nf_conntrack_max"); err == nil {
		all = append(all, feature("conntrack", nil, ""))
	}
	return all
}

func feature(name string, err error, remedy string) *synclinev1.Feature {
	if err != nil {
		return &synclinev1.Feature{Name: name, Reason: err.Error(), Remedy: remedy}
	}
	return &synclinev1.Feature{Name: name, Available: true}
}

func granting(capability string) string {
	return fmt.Sprintf("run the agent as root, or give it %s (AmbientCapabilities= in its unit)", capability)
}

// permitted says if the calling thread lacks a capability, capabilities(7).
func permitted(capability uint, name string) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("read this thread's capabilities: %w", os.NewSyscallError("capget", err))
	}
	if sets[capability/32].Effective&(1<<(capability%32)) == 0 {
		return fmt.Errorf("no %s", name)
	}
	return nil
}

func hasIPv6(addresses []string) error {
	is6 := func(text string) bool {
		a, err := netip.ParseAddr(text)
		return err == nil && a.Unmap().Is6()
	}
	if slices.ContainsFunc(addresses, is6) {
		return nil
	}
	return errors.New("the agent has no IPv6 address")
}

// hasMPTCP looks for the switch of it: an experiment may turn it.
func hasMPTCP() error {
	if _, err := os.Stat("/proc/sys/net/mptcp/enabled"); errors.Is(err, fs.ErrNotExist) {
		return errors.New("the kernel has no sysctl net.mptcp.enabled")
	} else if err != nil {
		return fmt.Errorf("look for MPTCP: %w", err)
	}
	return nil
}

// hasMD5 gives a socket of its own a key, which goes with it.
func hasMD5() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket to look for TCP_MD5SIG: %w", os.NewSyscallError("socket", err))
	}
	defer unix.Close(fd)
	// struct tcp_md5sig of linux/tcp.h, for the peer 127.0.0.1.
	var sig struct {
		peer   unix.RawSockaddrInet4
		_      [112]byte
		_      uint16
		keyLen uint16
		_      uint32
		key    [80]byte
	}
	sig.peer = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte{127, 0, 0, 1}}
	sig.keyLen, sig.key[0] = 1, 'x'
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_MD5SIG, uintptr(unsafe.Pointer(&sig)), unsafe.Sizeof(sig), 0)
	if errno != 0 {
		return fmt.Errorf("give a socket a key: %w", os.NewSyscallError("setsockopt(TCP_MD5SIG)", errno))
	}
	return nil
}

// hasNftables asks for the list of tables, which takes what changing one takes.
func hasNftables() error {
	c, err := nftables.New()
	if err == nil {
		_, err = c.ListTables()
	}
	if err != nil {
		return fmt.Errorf("list the nftables tables: %w", err)
	}
	return nil
}
