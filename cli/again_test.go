package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/peer"
	"syncline/controller/store"
	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

// tries is a question that is answered with each of its errors in turn, and with the last one
// for ever.
type tries struct {
	errs  []error
	heard []bool
	made  int
}

func (q *tries) try() (bool, error) {
	i := min(q.made, len(q.errs)-1)
	q.made++
	return len(q.heard) > i && q.heard[i], q.errs[i]
}

var (
	errLost     = status.Error(codes.Unavailable, "the connection was lost")
	errNoLeader = peer.NotLeader(store.Peer{}, errors.New("nobody leads"))
)

func TestWhatIsAskedAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		several bool
		err     error
		again   bool
	}{
		"an answer":                            {true, nil, false},
		"a controller of several that is lost": {true, errLost, true},
		"the only controller, lost":            {false, errLost, false},
		"one that others lead":                 {false, errNoLeader, true},
		"refused":                              {true, status.Error(codes.FailedPrecondition, "no"), false},
		"no such run":                          {true, status.Error(codes.NotFound, "no"), false},
		"who are you":                          {true, status.Error(codes.Unauthenticated, "no"), false},
		"too late":                             {true, status.Error(codes.DeadlineExceeded, "late"), false},
		"a bug":                                {true, status.Error(codes.Internal, "oops"), false},
		"no call at all":                       {true, errors.New("file not found"), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &tries{errs: []error{tc.err, nil}}
				a := &again{several: tc.several, say: io.Discard}
				err := a.do(t.Context(), q.try)
				if again := q.made == 2; again != tc.again || !again && err != tc.err {
					t.Errorf("asked %d times, and answered %v", q.made, err)
				}
			})
		})
	}
	q := &tries{errs: []error{errLost}}
	if err := (*again)(nil).do(t.Context(), q.try); err != errLost || q.made != 1 {
		t.Errorf("with nobody else to ask: %v after %d tries", err, q.made)
	}
}

// A command gives up half a minute after the last answer, and says after 3 s that it waits, once.
func TestAskingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		q := &tries{errs: []error{errNoLeader}}
		began := time.Now()
		err := (&again{several: true, say: &said}).do(t.Context(), q.try)
		if took := time.Since(began); !errors.Is(err, errNoLeader) || took < againLimit || took > againLimit+2*time.Second {
			t.Errorf("it gave up after %v with %v", took, err)
		}
		if q.made < 25 || q.made > 60 {
			t.Errorf("it asked %d times", q.made)
		}
		if want := "syncline: no controller answers yet (nobody leads); asking for 30s\n"; said.String() != want {
			t.Errorf("it said %q, want %q", said.String(), want)
		}
	})
}

// A stream that was answered in between has all its patience again.
func TestAnAnswerRenewsThePatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		q := &tries{}
		answers := 0
		err := (&again{several: true, say: io.Discard}).do(t.Context(), func() (bool, error) {
			q.made++
			if time.Since(began) > time.Duration(answers+1)*20*time.Second && answers < 3 {
				answers++
				return true, errLost
			}
			return false, errLost
		})
		if took := time.Since(began); !errors.Is(err, errLost) || answers != 3 || took < 60*time.Second+againLimit {
			t.Errorf("after %d answers it gave up after %v with %v", answers, took, err)
		}
	})
}

// Who is interrupted, or has a deadline, is not kept.
func TestAskingIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		defer cancel()
		began := time.Now()
		err := (&again{several: true, say: io.Discard}).do(ctx, (&tries{errs: []error{errLost}}).try)
		if took := time.Since(began); took != 700*time.Millisecond || !errors.Is(err, errLost) {
			t.Errorf("it ended after %v with %v", took, err)
		}
	})
}

// fewRuns is a controller that fails as it is told.
type fewRuns struct {
	synclinev1.UnimplementedRunServiceServer
	mu sync.Mutex
	// create and watch are what the next calls come to, in turn; nil is an answer. A watch
	// with an error has shown the run first.
	create, watch []error
	requests      []string
	watched       int
}

func take(errs *[]error) error {
	if len(*errs) == 0 {
		return nil
	}
	err := (*errs)[0]
	*errs = (*errs)[1:]
	return err
}

func (f *fewRuns) CreateRun(_ context.Context, q *synclinev1.CreateRunRequest) (*synclinev1.CreateRunResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, q.RequestId)
	if err := take(&f.create); err != nil {
		return nil, err
	}
	return &synclinev1.CreateRunResponse{Run: &synclinev1.Run{Id: "r-1"}}, nil
}

