package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"syncline/controller"
	synclinev1 "syncline/proto/syncline/v1"
)

// chunkPattern are the files of chunks in a controller's directory.
const chunkPattern = "runs/*/*.chunks"

// chunkHeader is more than the header of a chunk file takes. Nobody needs the header to read chunks, so
// that damage in it is found by the scrubber alone, which rests for a minute.
const chunkHeader = 120

// damage changes a file of a node that is down, and starts it. A node that does not start with it
// says so and is replaced, as an operator would. Chunks must be whole again, on this very node.
func (i *injury) damage(n *chaosNode, pattern string, how func(name string, pick uint64) error) error {
	_, err := n.hold(syscall.SIGKILL)
	defer n.release()
	if err != nil {
		return err
	}
	d, err := i.spoilFile(n, pattern, how)
	if err != nil {
		return err
	}
	ends := n.ending()
	i.heal = func() (string, error) {
		refused := false
		_, err := i.lab.until(backLimit, func() error {
			// Three starts that fail one after another: an operator looks after it.
			if refused = n.ending()-ends >= 3; refused {
				return nil
			}
			_, err := i.lab.report(n)
			return err
		})
		if refused {
			return d.proof + ", and it refused to start", i.replaceNow(n)
		}
		if err == nil && pattern == chunkPattern {
			err = d.repaired()
		}
		return d.proof, err
	}
	return nil
}

// rot changes a byte of a chunk file while its node runs. It looks at once whether that is made good: the
// run may be gone when the fault is over.
func (i *injury) rot(n *chaosNode) error {
	d, err := i.spoilFile(n, chunkPattern, flipChunk)
	if err != nil {
		return err
	}
	i.heal = func() (string, error) { return d.proof, nil }
	return d.repaired()
}

// spoiled is a file that was damaged.
type spoiled struct {
	node   *chaosNode
	name   string
	before []byte
	proof  string
}

// spoilFile damages one of a node's files.
func (i *injury) spoilFile(n *chaosNode, pattern string, how func(name string, pick uint64) error) (*spoiled, error) {
	names, err := filepath.Glob(filepath.Join(n.data(), pattern))
	if err != nil {
		return nil, err
	}
	least := int64(1)
	if pattern == chunkPattern {
		least = 2 * chunkHeader
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		at, err := os.Stat(name)
		return err != nil || at.Size() < least
	})
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: node %s has no %s", errNothing, n.tag, pattern)
	}
	d := &spoiled{node: n, name: names[i.pick(len(names))]}
	if d.before, err = os.ReadFile(d.name); err == nil {
		err = how(d.name, i.Pick)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", errNothing, err) // its run was just deleted
	}
	if err != nil {
		return nil, err
	}
	after, err := os.ReadFile(d.name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if !bytes.Equal(d.before, after) {
		d.proof = fmt.Sprintf("%s of %s: %d bytes, were %d", filepath.Base(d.name), n.tag, len(after), len(d.before))
	}
	return d, nil
}

// repaired waits until the file has its bytes again. The node notices what is wrong with it as soon
// as somebody reads the run there.
func (d *spoiled) repaired() error {
	run := filepath.Base(filepath.Dir(d.name))
	_, err := d.node.lab.until(backLimit, func() error {
		now, err := os.ReadFile(d.name)
		if bytes.HasPrefix(now, d.before) {
			return nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		err = d.node.readRun(run)
		if code := status.Code(err); code == codes.NotFound || code == codes.FailedPrecondition && strings.Contains(err.Error(), "was removed") {
			return nil // it was deleted meanwhile
		}
		if err != nil {
			return fmt.Errorf("read run %s at %s, whose %s was damaged: %w", run, d.node.tag, filepath.Base(d.name), err)
		}
		return fmt.Errorf("%s: it was damaged and is not as it was", d.name)
	})
	return err
}

// readRun reads all events of a run that a node has, as it has them.
func (n *chaosNode) readRun(run string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, controller.StaleKey, "1")
	stream, err := synclinev1.NewRunServiceClient(n.lab.conn("alice", n.address())).ListEvents(ctx, &synclinev1.ListEventsRequest{RunId: run})
	if err != nil {
		return err
	}
	for {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// ending is how often the process has ended.
func (p *chaosProcess) ending() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ends)
}

