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
	archive, file, err := openArchive(name)
	if err != nil {
		return nil, err
	}
	cl, err := serveArchive(archive, file, name)
	if err != nil {
		return nil, err
	}
	return &subject{client: cl, id: archive.RunID(), repetition: repetition, name: name}, nil
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

// isBundle reports whether a RUN is the path of a bundle: its name ends as theirs do, or
// there is such a file. The id of a run has no dot, so a file never hides a run whose
// name it does not have.
func isBundle(name string) bool {
	if strings.HasSuffix(name, export.BundleSuffix) {
		return true
	}
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
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

// openArchive opens a bundle. Its file must stay open for as long as it is used.
func openArchive(name string) (*controller.Archive, *os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, &exitError{code: exitUsage, err: fmt.Errorf("open the bundle: %w", err)}
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no regular file, and a bundle is read from its end")
	}
	var archive *controller.Archive
	if err == nil {
		archive, err = controller.OpenArchive(f, info.Size(), Version)
	}
	if err != nil {
		f.Close()
		return nil, nil, &exitError{code: exitUsage, err: fmt.Errorf("open the bundle %s: %w%s", name, err, bundleHint(err))}
	}
	return archive, f, nil
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
// It closes the file when the client is closed, or at once if there is none.
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
