package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	logv1 "syncline/proto/syncline/log/v1"
)

// How long an answer is remembered: for requestLife of the log's time, or until so many
// came later.
const (
	requestLife = 24 * time.Hour
	maxRequests = 100_000
)

// Request names what a client asked for, so that asking again changes nothing.
type Request struct {
	// Client is who asks: the name of a certificate, as a rule.
	Client string
	// ID is new for each thing that is asked for, and the same in each retry of it.
	ID string
}

type requestKeyType struct{}

// WithRequest makes the one mutation that is made with the context take effect once, however
// often it is repeated, on whatever nodes: a repeated one is answered as the first was. What
// was refused is not remembered, since it changed nothing. A second, different mutation
// with the same request is ErrReused.
func WithRequest(ctx context.Context, r Request) context.Context {
	return context.WithValue(ctx, requestKeyType{}, r)
}

// sign puts the request of a context into an entry.
func sign(ctx context.Context, entry *logv1.Entry) error {
	if r, ok := ctx.Value(requestKeyType{}).(Request); ok {
		// CreateRun has its own.
		if entry.RequestId == "" {
			entry.RequestId = r.ID
		}
		entry.ClientId = r.Client
	}
	if entry.RequestId == "" {
		return nil
	}
	if len(entry.RequestId) > maxRequestBytes || len(entry.ClientId) > maxRequestBytes {
		return fmt.Errorf("%w: a request id of %d bytes of a client of %d, at most %d are allowed", ErrInvalid, len(entry.RequestId), len(entry.ClientId), maxRequestBytes)
	}
	if _, ok := entry.Command.(*logv1.Entry_CreateRun); ok {
		// The id of the run is made up for each attempt.
		return nil
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&logv1.Entry{Command: entry.Command})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	digest := sha256.Sum256(b)
	entry.CommandDigest = digest[:8]
	return nil
}

// answer is what is remembered of a request that took effect.
type answer struct {
	Request
	// command is the number of the command's field.
	command uint32
	digest  []byte
	time    int64
	// runID and epoch are of the run that it was about, if it was about one.
	runID string
	epoch uint64
}

// answers are the requests that took effect, the oldest first.
type answers struct {
	by    map[Request]answer
	queue []Request
	// most is how many are remembered.
	most int
	// sum is of all answers.
	sum setSum
}

func newAnswers() answers { return answers{by: map[Request]answer{}, most: maxRequests} }

// add remembers an answer, and forgets the oldest if there are too many.
func (a *answers) add(new answer) {
	if _, ok := a.by[new.Request]; ok {
		return
	}
	if len(a.queue) >= a.most {
		a.drop()
	}
	a.by[new.Request] = new
	a.queue = append(a.queue, new.Request)
	a.sum.add(new.hash())
}

// forget drops what is older than requestLife at a time of the log.
func (a *answers) forget(now int64) {
	for len(a.queue) > 0 && a.by[a.queue[0]].time <= now-int64(requestLife) {
		a.drop()
	}
}

func (a *answers) drop() {
	old := a.by[a.queue[0]]
	a.sum.remove(old.hash())
	delete(a.by, old.Request)
	a.queue = a.queue[1:]
}

func (a answer) hash() stateHash {
	b := []byte("request")
	for _, text := range []string{a.Client, a.ID, string(a.digest), a.runID} {
		b = appendText(b, text)
	}
	for _, v := range []uint64{uint64(a.command), uint64(a.time), a.epoch} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return sha256.Sum256(b)
}

// all returns the answers, the oldest first.
func (a *answers) all() []answer {
	out := make([]answer, len(a.queue))
	for i, r := range a.queue {
		out[i] = a.by[r]
	}
	return out
}

// commandNumber is the number of the command's field in Entry.
func commandNumber(entry *logv1.Entry) uint32 {
	m := entry.ProtoReflect()
	return uint32(m.WhichOneof(m.Descriptor().Oneofs().ByName("command")).Number())
}

func requestOf(entry *logv1.Entry) Request {
	return Request{Client: entry.ClientId, ID: entry.RequestId}
}

// answered returns the answer of a request that took effect before.
func (s *state) answered(entry *logv1.Entry) (result, bool) {
	if entry.RequestId == "" {
		return result{}, false
	}
	a, ok := s.answers.by[requestOf(entry)]
	if !ok {
		return result{}, false
	}
	if a.command != commandNumber(entry) || len(a.digest) > 0 && !bytes.Equal(a.digest, entry.CommandDigest) {
		return result{err: fmt.Errorf("%w: request %q of %q", ErrReused, a.ID, a.Client)}, true
	}
	if a.runID == "" {
		return result{}, true
	}
	r := s.runs[a.runID]
	switch {
	case r == nil:
		return result{err: fmt.Errorf("%w: %s, which this request was about, is removed", ErrUnknownRun, a.runID)}, true
	case a.command == takeRunNumber && r.Epoch != a.epoch:
		return result{run: r.Run, err: fmt.Errorf("%w: this request made it %d, and another one made it %d since", ErrEpoch, a.epoch, r.Epoch)}, true
	}
	return result{run: r.Run}, true
}

// takeRunNumber is of a command whose answer is the epoch it made.
var takeRunNumber = commandNumber(&logv1.Entry{Command: &logv1.Entry_TakeRun{}})

// remember keeps the answer of a request that took effect.
func (s *state) remember(entry *logv1.Entry, res result) {
	if entry.RequestId == "" || res.err != nil {
		return
	}
	s.answers.add(answer{
		Request: requestOf(entry), command: commandNumber(entry), digest: entry.CommandDigest, time: s.time,
		runID: res.run.ID, epoch: res.run.Epoch,
	})
}
