package cli

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	synclinev1 "syncline/proto/syncline/v1"
)

// entryOverhead is what an entry of the log has beside the bytes of the chunk: the names of run and
// agent, the numbers, the time, a checksum.
const entryOverhead = 80

// logAlone writes chunks to the store of raft's log and to nothing else, batch of them with each
// write, which is synced.
func logAlone(b *testing.B, streams [][]*synclinev1.Chunk, batch int, d time.Duration) commitFigure {
	b.Helper()
	name := filepath.Join(b.TempDir(), "log.db")
	store, err := raftboltdb.New(raftboltdb.Options{Path: name, BoltOptions: &bbolt.Options{FreelistType: bbolt.FreelistMapType}})
	if err != nil {
		b.Fatal(err)
	}
	index, events := uint64(0), uint64(0)
	used, began := timeOfThis(b), time.Now()
	for time.Since(began) < d {
		logs := make([]*raft.Log, batch)
		for i := range logs {
			stream := streams[int(index)%len(streams)]
			c := stream[int(index)/len(streams)%len(stream)]
			index++
			events += uint64(c.Events)
			logs[i] = &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, AppendedAt: time.Now(), Data: append(make([]byte, entryOverhead, entryOverhead+len(c.Data)), c.Data...)}
		}
		if err := store.StoreLogs(logs); err != nil {
			b.Fatal(err)
		}
	}
	took, used := time.Since(began), timeOfThis(b)-used
	if err := errors.Join(store.Close(), os.Remove(name)); err != nil {
		b.Fatal(err)
	}
	return commitFigure{rate: float64(events) / took.Seconds(), cpu: float64(used.Nanoseconds()) / float64(events), batch: float64(batch)}
}

// bareFile is a file that many append to; those who wait at the same time share an fsync.
type bareFile struct {
	f       *os.File
	frames  chan bareFrame
	batches atomic.Uint64
	written atomic.Uint64
}

type bareFrame struct {
	data []byte
	done chan<- error
}

// tcpAlone sends chunks over plain TCP, each with its length before it, to a server that appends them to
// a file, syncs it, and answers with one byte.
func tcpAlone(b *testing.B, streams [][]*synclinev1.Chunk, d time.Duration) commitFigure {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "bare"))
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	file := &bareFile{f: f, frames: make(chan bareFrame, 256)}
	var writing, serving, sending sync.WaitGroup
	writing.Go(file.write)
	var events atomic.Uint64
	errs := make(chan error, 2*len(streams))
	used, began := timeOfThis(b), time.Now()
	for _, stream := range streams {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		serving.Go(func() { errs <- file.serve(server) })
		sending.Go(func() { errs <- sendBare(client, stream, &events, began.Add(d)) })
	}
	sending.Wait()
	took, used := time.Since(began), timeOfThis(b)-used
	serving.Wait()
	close(file.frames)
	writing.Wait()
	close(errs)
	for e := range errs {
		err = errors.Join(err, e)
	}
	if err = errors.Join(err, l.Close(), f.Close(), os.Remove(f.Name())); err != nil {
		b.Fatal(err)
	}
	return commitFigure{
		rate: float64(events.Load()) / took.Seconds(), cpu: float64(used.Nanoseconds()) / float64(events.Load()),
		batch: float64(file.written.Load()) / float64(file.batches.Load()),
	}
}

// bareWindow bounds what is on its way on one connection, as the controller's does.
const bareWindow = 64

func sendBare(conn net.Conn, stream []*synclinev1.Chunk, events *atomic.Uint64, until time.Time) error {
	defer conn.Close()
	window := make(chan uint32, bareWindow)
	answered := make(chan error, 1)
	go func() {
		r := bufio.NewReader(conn)
		for n := range window {
			if _, err := r.ReadByte(); err != nil {
				answered <- err
				return
			}
			events.Add(uint64(n))
		}
		answered <- nil
	}()
	w := bufio.NewWriterSize(conn, 64<<10)
	for n := 0; time.Now().Before(until); n++ {
		c := stream[n%len(stream)]
		if _, err := w.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(c.Data)))); err != nil {
			return err
		}
		if _, err := w.Write(c.Data); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
		select {
		case window <- c.Events:
		case err := <-answered:
			return err
		}
	}
	close(window)
	return <-answered
}

// serve answers one connection until its end.
func (f *bareFile) serve(conn net.Conn) error {
	defer conn.Close()
	inFlight := make(chan chan error, bareWindow)
	answered := make(chan error, 1)
	go func() {
		for done := range inFlight {
			err := <-done
			if err == nil {
				_, err = conn.Write([]byte{1})
			}
			if err != nil {
				answered <- err
				return
			}
		}
		answered <- nil
	}()
	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		var length [4]byte
		if _, err := io.ReadFull(r, length[:]); errors.Is(err, io.EOF) {
			close(inFlight)
			return <-answered
		} else if err != nil {
			return err
		}
		data := make([]byte, binary.LittleEndian.Uint32(length[:]))
		if _, err := io.ReadFull(r, data); err != nil {
			return err
		}
		done := make(chan error, 1)
		select {
		case inFlight <- done:
		case err := <-answered:
			return err
		}
		f.frames <- bareFrame{data, done}
	}
}

// write is the only writer of the file.
func (f *bareFile) write() {
	for first := range f.frames {
		waiting := []bareFrame{first}
		for more := true; more; {
			select {
			case next, ok := <-f.frames:
				if more = ok; ok {
					waiting = append(waiting, next)
				}
			default:
				more = false
			}
		}
		var err error
		for _, frame := range waiting {
			if err == nil {
				_, err = f.f.Write(frame.data)
			}
		}
		if err == nil {
			err = f.f.Sync()
		}
		for _, frame := range waiting {
			frame.done <- err
		}
		f.batches.Add(1)
		f.written.Add(uint64(len(waiting)))
	}
}
