package lane

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

// frameKind says what a frame between a group and the process of a lane is.
type frameKind byte

// What the group says.
const (
	// framePlan carries the lane, a Lane. It is the first frame.
	framePlan frameKind = iota + 1
	// frameInherit carries the sockets of a forked lane, an inheritance and descriptors.
	frameInherit
	// frameStart lets the steps begin, a start.
	frameStart
	// frameAnswer answers frameAsk, frameAllow and frameFork, an answer.
	frameAnswer
	// frameCancel ends the repetition; the body is its cause, as text.
	frameCancel
)

// What the lane's process says.
const (
	// frameHello is its first frame, a hello.
	frameHello frameKind = iota + 64
	// frameTook answers frameInherit: it has the descriptors.
	frameTook
	// frameEvent is an Event.
	frameEvent
	// framePost is a signal of the lane, as text.
	framePost
	// frameMade is a Socket.
	frameMade
	// frameOver says that the lane signals no more; the body is its failure, as text.
	frameOver
	// frameEnded is the last frame; the body is the error the lane ended with, as text.
	frameEnded
	// frameAllow asks for an address that a call goes to, as text; the Failure of the
	// answer says no.
	frameAllow
	// frameAsk is a Step of the lab's own.
	frameAsk
	// frameFork starts another lane, an inheritance and descriptors.
	frameFork
)

// hello tells who the lane is.
type hello struct {
	Thread uint32 `json:"thread"`
}

// start tells what a lane needs to know at its first step.
type start struct {
	Begin    int64 `json:"begin"`
	Watched  bool  `json:"watched"`
	Informed bool  `json:"informed"`
}

// inheritance names the descriptors that travel with it, in their order.
type inheritance struct {
	// Lane is the one that is forked, Limit the step's, in nanoseconds.
	Lane    string          `json:"lane"`
	Limit   int64           `json:"limit"`
	Sockets []inheritedName `json:"sockets"`
}

// inheritedName is a descriptor without its number.
type inheritedName struct {
	Name     string `json:"name"`
	Domain   uint32 `json:"domain"`
	Type     uint32 `json:"type"`
	Protocol uint32 `json:"protocol"`
}

// frame is one message of a link. descriptors are the receiver's to close.
type frame struct {
	kind        frameKind
	body        []byte
	descriptors []int
}

// headerSize is the size of what comes before a body: its length, 4 bytes, and the kind.
const headerSize = 5

// maxFrame bounds a body: a lane with all the data an experiment may have is far
// smaller.
const maxFrame = 64 << 20

// link carries frames between a group and the process of one of its lanes, over a pair
// of Unix stream sockets. What one end has written can be read after that end has died.
// One goroutine may receive and any may send.
type link struct {
	conn *net.UnixConn
	// control takes the descriptors of one frame.
	control []byte

	writing sync.Mutex
	out     []byte
}

// newLink takes over a connected Unix stream socket.
func newLink(f *os.File) (*link, error) {
	conn, err := net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("the socket between an agent and the process of a lane: %w", err)
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%T is no Unix socket", conn), conn.Close())
	}
	return &link{conn: unixConn, control: make([]byte, unix.CmsgSpace(4*MaxInherited))}, nil
}

// close ends the link; a receive under way returns.
func (k *link) close() error { return k.conn.Close() }

// send writes a frame. Descriptors stay the caller's.
func (k *link) send(kind frameKind, body []byte, descriptors ...int) error {
	return k.write(kind, descriptors, func(out []byte) ([]byte, error) { return append(out, body...), nil })
}

// sendMessage writes a frame with a message of the contract.
func (k *link) sendMessage(kind frameKind, m proto.Message) error {
	return k.write(kind, nil, func(out []byte) ([]byte, error) { return proto.MarshalOptions{}.MarshalAppend(out, m) })
}

// sendValue writes a frame with a value of this file.
func (k *link) sendValue(kind frameKind, v any, descriptors ...int) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return k.send(kind, body, descriptors...)
}

