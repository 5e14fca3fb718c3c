package environment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// asReader makes the test binary print what it can read, as whoever it was started by.
const asReader = "SYNCLINE_TEST_READS_ENVIRONMENT"

func TestMain(m *testing.M) {
	if os.Getenv(asReader) != "" {
		if err := json.NewEncoder(os.Stdout).Encode(Read(Config{Version: "test", Interfaces: []string{"lo"}})); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func value(t *testing.T, env *synclinev1.Environment, section, name string) string {
	t.Helper()
	for _, s := range env.Sections {
		for _, x := range s.Settings {
			if s.Name == section && x.Name == name {
				if x.Failure != "" {
					t.Errorf("%s, %s: %s", section, name, x.Failure)
				}
				return x.Value
			}
		}
	}
	t.Errorf("no %s in section %q", name, section)
	return ""
}

// checkWhole fails unless every setting has a value or says why it has none, and is
// told once.
func checkWhole(t *testing.T, env *synclinev1.Environment) (failures int) {
	t.Helper()
	seen := map[string]bool{}
	for _, s := range env.Sections {
		if len(s.Settings) == 0 {
			t.Errorf("section %q is empty", s.Name)
		}
		for _, x := range s.Settings {
			if (x.Value == "") == (x.Failure == "") {
				t.Errorf("%s, %s: value %q and failure %q", s.Name, x.Name, x.Value, x.Failure)
			}
			if x.Failure != "" {
				failures++
			}
			key := s.Name + ": " + x.Name
			if seen[key] {
				t.Errorf("%s is told twice", key)
			}
			seen[key] = true
			for _, secret := range secretSysctls {
				if strings.HasSuffix(x.Name, secret) {
					t.Errorf("%s, which is secret, is told", x.Name)
				}
			}
		}
	}
	for _, section := range []string{sectionVersions, sectionKernel, sectionClock, sectionCPU, sectionMemory, sectionVirtualization, sectionProcess, sectionLoad, sectionSysctl} {
		if !slices.ContainsFunc(env.Sections, func(s *synclinev1.Environment_Section) bool { return s.Name == section }) {
			t.Errorf("no section %q", section)
		}
	}
	return failures
}

func TestReadHost(t *testing.T) {
	before := descriptors(t)
	env := Read(Config{Version: "1.2.3", Interfaces: []string{"lo", "none-such"}})
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, %d were", after, before)
	}
	// Only the interface that is not there may fail for root.
	if n := checkWhole(t, env); os.Geteuid() == 0 && n != 1 {
		t.Errorf("%d settings cannot be read, want 1: %v", n, Diagnose(env)[len(Diagnose(env))-1].Said)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ section, name, want string }{
		{"versions", "syncline", "1.2.3"},
		{"kernel", "release", unix.ByteSliceToString(u.Release[:])},
		{"process", "user id", fmt.Sprint(os.Geteuid())},
		{"interface lo", "qdisc", "noqueue root"},
	} {
		if got := value(t, env, c.section, c.name); got != c.want {
			t.Errorf("%s, %s: %q, want %q", c.section, c.name, got, c.want)
		}
	}
	if source, all := value(t, env, "clock", "source"), value(t, env, "clock", "sources available"); !slices.Contains(strings.Fields(all), source) {
		t.Errorf("the clock source %q is none of %q", source, all)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// inNamespace runs f on a thread in a network namespace of its own, which goes with the
// thread.
func inNamespace(t *testing.T, f func() error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs a network namespace: run the tests as root")
	}
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("unshare(CLONE_NEWNET): %w", err)
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// What is read of the network is that of the calling thread's namespace, as it was
// changed there.
func TestReadNamespace(t *testing.T) {
	var env *synclinev1.Environment
	inNamespace(t, func() error {
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "env0", MTU: 1234, TxQLen: 77, NumTxQueues: 2, NumRxQueues: 3}, PeerName: "env1"}
		if err := netlink.LinkAdd(pair); err != nil {
			return fmt.Errorf("add a veth pair: %w", err)
		}
		link, err := netlink.LinkByName("env0")
		if err != nil {
			return err
		}
		peer, err := netlink.LinkByName("env1")
		if err != nil {
			return err
		}
		address, err := netlink.ParseAddr("10.9.9.1/24")
		if err != nil {
			return err
		}
		tbf := &netlink.Tbf{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
			Rate:       1 << 20, Limit: 1 << 16, Buffer: 1 << 16,
		}
		return errors.Join(
			netlink.LinkSetUp(link), netlink.LinkSetUp(peer), netlink.AddrAdd(link, address), netlink.QdiscAdd(tbf),
			os.WriteFile("/proc/sys/net/ipv4/tcp_fin_timeout", []byte("17"), 0),
			os.WriteFile("/proc/sys/net/ipv4/conf/env0/rp_filter", []byte("2"), 0),
			func() error {
				env = OfRun(&synclinev1.Prepare{Host: "A", Hosts: []*synclinev1.HostAddress{
					{Host: "A", Address: "10.9.9.1"}, {Host: "B", Address: "10.9.9.2"},
				}}, Config{Version: "test", TestClock: "offset=1s"})
				return nil
			}(),
		)
	})
	checkWhole(t, env)
	for _, c := range []struct{ section, name, want string }{
		{"clock", "test clock", "offset=1s"},
		{"sysctl", "net.ipv4.tcp_fin_timeout", "17"},
		{"interface env0", "kind", "veth"},
		{"interface env0", "MTU", "1234"},
		{"interface env0", "queue length", "77"},
		{"interface env0", "queues", "2 to send, 3 to receive"},
		{"interface env0", "qdisc", "tbf root"},
		{"interface env0", "XDP", "none"},
		{"interface env0", "offload tx-tcp-segmentation", "on"},
		{"interface env0", "sysctl ipv4.conf.rp_filter", "2"},
	} {
		if got := value(t, env, c.section, c.name); got != c.want {
			t.Errorf("%s, %s: %q, want %q", c.section, c.name, got, c.want)
		}
	}
	if driver := value(t, env, "interface env0", "driver"); !strings.HasPrefix(driver, "veth") {
		t.Errorf("driver %q", driver)
	}
	for _, s := range env.Sections {
		if strings.HasPrefix(s.Name, sectionInterface) && s.Name != "interface env0" {
			t.Errorf("%s is not on the run's path", s.Name)
		}
	}
}

// A run whose addresses make no sense here still has an environment, which says why it
// has no interfaces.
func TestReadWithoutAPath(t *testing.T) {
	for what, plan := range map[string]*synclinev1.Prepare{
		"the plan names no address for host A": {Host: "A"},
		"address of host A":                    {Host: "A", Hosts: []*synclinev1.HostAddress{{Host: "A", Address: "nowhere"}}},
		"is no address of this host":           {Host: "A", Hosts: []*synclinev1.HostAddress{{Host: "A", Address: "198.51.100.7"}}},
	} {
		env := OfRun(plan, Config{Version: "test"})
		i := slices.IndexFunc(env.Sections, func(s *synclinev1.Environment_Section) bool { return s.Name == "interfaces" })
		if i < 0 || !strings.Contains(env.Sections[i].Settings[0].Failure, what) {
			t.Errorf("want %q in %v", what, env.Sections[max(i, 0)])
		}
	}
	many := slices.Repeat([]string{"lo"}, MaxInterfaces+2)
	env := Read(Config{Interfaces: many})
	i := slices.IndexFunc(env.Sections, func(s *synclinev1.Environment_Section) bool { return s.Name == "interfaces" })
	if i < 0 || !strings.HasPrefix(env.Sections[i].Settings[0].Failure, "2 interfaces are not described") {
		t.Errorf("of %d interfaces nothing is said of the last two", len(many))
	}
}

// An ordinary user reads less, and is told what and why.
func TestReadAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("starts a process as another user: run the tests as root")
	}
	program := readableCopy(t)
	cmd := exec.Command(program)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), asReader+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	env := &synclinev1.Environment{}
	if err := json.Unmarshal(out, env); err != nil {
		t.Fatal(err)
	}
	checkWhole(t, env)
	if got := value(t, env, "process", "capabilities"); got != "none" {
		t.Errorf("capabilities %q, want none", got)
	}
	refused := 0
	for _, s := range env.Sections {
		for _, x := range s.Settings {
			if x.Failure != "" && !strings.Contains(x.Failure, "permission denied") {
				t.Errorf("%s, %s: %s", s.Name, x.Name, x.Failure)
			}
			if strings.Contains(x.Failure, "permission denied") {
				refused++
			}
		}
	}
	if refused == 0 {
		t.Error("nothing was refused to an ordinary user")
	}
	if !slices.ContainsFunc(Diagnose(env), func(f Finding) bool { return f.Name == "setup" && f.Grade == Lacking }) {
		t.Errorf("setup is not lacking: %v", Diagnose(env))
	}
}

// readableCopy is this program where any user can execute it.
func readableCopy(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "environment")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	name := filepath.Join(dir, "reader")
	to, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

// FuzzNapi: an answer of generic netlink is read or refused.
func FuzzNapi(f *testing.F) {
	f.Add([]byte{netdevNapiGet, 1, 0, 0, 8, 0, napiDeferHardIrqs, 0, 2, 0, 0, 0, 12, 0, napiGroFlushTimeout, 0, 0xa0, 0x86, 1, 0, 0, 0, 0, 0})
	f.Add([]byte{netdevNapiGet, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if text, err := napi(b); err == nil && !strings.HasPrefix(text, "after ") {
			t.Errorf("%x is %q", b, text)
		}
	})
}

func TestNapi(t *testing.T) {
	got, err := napi([]byte{netdevNapiGet, 1, 0, 0, 8, 0, napiDeferHardIrqs, 0, 2, 0, 0, 0, 8, 0, napiGroFlushTimeout, 0, 0xa0, 0x86, 1, 0})
	if err != nil || got != "after 100µs, 2 polls before interrupts" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := napi([]byte{1, 2}); err == nil {
		t.Error("two bytes are an answer")
	}
}
