package setup

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// here says in which boot and network namespace the calling thread is.
func here() (place, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return place{}, fmt.Errorf("read this boot's id: %w", err)
	}
	var ns unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &ns); err != nil {
		return place{}, fmt.Errorf("stat /proc/thread-self/ns/net, to know this network namespace: %w", err)
	}
	cookie, err := netnsCookie()
	if err != nil {
		return place{}, err
	}
	return place{Version: journalVersion, Boot: strings.TrimSpace(string(boot)), Netns: ns.Ino, Cookie: cookie}, nil
}

// netnsCookie is 0 for a kernel that has none, before Linux 5.14.
func netnsCookie() (cookie uint64, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket(AF_INET, SOCK_DGRAM), to know this network namespace: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return 0, fmt.Errorf("getsockopt(SO_NETNS_COOKIE): %w", err)
	}
	return cookie, nil
}

// same reports whether what was changed at p can still be there.
func (p place) same(q place) bool {
	if p.Boot != q.Boot || p.Netns != q.Netns {
		return false
	}
	return p.Cookie == q.Cookie
}
