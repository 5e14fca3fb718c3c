package lane

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	synclinev1 "syncline/proto/syncline/v1"
)

func newLinks(t testing.TB) (a, b *link) {
	t.Helper()
	near, far, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	ends := make([]*link, 2)
	for i, f := range []*os.File{near, far} {
		if ends[i], err = newLink(f); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ends[i].close() })
	}
	return ends[0], ends[1]
}

// Frames arrive whole, in order, each with its own descriptors, whatever their sizes.
func TestFramesArrive(t *testing.T) {
	type sent struct {
		body  []byte
		files int
	}
	rapid.Check(t, func(rt *rapid.T) {
		a, b := newLinks(t)
		var all []sent
		for range rapid.IntRange(1, 6).Draw(rt, "frames") {
			all = append(all, sent{
				body:  bytes.Repeat([]byte{rapid.Byte().Draw(rt, "byte")}, rapid.SampledFrom([]int{0, 1, 7, 4096, 400_000}).Draw(rt, "size")),
				files: rapid.SampledFrom([]int{0, 0, 1, 3, MaxInherited}).Draw(rt, "descriptors"),
			})
		}
		done := make(chan error, 1)
		go func() {
			for i, s := range all {
				if err := a.send(frameKind(i), s.body, slices.Repeat([]int{0}, s.files)...); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		for i, s := range all {
			f, err := b.receive()
			if err != nil {
				rt.Fatal(err)
			}
			if f.kind != frameKind(i) || !bytes.Equal(f.body, s.body) || len(f.descriptors) != s.files {
				rt.Errorf("frame %d: kind %d, %d bytes, %d descriptors; want %d bytes, %d", i, f.kind, len(f.body), len(f.descriptors), len(s.body), s.files)
			}
			if err := closeDescriptors(f.descriptors); err != nil {
				rt.Error(err)
			}
		}
		if err := <-done; err != nil {
			rt.Fatal(err)
		}
	})
}

// What was written before the end is read after it; then there is the end.
func TestWhatADeadProcessSaidIsRead(t *testing.T) {
	a, b := newLinks(t)
	if err := b.send(frameCancel, []byte("unread")); err != nil {
		t.Fatal(err)
	}
	if err := a.send(framePost, []byte("last words")); err != nil {
		t.Fatal(err)
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	if f, err := b.receive(); err != nil || string(f.body) != "last words" {
		t.Errorf("%q, error %v", f.body, err)
	}
	if _, err := b.receive(); !errors.Is(err, io.EOF) {
		t.Errorf("error %v at the end", err)
	}
}

func TestInheritanceThatIsNotWhole(t *testing.T) {
	fd, err := unix.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	f := frame{body: []byte(`{"sockets":[{"name":"a"},{"name":"b"}]}`), descriptors: []int{fd}}
	if _, _, err := f.inherited(); err == nil {
		t.Error("two names with one socket are accepted")
	}
	if err := unix.Close(fd); !errors.Is(err, unix.EBADF) {
		t.Errorf("the socket was left open (close: %v)", err)
	}
}

// FuzzFrames gives a group whatever bytes a process could write.
func FuzzFrames(f *testing.F) {
	a, b := newLinks(f)
	for _, send := range []func() error{
		func() error { return a.sendValue(frameHello, hello{Thread: 7}) },
		func() error { return a.sendMessage(frameEvent, &synclinev1.Event{TimeNs: 1}) },
		func() error { return a.sendMessage(frameAsk, wait("x", "y")) },
		func() error { return a.send(frameAllow, []byte(v4)) },
	} {
		if err := send(); err != nil {
			f.Fatal(err)
		}
		buffer := make([]byte, 4096)
		n, err := b.conn.Read(buffer)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(buffer[:n])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, b := newLinks(t)
		board := NewBoard([]string{"x"})
		board.End("x", "")
		cfg := &Config{Board: board, Emit: func(*synclinev1.Event) {}, Made: func(Socket) {}}
		p := newProcess(&member{cfg: cfg, name: "x", cast: &cast{}}, &synclinev1.Lane{})
		p.link = b
		if len(raw) > 60_000 {
			return
		}
		if _, err := a.conn.Write(raw); err != nil {
			t.Fatal(err)
		}
		if err := a.close(); err != nil {
			t.Fatal(err)
		}
		err := p.hear(t.Context())
		for kind, heard := range map[frameKind]bool{frameEnded: p.ended, frameOver: p.over, frameTook: p.hasTaken, frameEvent: p.reported != 0} {
			if heard && !bytes.Contains(raw, []byte{byte(kind)}) {
				t.Errorf("message %d was heard and not said (error %v)", kind, err)
			}
		}
	})
}
