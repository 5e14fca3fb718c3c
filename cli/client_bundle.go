package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"syncline/controller"
	"syncline/controller/export"
)

// subject is a run that a command looks at, with whoever answers about it: the
// controller, or a bundle, which no command has to tell apart.
type subject struct {
	*client
	// id is of the run, repetition the one that was named; 0 if none was.
	id         string
	repetition uint32
	// name is how to call it in another command: the run's id, or the path of the bundle.
	name string
	// archive is what is in the bundle, of size bytes; nil for a run of the controller.
	archive *controller.Archive
	size    int64
}

// subject finds what an argument RUN[@REP] names. The caller closes it.
func (a *app) subject(ctx context.Context, arg string) (*subject, error) {
	name, repetition, err := runRef(arg)
	if err != nil {
		return nil, err
	}
	if !isBundle(name) {
		cl, err := a.dial(ctx)
		if err != nil {
			return nil, err
		}
		return &subject{client: cl, id: name, repetition: repetition, name: name}, nil
	}
	s := &subject{repetition: repetition, name: name}
	if err := s.openBundle(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// lookWhole is look for what is of a run as a whole: RUN without a repetition.
func (a *app) lookWhole(ctx context.Context, arg string, question func(*subject) error) error {
	return a.look(ctx, arg, func(s *subject) error {
		if s.repetition != 0 {
			return usage("%s: what is asked for is of the whole run; leave out @%d", arg, s.repetition)
		}
		return question(s)
	})
}

// look asks about what an argument RUN[@REP] names.
func (a *app) look(ctx context.Context, arg string, question func(*subject) error) error {
	s, err := a.subject(ctx, arg)
	if err != nil {
		return err
	}
	defer s.close()
	return question(s)
}

// isBundle reports whether a RUN is the path of a bundle and not the id of a run, which
// has letters, digits and hyphens only: a path that has something else, or a bundle that
// is there.
func isBundle(name string) bool { return strings.ContainsAny(name, `./\`) || hasBundle(name) }

// hasBundle reports whether there is a file that begins as a bundle does.
func hasBundle(name string) bool {
	// Opening a pipe would wait for whoever writes to it.
	if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	prefix := make([]byte, export.PrefixBytes)
	_, err = io.ReadFull(f, prefix)
	return err == nil && export.IsBundle(prefix)
}

// interruptible is a file that nobody can read any more once ctx has ended: a large bundle
// takes a while.
type interruptible struct {
	ctx  context.Context
	file *os.File
}

// ReadAt implements io.ReaderAt.
func (f *interruptible) ReadAt(b []byte, at int64) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.file.ReadAt(b, at)
}

// openBundle opens the bundle that a subject names. Its file stays open until the client
// is closed, and can be read until ctx ends.
func (s *subject) openBundle(ctx context.Context) error {
	info, err := os.Stat(s.name)
	if err == nil && !info.Mode().IsRegular() {
		return usage("open the bundle %s: it is no regular file, and a bundle is read from its end", s.name)
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(s.name)
	}
	if err != nil {
		return usage("open the bundle: %w\nRUN is the id of a run (syncline get runs) or the path of a bundle", err)
	}
	if info, err = f.Stat(); err == nil {
		s.size = info.Size()
		s.archive, err = controller.OpenArchive(&interruptible{ctx, f}, s.size, Version)
	}
	if err != nil {
		f.Close()
		if ctx.Err() != nil {
			return &exitError{code: exitInterrupted, err: fmt.Errorf("interrupted while the bundle %s was read", s.name)}
		}
		return &exitError{code: exitUsage, err: fmt.Errorf("open the bundle %s: %w%s", s.name, err, bundleHint(err))}
	}
	s.id = s.archive.RunID()
	s.client, err = serveArchive(s.archive, f, s.name)
	return err
}

// bundleHint is what to do about a bundle that cannot be read.
func bundleHint(err error) string {
	switch {
	case errors.Is(err, export.ErrNoBundle):
		return "\nA bundle is made by: syncline export RUN --format bundle --to FILE" + export.BundleSuffix
	case errors.Is(err, export.ErrDamaged):
		return "\nCopy or export it again; nothing of it is shown, since nobody can tell what is missing"
	}
	return ""
}

// serveArchive answers in this process what a controller would be asked over the network.
// It closes the file when the client is closed, or at once after an error.
func serveArchive(archive *controller.Archive, file *os.File, name string) (*client, error) {
	server := grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, q any, call *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			answer, err := next(ctx, q)
			return answer, onlyLooks(err, name, call.FullMethod)
		}),
		grpc.StreamInterceptor(func(s any, stream grpc.ServerStream, call *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			return onlyLooks(next(s, stream), name, call.FullMethod)
		}),
	)
	archive.Register(server)
	listener := bufconn.Listen(1 << 20)
	served := make(chan struct{})
	go func() {
		defer close(served)
		// It returns when stop is called, and there is nobody to tell of anything else: the
		// listener is memory.
		_ = server.Serve(listener)
	}()
	stop := func() {
		server.Stop()
		<-served
		file.Close()
	}
	conn, err := grpc.NewClient("passthrough:///"+path.Base(name),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		stop()
		return nil, fmt.Errorf("connect to the bundle %s within this process: %w", name, err)
	}
	cl := newClient(conn)
	cl.stop = stop
	return cl, nil
}

// onlyLooks says of what a bundle cannot answer that it needs a controller.
func onlyLooks(err error, name, method string) error {
	if status.Code(err) != codes.Unimplemented {
		return err
	}
	return status.Errorf(codes.FailedPrecondition, "%s is a bundle of a run that is over: %s needs a controller", name, path.Base(method))
}