func (f *fewRuns) WatchRun(q *synclinev1.WatchRunRequest, stream grpc.ServerStreamingServer[synclinev1.WatchRunResponse]) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watched++
	err := take(&f.watch)
	run := &synclinev1.Run{Id: q.Id, State: synclinev1.RunState_RUN_STATE_RUNNING, Repetitions: 9, RepetitionsDone: 4}
	if err == nil {
		run.State, run.RepetitionsDone = synclinev1.RunState_RUN_STATE_SEALED, 9
	}
	return errors.Join(stream.Send(&synclinev1.WatchRunResponse{Run: run}), err)
}

// serve is where it answers, and what ends it.
func (f *fewRuns) serve(t *testing.T) (address string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(identity.Dev()))
	synclinev1.RegisterRunServiceServer(server, f)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	stop = sync.OnceFunc(func() {
		server.Stop()
		// It may be stopped before it has begun.
		if err := <-ended; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

// closed is an address that nobody listens on.
func closed(t *testing.T) string {
	t.Helper()
	address, stop := (&fewRuns{}).serve(t)
	stop()
	return address
}

func dialled(t *testing.T, controllers ...string) (*app, *client, error) {
	t.Helper()
	a := &app{Streams: Streams{Out: new(bytes.Buffer), Err: new(bytes.Buffer)}, controller: strings.Join(controllers, ",")}
	a.who.dev = true
	cl, err := a.dial(t.Context())
	if err == nil {
		t.Cleanup(cl.close)
	}
	return a, cl, err
}

// A retry carries the request id of the first try, at whatever controller; two things that are
// asked for have two.
func TestRequestIDIsKeptOverRetries(t *testing.T) {
	f := &fewRuns{create: []error{errLost, errNoLeader}}
	address, _ := f.serve(t)
	_, cl, err := dialled(t, closed(t), address)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"one", "two"} {
		if _, err := cl.runs.CreateRun(t.Context(), &synclinev1.CreateRunRequest{RequestId: id}); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(f.requests, " "); got != "one one one two" {
		t.Errorf("the controller was asked %q", got)
	}
	f.create = []error{status.Error(codes.FailedPrecondition, "no agents")}
	if _, err := cl.runs.CreateRun(t.Context(), &synclinev1.CreateRunRequest{RequestId: "three"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("what is refused: %v", err)
	}
	if got := f.requests[len(f.requests)-1]; len(f.requests) != 5 || got != "three" {
		t.Errorf("what is refused was asked for again: %q", f.requests)
	}
}

// A command goes on with another controller when the one it asked is gone.
func TestTheNextControllerIsAsked(t *testing.T) {
	first, second := &fewRuns{}, &fewRuns{}
	at, stop := first.serve(t)
	other, _ := second.serve(t)
	_, cl, err := dialled(t, at, other)
	if err != nil {
		t.Fatal(err)
	}
	create := func() {
		t.Helper()
		if _, err := cl.runs.CreateRun(t.Context(), &synclinev1.CreateRunRequest{RequestId: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	create()
	stop()
	create()
	if len(first.requests) != 1 || len(second.requests) != 1 {
		t.Errorf("the first was asked %d times, the second %d; want the first as long as it is there", len(first.requests), len(second.requests))
	}
}

// Who follows a run opens the stream again when it breaks, and is told the end once.
func TestFollowingGoesOn(t *testing.T) {
	f := &fewRuns{watch: []error{errNoLeader, errLost, nil}}
	address, _ := f.serve(t)
	a, cl, err := dialled(t, closed(t), address)
	if err != nil {
		t.Fatal(err)
	}
	run, err := a.follow(t.Context(), cl, "r-1")
	if err != nil || run.State != synclinev1.RunState_RUN_STATE_SEALED || f.watched != 3 {
		t.Errorf("run %v, %v, after %d streams", run, err, f.watched)
	}
	f.watch = []error{status.Error(codes.DataLoss, "damaged")}
	if _, err := a.follow(t.Context(), cl, "r-1"); err == nil || !strings.Contains(err.Error(), "damaged") || f.watched != 4 {
		t.Errorf("what no other controller knows better: %v after %d streams", err, f.watched)
	}
}

// When none can be reached, all are named, with the reason of each.
func TestNoControllerAnswers(t *testing.T) {
	one, two := closed(t), closed(t)
	_, _, err := dialled(t, one, two)
	var exit *exitError
	if !errors.As(err, &exit) || exit.code != exitUnreachable {
		t.Fatalf("it ends with %v", err)
	}
	for _, want := range []string{"no controller at " + one + " (connection refused)", "no controller at " + two + " (connection refused)", "--controller HOST:PORT"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}