func flipOne(name string, pick uint64) error { return flipBehind(name, pick, 0) }

func flipChunk(name string, pick uint64) error { return flipBehind(name, pick, chunkHeader) }

// flipBehind changes one bit of a file, somewhere behind its first bytes.
func flipBehind(name string, pick uint64, first int64) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	at, err := f.Stat()
	if err != nil {
		return err
	}
	var b [1]byte
	offset := first + int64(pick>>16)%(at.Size()-first)
	if _, err := f.ReadAt(b[:], offset); err != nil {
		return err
	}
	b[0] ^= 1 << (pick % 8)
	if _, err := f.WriteAt(b[:], offset); err != nil {
		return err
	}
	return f.Sync()
}

func cutHalf(name string, _ uint64) error {
	at, err := os.Stat(name)
	if err != nil {
		return err
	}
	return os.Truncate(name, at.Size()/2)
}

func deleteIt(name string, _ uint64) error { return os.Remove(name) }

// spoil damages the spool of an agent that was killed in a run. A run may be over before the agent
// has written anything, so it tries more than one.
func (i *injury) spoil(how func(name string, pick uint64) error) (err error) {
	for range 5 {
		var p *chaosProcess
		if p, err = i.someAgentAtWork(); err != nil {
			return err
		}
		if err = i.spoilSpool(p, how); !errors.Is(err, errNothing) {
			return err
		}
	}
	return err
}

func (i *injury) spoilSpool(p *chaosProcess, how func(name string, pick uint64) error) error {
	// What it holds goes as soon as it is acknowledged: without word of the controllers it stays.
	w := &wall{host: p.host, name: fmt.Sprintf("chaos%d", i.Number), in: true, out: true, peers: i.lab.others(nil)}
	if err := w.rise(); err != nil {
		return err
	}
	var name string
	_, err := i.lab.until(3*time.Second, func() error {
		segments, err := i.lab.spooled(p, "*.segment")
		if err == nil && len(segments) == 0 {
			err = fmt.Errorf("%w: the spool of agent %s is empty", errNothing, p.tag)
		}
		if err == nil {
			name = segments[0]
		}
		return err
	})
	if err != nil {
		return errors.Join(err, w.fall())
	}
	_, err = p.hold(syscall.SIGKILL)
	defer p.release()
	var before, after []byte
	if err == nil {
		before, err = os.ReadFile(name)
	}
	if err == nil {
		err = how(name, i.Pick)
	}
	if err == nil {
		after, err = os.ReadFile(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", errNothing, err) // it was acknowledged at the last moment
	}
	if err := errors.Join(err, w.fall()); err != nil {
		return err
	}
	i.heal = func() (string, error) {
		if bytes.Equal(before, after) {
			return "", nil
		}
		return fmt.Sprintf("%s of agent %s: %d bytes, were %d", filepath.Base(name), p.tag, len(after), len(before)), nil
	}
	return nil
}

// someAgentAtWork is one whose part in a run has just begun, and is not over yet: its spool has the head of a
// stream, which is not written to again before something is acknowledged.
func (i *injury) someAgentAtWork() (p *chaosProcess, err error) {
	_, err = i.lab.until(10*time.Second, func() error {
		for at := range i.lab.agents {
			p = i.lab.agents[(i.pick(len(i.lab.agents))+at)%len(i.lab.agents)]
			heads, err := i.lab.spooled(p, "*.head")
			if err != nil {
				return err
			}
			for _, name := range heads {
				at, err := os.Stat(name)
				if err != nil {
					continue // the run is over
				}
				if age := time.Since(at.ModTime()); p.running() && age > 200*time.Millisecond && age < 800*time.Millisecond {
					return nil
				}
			}
		}
		return fmt.Errorf("%w: no agent is in a run", errNothing)
	})
	return p, err
}

// spooled are the files in the spool of an agent that hold more than a few bytes.
func (l *chaosLab) spooled(p *chaosProcess, pattern string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(l.agentState(p.tag), "spool", pattern))
	return slices.DeleteFunc(names, func(name string) bool {
		at, err := os.Stat(name)
		return err != nil || at.Size() < 200
	}), err
}

