package setup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

var quiet = slog.New(slog.DiscardHandler)

// Setups are undone in any order, with others applied in between, some of which the
// kernel refuses in that state. In the end the host is as it was.
func TestAnyOrder(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			p := newPair(t)
			before := p.a.snapshot()
			random := rand.New(rand.NewPCG(seed, 0))
			var standing, log []string
			defer func() {
				if t.Failed() {
					t.Log(strings.Join(log, "\n"))
				}
			}()
			o := p.a.opened(t.TempDir())
			changes := everything()
			changes = append(changes,
				sysctl("net.ipv4.tcp_syncookies", "2"),
				routed(&synclinev1.RouteChange{Destination: "10.9.0.2/32", Kind: "unreachable"}),
				routed(&synclinev1.RouteChange{Destination: "10.9.0.2/32", Kind: "unicast", Mtu: 900}),
				linked("rate", &synclinev1.LinkChange{Rate: 2_000_000}),
				linked("mtu 1300", &synclinev1.LinkChange{Mtu: 1300}),
				sysctl("net.ipv4.conf.all.forwarding", "0"),
			)
			for i := range 25 {
				if len(standing) > 0 && random.IntN(2) == 0 {
					n := random.IntN(len(standing))
					name := standing[n]
					standing = append(standing[:n:n], standing[n+1:]...)
					log = append(log, "undo "+name)
					p.a.undo(o, name)
					continue
				}
				c := changes[random.IntN(len(changes))]
				name := fmt.Sprintf("%d %s", i, c.GetText())
				err := p.a.try(func() error {
					return o.Apply(context.Background(), p.target(), &synclinev1.Setup{Name: name, Changes: []*synclinev1.Change{c}}, nil)
				})
				log = append(log, fmt.Sprintf("apply %s: %v", name, err))
				if err == nil && (c.GetNeighbour() == nil || c.GetNeighbour().GetNowhere()) {
					standing = append(standing, name)
				}
			}
			for len(standing) > 0 {
				n := random.IntN(len(standing))
				log = append(log, "undo "+standing[n])
				p.a.undo(o, standing[n])
				standing = append(standing[:n:n], standing[n+1:]...)
			}
			unchanged(t, before, p.a.snapshot())
			journalEmpty(t, o)
		})
	}
}

// The child is killed at any point of applying and undoing.
func TestKilledAtAnyPoint(t *testing.T) {
	p := newPair(t)
	before := p.a.snapshot()
	steps := 2 * (len(everything()) - 1)
	for i := range 8 {
		dir := filepath.Join(t.TempDir(), "journal")
		child := exec.Command("/proc/self/exe")
		child.Env = append(os.Environ(), childEnv+"="+dir, childLoops+"=1")
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		p.a.do(child.Start)
		read := bufio.NewReader(out)
		for range rand.IntN(steps) + i*steps/8 {
			line, err := read.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, "made") && !strings.HasPrefix(line, "undone") {
				t.Fatalf("the child says %q, %v", line, err)
			}
		}
		if err := child.Process.Signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, read)
		_ = child.Wait()
		var o *Host
		p.a.do(func() (err error) { o, err = Open(dir, quiet); return err })
		unchanged(t, before, p.a.snapshot())
		journalEmpty(t, o)
		p.a.do(o.Close)
	}
}

func TestNamedSetups(t *testing.T) {
	p := newPair(t)
	o := p.a.opened(t.TempDir())
	ctx := context.Background()
	cut := &synclinev1.Setup{Name: "cut", Changes: []*synclinev1.Change{sysctl("net.ipv4.tcp_syncookies", "0")}}
	p.a.do(func() error {
		if err := o.Undo(ctx, "cut", nil); !errors.Is(err, ErrNotApplied) {
			t.Errorf("undo before apply: %v", err)
		}
		if err := o.Undo(ctx, "", nil); err != nil {
			t.Errorf("undo of no unnamed setup: %v", err)
		}
		if err := o.Apply(ctx, p.target(), cut, nil); err != nil {
			return err
		}
		if err := o.Apply(ctx, p.target(), cut, nil); !errors.Is(err, ErrApplied) {
			t.Errorf("apply twice: %v", err)
		}
		if err := o.Close(); err != nil {
			return err
		}
		for _, err := range []error{o.Apply(ctx, p.target(), cut, nil), o.Undo(ctx, "cut", nil), o.UndoAll(ctx, nil)} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		}
		return o.Close()
	})
}

// Without the capability nothing is changed, and the error says how to get it.
func TestWithoutPrivilege(t *testing.T) {
	p := newPair(t)
	o := p.a.opened(t.TempDir())
	before := p.a.snapshot()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var had [2]unix.CapUserData
	// Capabilities are the thread's own.
	p.a.do(func() error { return unix.Capget(&header, &had[0]) })
	for _, c := range everything()[4:] {
		if c.GetSysctl() != nil || c.GetText() == neighboured("", false).GetText() {
			// To write a sysctl it is enough to be root; to forget no neighbour, nothing.
			continue
		}
		err := p.a.try(func() error {
			less := had
			less[0].Effective &^= 1 << unix.CAP_NET_ADMIN
			if err := unix.Capset(&header, &less[0]); err != nil {
				return err
			}
			err := o.Apply(context.Background(), p.target(), &synclinev1.Setup{Changes: []*synclinev1.Change{c}}, nil)
			return errors.Join(err, unix.Capset(&header, &had[0]))
		})
		if err == nil || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
			t.Errorf("%s: %v", c.GetText(), err)
		}
		journalEmpty(t, o)
	}
	unchanged(t, before, p.a.snapshot())
}