func (k *link) write(kind frameKind, descriptors []int, body func([]byte) ([]byte, error)) error {
	k.writing.Lock()
	defer k.writing.Unlock()
	out, err := body(append(k.out[:0], 0, 0, 0, 0, byte(kind)))
	if err != nil {
		return err
	}
	k.out = out
	if len(out)-headerSize > maxFrame {
		return fmt.Errorf("a message of %d bytes between an agent and the process of a lane: at most %d are allowed",
			len(out)-headerSize, maxFrame)
	}
	binary.NativeEndian.PutUint32(out, uint32(len(out)-headerSize))
	// The descriptors travel with the first byte; sendmsg(2) may take a part only.
	if len(descriptors) > 0 {
		n, _, err := k.conn.WriteMsgUnix(out, unix.UnixRights(descriptors...), nil)
		if err != nil {
			return err
		}
		out = out[n:]
	}
	if len(out) > 0 {
		_, err = k.conn.Write(out)
	}
	return err
}

// receive reads a frame. Its error is io.EOF if the other end is gone.
func (k *link) receive() (frame, error) {
	var header [headerSize]byte
	n, descriptors, err := k.receiveFirst(header[:])
	f := frame{descriptors: descriptors}
	if err == nil {
		_, err = io.ReadFull(k.conn, header[n:])
	}
	if err == nil {
		f.kind = frameKind(header[4])
		f.body, err = readBody(k.conn, binary.NativeEndian.Uint32(header[:]))
	}
	// The other end was killed with something to read (ECONNRESET), or while it wrote.
	if errors.Is(err, unix.ECONNRESET) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	if err != nil {
		return frame{}, errors.Join(err, closeDescriptors(descriptors))
	}
	return f, nil
}

func readBody(from io.Reader, size uint32) ([]byte, error) {
	if size > maxFrame {
		return nil, fmt.Errorf("a message of %d bytes: at most %d are allowed", size, maxFrame)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(from, body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return body, nil
}

// receiveFirst reads the first bytes of a frame, and the descriptors that come with them.
func (k *link) receiveFirst(b []byte) (n int, descriptors []int, err error) {
	n, controlled, flags, _, err := k.conn.ReadMsgUnix(b, k.control)
	if err != nil {
		return 0, nil, err
	}
	if n == 0 && controlled == 0 {
		return 0, nil, io.EOF
	}
	descriptors, err = parseRights(k.control[:controlled])
	if err == nil && flags&unix.MSG_CTRUNC != 0 {
		err = errors.New("recvmsg: not all sockets of a fork arrived (MSG_CTRUNC); the process may have no descriptors left (RLIMIT_NOFILE)")
	}
	return n, descriptors, err
}

// parseRights reads what SCM_RIGHTS carried.
func parseRights(control []byte) ([]int, error) {
	if len(control) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, fmt.Errorf("parse the control message of a fork: %w", err)
	}
	var all []int
	for i := range messages {
		rights, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return all, fmt.Errorf("parse the sockets of a fork: %w", err)
		}
		all = append(all, rights...)
	}
	return all, nil
}

func closeDescriptors(all []int) error {
	var failed []error
	for _, fd := range all {
		failed = append(failed, unix.Close(fd))
	}
	return errors.Join(failed...)
}

// pass makes the inheritance of descriptors, and their numbers.
func pass(lane string, limit int64, inherited []descriptor) (inheritance, []int) {
	h := inheritance{Lane: lane, Limit: limit}
	var numbers []int
	for _, d := range inherited {
		h.Sockets = append(h.Sockets, inheritedName{d.name, d.kind.domain, d.kind.typ, d.kind.protocol})
		numbers = append(numbers, int(d.fd))
	}
	return h, numbers
}

// inherited reads a frame with an inheritance. It closes what came if it is not whole.
func (f *frame) inherited() (inheritance, []descriptor, error) {
	var h inheritance
	err := json.Unmarshal(f.body, &h)
	if err == nil && len(h.Sockets) != len(f.descriptors) {
		err = fmt.Errorf("%d sockets were passed on, %d arrived", len(h.Sockets), len(f.descriptors))
	}
	if err != nil {
		return h, nil, errors.Join(fmt.Errorf("the sockets of a forked lane: %w", err), closeDescriptors(f.descriptors))
	}
	all := make([]descriptor, len(h.Sockets))
	for i, s := range h.Sockets {
		all[i] = descriptor{fd: int32(f.descriptors[i]), name: s.Name, kind: kind{s.Domain, s.Type, s.Protocol}}
	}
	return h, all, nil
}