// killInSnapshot kills a node while it writes a snapshot.
func (i *injury) killInSnapshot(n *chaosNode) error {
	unfinished := filepath.Join(n.data(), "snapshots", "*.tmp")
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		names, err := filepath.Glob(unfinished)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			time.Sleep(200 * time.Microsecond)
			continue
		}
		_, err = n.hold(syscall.SIGKILL)
		if err == nil {
			names, err = filepath.Glob(unfinished)
		}
		if err != nil || len(names) == 0 {
			n.release() // it was too late
			if err != nil {
				return err
			}
			continue
		}
		i.heal = func() (string, error) {
			n.release()
			return fmt.Sprintf("%s was killed with %s", n.tag, filepath.Base(names[0])), nil
		}
		return nil
	}
	return fmt.Errorf("%w: node %s was not caught writing a snapshot", errNothing, n.tag)
}

// killInFetch takes all files of chunks from a node that is down, and kills it once more while it fetches
// them from the others.
func (i *injury) killInFetch(n *chaosNode) error {
	_, err := n.hold(syscall.SIGKILL)
	if err != nil {
		n.release()
		return err
	}
	all, err := filepath.Glob(filepath.Join(n.data(), chunkPattern))
	if err == nil && len(all) < 4 {
		err = fmt.Errorf("%w: node %s has %d files of chunks", errNothing, n.tag, len(all))
	}
	for _, name := range all {
		if err == nil {
			err = os.Remove(name)
		}
	}
	n.release()
	if err != nil {
		return err
	}
	there := func() (names []string) {
		for _, name := range all {
			if _, err := os.Stat(name); err == nil {
				names = append(names, name)
			}
		}
		return names
	}
	_, err = i.lab.until(backLimit, func() error {
		if len(there()) == 0 {
			return fmt.Errorf("node %s fetches none of its %d files", n.tag, len(all))
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = n.hold(syscall.SIGKILL)
	back := there()
	i.heal = func() (string, error) {
		n.release()
		return fmt.Sprintf("%s was killed when it had %d of %d files again", n.tag, len(back), len(all)), nil
	}
	return err
}

// sameFiles holds the chunk files of all nodes against each other, byte by byte, of runs that were checked
// and not deleted. They follow from the log alone.
func (l *chaosLab) sameFiles(ld *load) error {
	ld.mu.Lock()
	runs := slices.Clone(ld.kept)
	ld.mu.Unlock()
	compared := 0
	for _, run := range runs {
		first := map[string][]byte{}
		for place, n := range l.nodes {
			names, err := filepath.Glob(filepath.Join(n.data(), "runs", run, "*.chunks"))
			if err != nil {
				return err
			}
			for _, name := range names {
				text, err := os.ReadFile(name)
				if err != nil {
					return err
				}
				if place == 0 {
					first[filepath.Base(name)] = text
					continue
				}
				want, ok := first[filepath.Base(name)]
				if !ok || !bytes.Equal(want, text) {
					return fmt.Errorf("%s has %d bytes in %s, and others in %s, where it has %d", filepath.Base(name), len(text), n.tag, l.nodes[0].tag, len(want))
				}
				compared++
			}
			if place > 0 && len(names) != len(first) {
				return fmt.Errorf("run %s has %d files in %s, and %d in %s", run, len(names), n.tag, len(first), l.nodes[0].tag)
			}
		}
	}
	if compared == 0 {
		return errors.New("no file of chunks could be compared")
	}
	return nil
}