func TestCancelledApply(t *testing.T) {
	p := newPair(t)
	o := p.a.opened(t.TempDir())
	before := p.a.snapshot()
	ctx, cancel := context.WithCancel(context.Background())
	made := 0
	err := p.a.try(func() error {
		return o.Apply(ctx, p.target(), &synclinev1.Setup{Changes: everything()}, func(c *synclinev1.ChangeMade) {
			if made++; made == 5 {
				cancel()
			}
		})
	})
	if !errors.Is(err, context.Canceled) || made != 10 {
		t.Errorf("%v after %d reports, want 5 made and 5 undone", err, made)
	}
	unchanged(t, before, p.a.snapshot())
}

// Without its journal no change is made, and one that was made can still be undone.
func TestJournalThatCannotBeWritten(t *testing.T) {
	p := newPair(t)
	dir := t.TempDir()
	o := p.a.opened(dir)
	before := p.a.snapshot()
	p.a.apply(o, p.target(), "first", sysctl("net.ipv4.tcp_syncookies", "0"))
	during := p.a.snapshot()
	if err := o.file.f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err := p.a.try(func() error {
			return o.Apply(context.Background(), p.target(), &synclinev1.Setup{Changes: everything()}, nil)
		})
		if err == nil || !strings.Contains(err.Error(), "no change is made without it") && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Apply: %v", err)
		}
		unchanged(t, during, p.a.snapshot())
	}
	// The journal comes back, and is written anew.
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	p.a.apply(o, p.target(), "second", sysctl("net.ipv4.tcp_sack", "0"))
	text, err := os.ReadFile(o.file.name())
	if err != nil {
		t.Fatal(err)
	}
	_, rest, err := parsePlace(text)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := parseRecords(rest); err != nil || len(l.entries) != 2 {
		t.Errorf("the journal holds %v, %v", l, err)
	}
	p.a.undo(o, "first")
	p.a.undo(o, "second")
	unchanged(t, before, p.a.snapshot())
}

// A journal to which repetitions add is written anew before it grows large.
func TestJournalStaysSmall(t *testing.T) {
	here := place{Version: journalVersion, Boot: "b"}
	f, _, err := openFile(t.TempDir(), here)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	l := &ledger{}
	stays := &entry{ID: 1, Text: "stays", Saved: []saved{value("x", "0")}}
	l.add(stays)
	if err := f.write(record{Made: stays}, l); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("0", 100<<10)
	for id := uint64(2); id < 40; id++ {
		e := &entry{ID: id, Saved: []saved{value("y", big)}}
		l.add(e)
		if err := f.write(record{Made: e}, l); err != nil {
			t.Fatal(err)
		}
		_, pass := l.undoing(e)
		l.undone(e, pass)
		if err := f.write(record{Undone: id}, l); err != nil {
			t.Fatal(err)
		}
		if f.size > rewriteAt+int64(len(big))+1000 {
			t.Fatalf("the journal has %d bytes", f.size)
		}
	}
	text, err := os.ReadFile(f.name())
	if err != nil || int64(len(text)) != f.size {
		t.Fatalf("%d bytes, %v; want %d", len(text), err, f.size)
	}
	_, rest, err := parsePlace(text)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := parseRecords(rest); err != nil || len(l.entries) != 1 {
		t.Errorf("the journal holds %v, %v", l, err)
	}
}

// What was changed in a namespace or a boot that is no more is not undone in another.
func TestJournalOfAnotherPlace(t *testing.T) {
	p := newPair(t)
	dir := t.TempDir()
	text := lines(t, record{Place: aPlace}, change(1, value("net.ipv4.tcp_syncookies", "0"))) + "rubbish that nobody reads\n"
	if err := os.WriteFile(filepath.Join(dir, "journal"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	before := p.a.snapshot()
	o := p.a.opened(dir)
	unchanged(t, before, p.a.snapshot())
	journalEmpty(t, o)
	if got := o.Recovered(); len(got) != 0 {
		t.Errorf("recovered %q", got)
	}

	var mine, other place
	p.a.do(func() (err error) { mine, err = here(); return err })
	p.b.do(func() (err error) { other, err = here(); return err })
	if mine.same(other) || !mine.same(mine) || mine.Boot != other.Boot {
		t.Errorf("%+v and %+v", mine, other)
	}
	reused := mine
	reused.Cookie++
	if mine.same(reused) {
		t.Error("a namespace with an inode that was used before is taken for the earlier one")
	}
}

// A journal that cannot be understood, or undone, is kept.
func TestJournalIsKeptAfterAnError(t *testing.T) {
	p := newPair(t)
	var mine place
	p.a.do(func() (err error) { mine, err = here(); return err })
	for _, row := range []struct {
		name, rest, want string
	}{
		{"damaged", "rubbish\n", "remove the file"},
		{"not to be undone", lines(t,
			change(1, value("net.ipv4.tcp_sack", "1")),
			change(2, value("net.ipv4.tcp_syncookies", "red"))), "net.ipv4.tcp_syncookies"},
	} {
		dir := t.TempDir()
		name := filepath.Join(dir, "journal")
		if err := os.WriteFile(name, []byte(lines(t, record{Place: &mine})+row.rest), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			err := p.a.try(func() error { _, err := Open(dir, quiet); return err })
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%s: %v, want %q", row.name, err, row.want)
			}
		}
		if text, err := os.ReadFile(name); err != nil || len(text) == 0 {
			t.Errorf("%s: the journal is %q, %v", row.name, text, err)
		}
	}
}
