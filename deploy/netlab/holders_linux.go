package netlab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// namespaceID names a namespace as links under /proc do: "net:[4026532281]".
type namespaceID string

func identify(ns *os.File) (namespaceID, error) {
	var s unix.Stat_t
	if err := unix.Fstat(int(ns.Fd()), &s); err != nil {
		return "", fmt.Errorf("netlab: fstat the namespace: %w", err)
	}
	return namespaceID(fmt.Sprintf("net:[%d]", s.Ino)), nil
}

// holders finds what holds a namespace: threads inside, descriptors of it, and
// sockets of this process made inside. Processes that this user may not look at, and
// those that end meanwhile, are left out.
func holders(id namespaceID) ([]Holder, error) {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("netlab: list processes: %w", err)
	}
	var found []Holder
	for _, path := range processes {
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			continue
		}
		if insideOf(path, id) {
			found = append(found, Holder{PID: pid, Command: command(path), Descriptor: -1})
		}
		for _, fd := range descriptors(path, pid == os.Getpid(), id) {
			found = append(found, Holder{PID: pid, Command: command(path), Descriptor: fd})
		}
	}
	return found, nil
}

func insideOf(process string, id namespaceID) bool {
	threads, _ := filepath.Glob(process + "/task/*/ns/net")
	for _, t := range threads {
		if target, err := os.Readlink(t); err == nil && namespaceID(target) == id {
			return true
		}
	}
	return false
}

func descriptors(process string, own bool, id namespaceID) []int {
	entries, err := os.ReadDir(process + "/fd")
	if err != nil {
		return nil
	}
	var found []int
	for _, e := range entries {
		target, err := os.Readlink(process + "/fd/" + e.Name())
		if err != nil {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if namespaceID(target) == id || own && strings.HasPrefix(target, "socket:") && socketIn(fd, id) {
			found = append(found, fd)
		}
	}
	return found
}

// socketIn reports whether a socket of this process was made in the namespace.
// SIOCGSKNS (Linux 4.10) opens the namespace of a socket.
func socketIn(socket int, id namespaceID) bool {
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCGSKNS, 0)
	if errno != 0 {
		return false
	}
	ns := os.NewFile(fd, "socket's namespace")
	defer ns.Close()
	of, err := identify(ns)
	return err == nil && of == id
}

func command(process string) string {
	name, err := os.ReadFile(process + "/comm")
	if err != nil {
		return "ended meanwhile"
	}
	return strings.TrimSpace(string(name))
}
