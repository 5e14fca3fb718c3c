package web_test

import (
	"bytes"
	"context"
	"flag"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"syncline/controller"
	"syncline/controller/timeline"
	synclinev1 "syncline/proto/syncline/v1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// kept are the recorded repetitions that were read: nobody writes to a timeline.
var kept sync.Map

// recorded is the first repetition of a recorded run of the library.
func recorded(t testing.TB, name string) *timeline.Timeline {
	t.Helper()
	tl, ok := kept.Load(name)
	if !ok {
		tl, _ = kept.LoadOrStore(name, read(t, name))
	}
	return tl.(*timeline.Timeline)
}

func read(t testing.TB, name string) *timeline.Timeline {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "export", "testdata", "library", name+".syncline"))
	if err != nil {
		t.Fatal(err)
	}
	archive, err := controller.OpenArchive(bytes.NewReader(data), int64(len(data)), "test")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	archive.Register(server)
	listener := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///"+name,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		conn.Close()
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	answer, err := synclinev1.NewTimelineServiceClient(conn).GetTimeline(t.Context(),
		&synclinev1.GetTimelineRequest{RunId: archive.RunID(), Repetition: 1})
	if err != nil {
		t.Fatal(err)
	}
	tl, err := controller.TimelineFromProto(answer.Timeline)
	if err != nil {
		t.Fatal(err)
	}
	return tl
}

// library are the names of all recorded runs.
func library(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "export", "testdata", "library", "*.syncline"))
	if err != nil || len(files) < 25 {
		t.Fatalf("%d recorded runs, %v", len(files), err)
	}
	for i, f := range files {
		files[i] = filepath.Base(f[:len(f)-len(".syncline")])
	}
	return files
}

// golden holds a text against a file, or writes the file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, got, 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v; -update writes it", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}
