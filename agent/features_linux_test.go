package agent

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// What an agent says of its host is true of it: each feature is held against the system
// call that an experiment would make, whatever this kernel has.
func TestFeatures(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("drops capabilities: run the tests as root")
	}
	all := saidOf(t, "10.0.0.1", "fd00::1")
	// The thread has no capability any more: it ends with the goroutine.
	without := make(chan []*synclinev1.Feature, 1)
	go func() {
		defer close(without)
		runtime.LockOSThread()
		header, none := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
		if err := unix.Capset(&header, &none[0]); err != nil {
			t.Errorf("capset: %v", err)
			return
		}
		lacking := saidOf(t, "10.0.0.1", "::ffff:10.0.0.1")
		for name, err := range trials() {
			holdAgainst(t, "without capabilities", lacking, name, err)
		}
		without <- lacking
	}()
	lacking := <-without
	for name, err := range trials() {
		holdAgainst(t, "as root", all, name, err)
	}
	if f := named(all, "ipv6"); !f.GetAvailable() {
		t.Errorf("of fd00::1: %v", f)
	}
	for _, name := range []string{"root", "raw sockets", "nftables", "ipv6"} {
		f := named(lacking, name)
		if f == nil || f.Available || f.Reason == "" || f.Remedy == "" {
			t.Errorf("without capabilities, %s: %v", name, f)
		}
	}
	for _, name := range []string{"mptcp", "tcp-md5"} {
		if a, b := named(all, name), named(lacking, name); a.GetAvailable() != b.GetAvailable() {
			t.Errorf("%s takes a capability: %v, without it %v", name, a, b)
		}
	}
}

// trials are the calls that experiments make, by the feature that they take, and what the
// calling thread gets for them.
func trials() map[string]error {
	socket := func(family, kind, protocol int) error {
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	mptcp := socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
	if errors.Is(mptcp, unix.ENOPROTOOPT) {
		// The kernel has it, and net.mptcp.enabled is 0.
		mptcp = nil
	}
	key := &unix.TCPMD5Sig{Keylen: 1, Key: [80]uint8{'x'}}
	key.Addr.Family = unix.AF_INET
	*(*[4]byte)(unsafe.Pointer(&key.Addr.Data[2])) = [4]byte{127, 0, 0, 1}
	fd, md5 := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if md5 == nil {
		md5 = unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, key)
		unix.Close(fd)
	}
	return map[string]error{"raw sockets": socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP), "mptcp": mptcp, "tcp-md5": md5}
}

func saidOf(t *testing.T, addresses ...string) []*synclinev1.Feature {
	all, err := features(addresses, nil)
	if err != nil {
		t.Error(err)
	}
	return all
}

func holdAgainst(t *testing.T, who string, all []*synclinev1.Feature, name string, err error) {
	f := named(all, name)
	if f == nil || f.Available != (err == nil) || err != nil && (f.Reason == "" || f.Remedy == "") {
		t.Errorf("%s the call that takes %s: %v, and told is %v", who, name, err, f)
	}
}

// What could not be found out is no absence: it is left out, and the error says why.
func TestUnknownFeature(t *testing.T) {
	all, err := features(nil, os.NewSyscallError("netlinkrib", unix.EMFILE))
	if f := named(all, "ipv6"); f != nil || !errors.Is(err, unix.EMFILE) {
		t.Errorf("where no address could be listed: %v, %v", f, err)
	}
	if f := named(all, "root"); f == nil {
		t.Error("the others are left out too")
	}
	for errno, absent := range map[unix.Errno]bool{
		unix.ENOPROTOOPT: true, unix.EOPNOTSUPP: true, unix.EPROTONOSUPPORT: true, unix.EAFNOSUPPORT: true, unix.EINVAL: true,
		unix.ENOENT: true, unix.EPERM: true, unix.EACCES: true,
		unix.EMFILE: false, unix.ENFILE: false, unix.ENOMEM: false, unix.ENOBUFS: false, unix.EINTR: false, unix.EIO: false,
	} {
		if err := fmt.Errorf("try it: %w", os.NewSyscallError("socket", errno)); isAbsence(err) != absent {
			t.Errorf("%v: absent %t, want %t", err, !absent, absent)
		}
	}
}

func named(all []*synclinev1.Feature, name string) *synclinev1.Feature {
	i := slices.IndexFunc(all, func(f *synclinev1.Feature) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return all[i]
}
