package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

const procSys = "/proc/sys/"

// maxSysctl bounds a value; the kernel itself takes at most a page.
const maxSysctl = 4096

// sysctlPath is the file of a name below net. A slash in a name stands for a dot of
// an interface's name, as sysctl(8) has it: net.ipv4.conf.eth0/100.rp_filter.
func sysctlPath(name string) (string, error) {
	parts := strings.Split(name, ".")
	if len(parts) < 2 || parts[0] != "net" {
		return "", fmt.Errorf("sysctl %q: only those below net. belong to a network namespace, others would change the whole machine", name)
	}
	for i, part := range parts {
		part = strings.ReplaceAll(part, "/", ".")
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "\x00\n") {
			return "", fmt.Errorf("sysctl %q is no name such as net.ipv4.tcp_syncookies", name)
		}
		parts[i] = part
	}
	return procSys + strings.Join(parts, "/"), nil
}

// sysctlName is the opposite of sysctlPath.
func sysctlName(path string) string {
	parts := strings.Split(strings.TrimPrefix(path, procSys), "/")
	for i := range parts {
		parts[i] = strings.ReplaceAll(parts[i], ".", "/")
	}
	return strings.Join(parts, ".")
}

// readSysctl is the value as the kernel writes it, tabs included, without the end of
// the line.
func readSysctl(name string) (string, error) {
	path, err := sysctlPath(name)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read sysctl %s: %w", name, err)
	}
	return strings.TrimSuffix(string(text), "\n"), nil
}

func writeSysctl(name, value string) (err error) {
	path, err := sysctlPath(name)
	if err != nil {
		return err
	}
	// Opened without O_CREATE: a missing one is ENOENT.
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(value + "\n")
		err = errors.Join(err, f.Close())
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("write %q to sysctl %s: %w: this needs root, and a sysctl that a network namespace has of its own; one of the whole machine can only be written outside of network namespaces", value, name, err)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("write %q to sysctl %s: %w: /proc/sys is mounted read-only here (ProtectKernelTunables= of the unit, or a container)", value, name, err)
	}
	return fmt.Errorf("write %q to sysctl %s: %w", value, name, err)
}

func (h *Host) prepareSysctl(c *synclinev1.SysctlChange) (plan, error) {
	if len(c.GetValue()) > maxSysctl || strings.ContainsAny(c.GetValue(), "\x00\n") {
		return plan{}, fmt.Errorf("the value of sysctl %s is to be one line of at most %d bytes", c.GetName(), maxSysctl)
	}
	path, err := sysctlPath(c.GetName())
	if err != nil {
		return plan{}, err
	}
	name := sysctlName(path)
	old, err := readSysctl(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && c.GetIfPresent():
		return plan{}, nil
	case errors.Is(err, fs.ErrNotExist):
		return plan{}, fmt.Errorf("this kernel has no sysctl %s here (one of the whole machine is not seen in a network namespace): %w", name, ErrUnsupported)
	case err != nil:
		return plan{}, fmt.Errorf("what cannot be read could not be put back: %w", err)
	}
	kept := []saved{{key: key{Kind: kindSysctl, Name: name}, Old: []string{old}}}
	beside, err := besideSysctl(name)
	if err != nil {
		return plan{}, err
	}
	for _, s := range beside {
		if s.key != kept[0].key {
			kept = append(kept, s)
		}
	}
	holds := strings.HasPrefix(name, "net.ipv6.conf.") && strings.HasSuffix(name, ".disable_ipv6")
	return plan{saved: kept, holds: holds, make: func() error { return writeSysctl(name, c.GetValue()) }}, nil
}

// besideSysctl saves what the kernel changes with some sysctls: forwarding and conf.all
// write to all interfaces (ip-sysctl.rst), and settings of IPv6 may drop an interface's
// addresses and with them its routes.
func besideSysctl(name string) ([]saved, error) {
	v4 := name == "net.ipv4.ip_forward" || strings.HasPrefix(name, "net.ipv4.conf.all.") ||
		strings.HasPrefix(name, "net.ipv4.conf.") && strings.HasSuffix(name, ".forwarding")
	v6 := strings.HasPrefix(name, "net.ipv6.conf.")
	var all []saved
	if v4 {
		all = append(all, watchSysctls(procSys+"net/ipv4/conf")...)
		all = append(all, watchSysctls(procSys+"net/ipv4/ip_forward")...)
	}
	if v6 {
		all = append(all, watchSysctls(procSys+"net/ipv6/conf")...)
		links, err := watchLinks(0)
		if err != nil {
			return nil, err
		}
		all = append(all, links...)
	}
	return all, nil
}

// watchSysctls saves all values below a directory of /proc/sys. Those that cannot be
// read or written are not what a write to another changes.
func watchSysctls(root string) []saved {
	var all []saved
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		info, err := d.Info()
		if err != nil || info.Mode().Perm()&0o200 == 0 {
			return nil
		}
		name := sysctlName(path)
		if strings.HasPrefix(name, "net.ipv6.conf.") && strings.HasSuffix(name, ".mtu") {
			// It follows the interface's; see mtuOfIPv6.
			return nil
		}
		if old, err := readSysctl(name); err == nil {
			all = append(all, saved{key: key{Kind: kindSysctl, Name: name}, Old: []string{old}, Watched: true})
		}
		return nil
	})
	return all
}

// restoreSysctl puts a value back. A sysctl that is gone went with its interface or
// its module, and its value with it.
func (h *Host) restoreSysctl(b putBack) error {
	if len(b.Old) != 1 {
		return fmt.Errorf("sysctl %s: %d values were saved: %w", b.Name, len(b.Old), errDamaged)
	}
	now, err := readSysctl(b.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		h.log.Info("a sysctl that was changed is gone, nothing is to be put back", "sysctl", b.Name)
		return nil
	case err != nil:
		return err
	case now == b.Old[0]:
		return nil
	}
	return writeSysctl(b.Name, b.Old[0])
}
