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
// is tried is left out; so is what could not be found out, of which err tells, a line each.
// unlisted is why addresses are not all of the host, nil if they are.
func features(addresses []string, unlisted error) (all []*synclinev1.Feature, err error) {
	ipv6 := unlisted
	if ipv6 == nil {
		ipv6 = hasIPv6(addresses)
	}
	nft, nftRemedy := hasNftables(), "run the agent on a kernel that has nf_tables (CONFIG_NF_TABLES)"
	if errors.Is(nft, unix.EPERM) || errors.Is(nft, unix.EACCES) {
		nftRemedy = granting("CAP_NET_ADMIN")
	}
	var unknown []error
	for _, asked := range []struct {
		name, remedy string
		err          error
	}{
		{"root", granting("CAP_NET_ADMIN"), permitted(unix.CAP_NET_ADMIN, "CAP_NET_ADMIN")},
		{"raw sockets", granting("CAP_NET_RAW"), permitted(unix.CAP_NET_RAW, "CAP_NET_RAW")},
		{"ipv6", "give the host an IPv6 address, or name it to the agent with --address", ipv6},
		{"mptcp", "run the agent on a kernel that is built with CONFIG_MPTCP", hasMPTCP()},
		{"tcp-md5", "run the agent on a kernel that is built with CONFIG_TCP_MD5SIG", hasMD5()},
		{"nftables", nftRemedy, nft},
	} {
		if asked.err == nil || isAbsence(asked.err) {
			all = append(all, feature(asked.name, asked.err, asked.remedy))
			continue
		}
		unknown = append(unknown, fmt.Errorf("if this host has %s is not known: %w", asked.name, asked.err))
	}
	// As a module it is loaded with the first rule that takes it: its absence says nothing.
	if _, err := os.Stat("/proc/sys/net/netfilter/nf_conntrack_max"); err == nil {
		all = append(all, feature("conntrack", nil, ""))
	}
	return all, errors.Join(unknown...)
}

// absence is the finding that the host has it not.
type absence string

func (a absence) Error() string { return string(a) }

// isAbsence reports whether an error says that the host has not what was tried, or does not
// let this process have it. All others, of a lack of memory or descriptors for one, say
// nothing of it, and may pass.
func isAbsence(err error) bool {
	var found absence
	return errors.As(err, &found) || slices.ContainsFunc([]unix.Errno{
		unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EINVAL, unix.ENOENT, unix.EPERM, unix.EACCES,
	}, func(errno unix.Errno) bool { return errors.Is(err, errno) })
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
		return absence("no " + name)
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
	return absence("the agent has no IPv6 address")
}

// hasMPTCP looks for the switch of it: an experiment may turn it.
func hasMPTCP() error {
	if _, err := os.Stat("/proc/sys/net/mptcp/enabled"); errors.Is(err, fs.ErrNotExist) {
		return absence("the kernel has no sysctl net.mptcp.enabled")
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
