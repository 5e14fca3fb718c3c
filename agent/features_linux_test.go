package agent

import (
	"os"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// What an agent says of its host is true of it: each feature is held against the system
// call that an experiment would make.
func TestFeatures(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("drops capabilities: run the tests as root")
	}
	all := features([]string{"10.0.0.1", "fd00::1"})
	for _, name := range []string{"root", "raw sockets", "nftables", "ipv6"} {
		if f := named(all, name); !f.GetAvailable() {
			t.Errorf("root has no %s: %v", name, f)
		}
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
	if err == nil {
		unix.Close(fd)
		if f := named(all, "mptcp"); !f.GetAvailable() {
			t.Errorf("a socket of MPTCP can be made, and: %v", f)
		}
	}
	// The thread has no capability any more: it ends with the goroutine.
	without := make(chan []*synclinev1.Feature)
	go func() {
		defer close(without)
		runtime.LockOSThread()
		header, none := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
		if err := unix.Capset(&header, &none[0]); err != nil {
			t.Errorf("capset: %v", err)
			return
		}
		without <- features([]string{"10.0.0.1", "::ffff:10.0.0.1"})
	}()
	lacking := <-without
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

func named(all []*synclinev1.Feature, name string) *synclinev1.Feature {
	i := slices.IndexFunc(all, func(f *synclinev1.Feature) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return all[i]
}
