package setup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// Check looks whether this host is as a run requires. What is not is ErrUnmet, with
// what was found instead. It changes nothing and needs no privilege.
func Check(r *synclinev1.Requirement) error {
	var err error
	switch what := r.GetWhat().(type) {
	case *synclinev1.Requirement_PortFree:
		err = checkPort(what.PortFree)
	case *synclinev1.Requirement_Kernel:
		err = checkKernel(what.Kernel)
	case *synclinev1.Requirement_Sysctl:
		err = checkSysctl(what.Sysctl)
	case *synclinev1.Requirement_Socket:
		err = checkSocket(what.Socket)
	default:
		err = errors.New("this agent does not know the requirement: it is older than the controller")
	}
	if err != nil {
		return fmt.Errorf("require %s: %w", r.GetText(), err)
	}
	return nil
}

// tcpListen is TCP_LISTEN as /proc/net/tcp has it.
const tcpListen = "0A"

// checkPort reads the tables of the thread's network namespace.
func checkPort(p *synclinev1.PortFree) error {
	tables := map[uint32][]string{unix.IPPROTO_TCP: {"tcp", "tcp6"}, unix.IPPROTO_UDP: {"udp", "udp6"}}[p.GetProtocol()]
	if tables == nil {
		return fmt.Errorf("protocol %d has no ports that are known here: 6 (tcp) or 17 (udp)", p.GetProtocol())
	}
	for _, table := range tables {
		taken, err := listens(table, p.GetPort())
		if err != nil {
			return err
		}
		if taken {
			return fmt.Errorf("%w: something listens on %s port %d: `ss -lnp` shows what, stop it or take another port", ErrUnmet, tables[0], p.GetPort())
		}
	}
	return nil
}

// listens looks for a listener, of UDP for any socket, on a port.
func listens(table string, port uint32) (found bool, err error) {
	f, err := os.Open("/proc/thread-self/net/" + table)
	if errors.Is(err, fs.ErrNotExist) {
		// No IPv6 here.
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the table of %s sockets: %w", table, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewScanner(f)
	lines.Scan()
	for lines.Scan() {
		columns := strings.Fields(lines.Text())
		if len(columns) < 4 {
			return false, fmt.Errorf("read the table of %s sockets: a line of %d columns", table, len(columns))
		}
		_, text, _ := strings.Cut(columns[1], ":")
		local, err := strconv.ParseUint(text, 16, 16)
		if err != nil {
			return false, fmt.Errorf("read the table of %s sockets: %w", table, err)
		}
		if uint32(local) == port && (strings.HasPrefix(table, "udp") || columns[3] == tcpListen) {
			return true, nil
		}
	}
	return false, lines.Err()
}

func checkKernel(k *synclinev1.KernelRange) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	within, err := kernelWithin(release, k.GetComparison(), k.GetRelease())
	if err == nil && !within {
		err = fmt.Errorf("%w: this kernel is %s", ErrUnmet, release)
	}
	return err
}

func checkSysctl(s *synclinev1.SysctlIs) error {
	path, err := sysctlPath(s.GetName())
	if err != nil {
		return err
	}
	_, err = os.Stat(path)
	var value string
	if err == nil && s.GetValue() != "" {
		value, err = readSysctl(sysctlName(path))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: this kernel has no sysctl %s here", ErrUnmet, s.GetName())
	case err != nil:
		return err
	case s.GetValue() != "" && !slices.Equal(strings.Fields(value), strings.Fields(s.GetValue())):
		return fmt.Errorf("%w: sysctl %s is %q", ErrUnmet, s.GetName(), value)
	}
	return nil
}

func checkSocket(s *synclinev1.SocketKind) error {
	fd, err := unix.Socket(int(s.GetDomain()), int(s.GetType())|unix.SOCK_CLOEXEC, int(s.GetProtocol()))
	if err != nil {
		return fmt.Errorf("%w: socket(%d, %d, %d): %w", ErrUnmet, s.GetDomain(), s.GetType(), s.GetProtocol(), err)
	}
	return unix.Close(fd)
}
