package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	synclinev1 "syncline/proto/syncline/v1"
)

// reachLimit is how long a command tries to reach the controller.
const reachLimit = 3 * time.Second

// client is an operator's connection to a controller.
type client struct {
	conn      *grpc.ClientConn
	runs      synclinev1.RunServiceClient
	agents    synclinev1.AgentServiceClient
	timelines synclinev1.TimelineServiceClient
	cluster   synclinev1.ClusterServiceClient
	// again is nil if there is nobody else to ask.
	again *again
	// stop ends who answers, if it is this process.
	stop func()
}

// maxAnswer bounds one message of an answer.
const maxAnswer = 256 << 20

func newClient(conn *grpc.ClientConn) *client {
	return &client{
		conn: conn, runs: synclinev1.NewRunServiceClient(conn),
		agents: synclinev1.NewAgentServiceClient(conn), timelines: synclinev1.NewTimelineServiceClient(conn),
		cluster: synclinev1.NewClusterServiceClient(conn),
	}
}

func (c *client) close() {
	c.conn.Close()
	if c.stop != nil {
		c.stop()
	}
}

// dial reaches a controller, or says why not. gRPC alone would connect at the first call
// and wrap the reason in words of its own.
func (a *app) dial(ctx context.Context) (*client, error) {
	targets, err := controllers(a.controller)
	if err != nil {
		return nil, err
	}
	var failures []string
	for _, target := range targets {
		creds, err := a.who.dialling(target, logger(a.Err))
		if err != nil {
			return nil, err
		}
		if err := reach(ctx, target, creds); err == nil {
			return a.connect(firstOf(targets, target), creds)
		} else if ctx.Err() != nil {
			return nil, &exitError{code: exitInterrupted, err: errors.New("interrupted")}
		} else {
			failures = append(failures, failure(target, err))
		}
	}
	return nil, &exitError{code: exitUnreachable, err: fmt.Errorf("%s\nAnother address: --controller HOST:PORT or SYNCLINE_CONTROLLER", strings.Join(failures, "\n"))}
}

// failure says why a controller could not be reached, and what to do.
func failure(target string, err error) string {
	var refused *handshakeError
	if errors.As(err, &refused) {
		return fmt.Sprintf("the controller at %s and this side do not come together: %v.", target, refused.err)
	}
	return fmt.Sprintf("no controller at %s (%s).\nIs it running there? Start one with: syncline controller serve", target, plainCause(err))
}

// firstOf is a list of addresses that begins with one of them. A Unix socket stands alone: it
// has other credentials than the rest.
func firstOf(targets []string, first string) []string {
	list := []string{first}
	for _, target := range targets {
		if target != first && !isSocket(target) && !isSocket(first) {
			list = append(list, target)
		}
	}
	return list
}

func isSocket(target string) bool { return strings.HasPrefix(target, "unix:") }

// connect makes the client of a command. It stays with one controller for as long as that
// answers, and goes on with another of them if not.
func (a *app) connect(targets []string, creds credentials.TransportCredentials) (*client, error) {
	again := &again{several: len(targets) > 1, say: a.Err}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: redial, MinConnectTimeout: reachLimit}),
		// A controller that stands still, or that no packet reaches, is left within 15 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithChainUnaryInterceptor(again.unary, a.asStale),
		grpc.WithChainStreamInterceptor(a.asStaleStream),
	}
	target := targets[0]
	if len(targets) > 1 {
		known := manual.NewBuilderWithScheme("controllers")
		var state resolver.State
		for _, t := range targets {
			state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: t, ServerName: "controller"}}})
		}
		known.InitialState(state)
		options = append(options, grpc.WithResolvers(known))
		target = "controllers:///any"
	}
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: fmt.Errorf("controller address %q: %w", strings.Join(targets, ","), err)}
	}
	c := newClient(conn)
	c.again = again
	return c, nil
}

// ask dials the controller for one command.
func (a *app) ask(ctx context.Context, question func(*client) error) error {
	cl, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	return question(cl)
}

// controllers reads the addresses of controllers.
func controllers(list string) ([]string, error) {
	var targets []string
	for _, target := range strings.Split(list, ",") {
		target = strings.TrimSpace(target)
		if err := checkTarget(target); err != nil {
			return nil, err
		}
		targets = append(targets, target)
	}
	return targets, nil
}

// checkTarget refuses what is no address of a controller.
func checkTarget(target string) error {
	if strings.HasPrefix(target, "unix:") {
		return nil
	}
	if host, port, err := net.SplitHostPort(target); err != nil || host == "" || port == "" {
		return &exitError{code: exitUsage, err: fmt.Errorf("controller address %q: write HOST:PORT or unix:PATH", target)}
	}
	return nil
}

// handshakeError is of two sides that reached each other and did not agree.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// reach makes a connection as a client would, and closes it.
func reach(ctx context.Context, target string, creds credentials.TransportCredentials) error {
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	network, address := "tcp", target
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		network, address = "unix", strings.TrimPrefix(path, "//")
	}
	var d net.Dialer
	raw, err := d.DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	conn, _, err := creds.ClientHandshake(ctx, target, raw)
	if err != nil {
		// The handshake has closed it.
		return &handshakeError{err}
	}
	return conn.Close()
}

// plainCause is the errno's own words where there is one.
func plainCause(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

// answered turns the status of a call into an error with its exit code.
func answered(err error) error {
	if err == nil {
		return nil
	}
	st := status.Convert(err)
	code := exitRefused
	switch st.Code() {
	case codes.InvalidArgument, codes.NotFound:
		code = exitUsage
	case codes.Unavailable:
		code = exitUnreachable
	case codes.Canceled:
		return &exitError{code: exitInterrupted, err: errors.New("interrupted")}
	case codes.DeadlineExceeded:
		code = exitTimeout
	case codes.Internal, codes.Unknown, codes.DataLoss:
		code = exitInconclusive
	}
	return &exitError{code: code, err: errors.New(unwrapped(st.Message()))}
}

// unwrapped is what is left of gRPC's words about a connection that was lost or not made.
func unwrapped(text string) string {
	for _, wrapping := range []string{`connection error: desc = "`, "transport: ", "authentication handshake failed: ", "error reading server preface: "} {
		if inner, ok := strings.CutPrefix(text, wrapping); ok {
			text = strings.TrimSuffix(inner, `"`)
		}
	}
	return text
}

// runRef reads RUN or RUN@REP, where RUN may be the path of a bundle. Repetition 0 is
// "the one to look at first".
func runRef(arg string) (name string, repetition uint32, err error) {
	// A path may have an @ of its own.
	at := strings.LastIndexByte(arg, '@')
	if at < 0 || hasBundle(arg) {
		return arg, 0, nil
	}
	name, rep := arg[:at], arg[at+1:]
	if strings.ContainsAny(rep, `./\`) {
		// No number was meant: the whole is a path.
		return arg, 0, nil
	}
	n, err := strconv.ParseUint(rep, 10, 32)
	if err != nil || n == 0 {
		return "", 0, &exitError{code: exitUsage, err: fmt.Errorf("repetition %q of %q: give a number from 1", rep, arg)}
	}
	return name, uint32(n), nil
}
