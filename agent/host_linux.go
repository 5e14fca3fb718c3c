package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"syncline/agent/packet"
	"syncline/agent/probe"
	synclinev1 "syncline/proto/syncline/v1"
)

// describeHost reads what this host is: its kernel, its boot, its clock, its
// addresses, and what can be seen on it.
func describeHost(cfg Config) (*synclinev1.Hello, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("read this boot's id: %w", err)
	}
	// Two agents of one kernel read the same CLOCK_MONOTONIC unless their time
	// namespaces differ (time_namespaces(7)). A kernel without them has one clock.
	timens, err := os.Readlink("/proc/self/ns/time")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read this process's time namespace: %w", err)
	}
	addresses := cfg.Addresses
	if len(addresses) == 0 {
		if addresses, err = hostAddresses(); err != nil {
			return nil, err
		}
	}
	kernel, err := kernelRelease()
	if err != nil {
		return nil, err
	}
	features, err := features(addresses, nil)
	if err != nil {
		cfg.Log.Warn("experiments that need it are not refused for it", "err", err)
	}
	return &synclinev1.Hello{
		Name: cfg.Name, Labels: cfg.Labels, Addresses: addresses,
		BootId: strings.TrimSpace(string(boot)), TimeNamespace: timens,
		Kernel: kernel, Version: cfg.Version,
		ProtocolMin: protocolMin, ProtocolMax: protocolMax,
		Incarnation:  uint64(time.Now().UnixNano()),
		Capabilities: capabilities(),
		Features:     features,
		TestClock:    cfg.TestClock.String(),
	}, nil
}

// capabilities says, for every source, if this process can have it here.
func capabilities() []*synclinev1.Capability {
	reason, remedy := "", ""
	if err := packet.Available(); err != nil {
		reason = err.Error()
		remedy = "run the agent as root, or give it CAP_NET_RAW (setcap cap_net_raw+ep, or AmbientCapabilities= in its unit)"
	}
	var all []*synclinev1.Capability
	for _, s := range []synclinev1.Source{
		synclinev1.Source_SOURCE_SYSCALLS, synclinev1.Source_SOURCE_PACKETS, synclinev1.Source_SOURCE_TCP_STATES,
		synclinev1.Source_SOURCE_TCP_INFO, synclinev1.Source_SOURCE_COUNTERS, synclinev1.Source_SOURCE_ACCEPT_QUEUE,
		synclinev1.Source_SOURCE_ICMP, synclinev1.Source_SOURCE_ARP,
	} {
		c := &synclinev1.Capability{Source: s, Available: true}
		if heardOnTaps(s) && reason != "" {
			c.Available, c.Reason, c.Remedy = false, reason, remedy
		}
		all = append(all, c)
	}
	return append(append(all, tracedSources()...), probedSource())
}

// probedSource says whether clock probes can be had here, and how good their stamps are.
func probedSource() *synclinev1.Capability {
	c := &synclinev1.Capability{Source: synclinev1.Source_SOURCE_PROBES, Available: true}
	err, stamps := probe.Available()
	var unavailable *probe.Unavailable
	switch {
	case errors.As(err, &unavailable):
		c.Available, c.Reason, c.Remedy = false, unavailable.Reason.Error(), unavailable.Remedy
	case err != nil:
		c.Available, c.Reason, c.Remedy = false, err.Error(), "run the agent where it can open UDP sockets"
	case stamps != nil:
		c.Reason = "the kernel stamps no datagrams, so the agent does, which is less exact: " + stamps.Error()
		c.Remedy = "run the agent on a kernel with SO_TIMESTAMPING"
	}
	return c
}

func kernelRelease() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:]), nil
}

// hostAddresses are the host's global addresses, IPv4 first; the loopback's if it
// has no other.
func hostAddresses() ([]string, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list this host's addresses: %w", err)
	}
	var v4, v6, loopback []string
	for _, a := range all {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok || n.IP.IsLinkLocalUnicast():
		case n.IP.IsLoopback():
			loopback = append(loopback, n.IP.String())
		case n.IP.To4() != nil:
			v4 = append(v4, n.IP.String())
		default:
			v6 = append(v6, n.IP.String())
		}
	}
	if found := append(v4, v6...); len(found) > 0 {
		return found, nil
	}
	return loopback, nil
}
